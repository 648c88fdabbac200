"""A receiver of notices: a real HTTP server that checks what it gets as docs/people.md says."""

import base64
import hashlib
import hmac
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

SECRET = "the secret of the receiver of notices"
#: A post that is older is a replay (seconds).
WINDOW_SECONDS = 300

Answer = Callable[[dict[str, Any]], int]


class Post(NamedTuple):
    """One post whose signature was right: its id and its body, and what was answered."""

    id: str
    body: dict[str, Any]
    status: int


class Receiver:
    """The server. `answer` chooses the status of a body; `posts` are those that were signed."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.answer: Answer = lambda _: 204
        self.posts: list[Post] = []
        self.wrong: list[str] = []
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                status = receiver.receive(self)
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        host = "127.0.0.1" if tls is None else "localhost"
        self.port = self._server.server_port
        self.url = f"{'http' if tls is None else 'https'}://{host}:{self.port}/notices"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def receive(self, request: BaseHTTPRequestHandler) -> int:
        """Check a post and choose its status; 401 where it is not what it should be."""
        body = request.rfile.read(int(request.headers["Content-Length"]))
        name, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        signed = f"{name}.{at}.".encode() + body
        digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
        expected = "v1," + base64.b64encode(digest).decode()
        if not hmac.compare_digest(expected, request.headers["webhook-signature"]):
            self.wrong.append(f"signature of {name}")
        elif abs(time.time() - int(at)) > WINDOW_SECONDS:
            self.wrong.append(f"time of {name}")
        elif request.path != "/notices" or json.loads(body)["id"] != name:
            self.wrong.append(f"{request.path} {name}")
        else:
            document = json.loads(body)
            status = self.answer(document)
            self.posts.append(Post(name, document, status))
            return status
        return 401

    def taken(self) -> list[Post]:
        """The posts that were taken."""
        return [post for post in self.posts if 200 <= post.status < 300]

    def close(self) -> None:
        """End the server; a handler that waits for `released` goes on."""
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def running_receiver(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver for the time of a block."""
    receiver = Receiver(port, tls)
    try:
        yield receiver
    finally:
        receiver.close()


def settings_for(url: str, more: str = "") -> str:
    """The table that names a receiver, as TOML."""
    return f'[vfolder.notices]\nurl = "{url}"\nsecret = "{SECRET}"\n{more}\n'


def private_tls(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for `localhost` that no system trusts, and a server's context with it."""
    file, key = directory / "receiver.pem", directory / "receiver.key"
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    more = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(file)]
    subprocess.run([*words.split(), *more], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return file, context
