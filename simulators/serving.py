"""An array's front end: HTTPS on a free port of 127.0.0.1, a thread per connection, and faults.

    with serving(OntapSim(root), faults=Faults(seed=7, rate=0.2)) as server:
        server.url, server.ca, server.journal

A simulator answers requests one at a time per resource as its vendor does; here is only what lies
between: TLS, keep-alive that ends after some requests, lost answers, proxies' error pages, slow
bodies. Everything asked is kept in the journal.
"""

import json
import random
import socket
import ssl
import struct
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

#: A front end closes a connection after so many requests.
REQUESTS_PER_CONNECTION = 100
IDLE_SECONDS = 60


@dataclass(frozen=True)
class Ask:
    """One request; the path with its escapes as they came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any = None
    raw: bytes = b""
    #: The common name in the certificate of the client; empty without one.
    client: str = ""


@dataclass
class Say:
    """One answer; `body` is sent as JSON; bytes are sent unchanged."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A line of the journal: what was asked, what was answered, and what befell it."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    status: int
    fault: str
    at: float


class Simulator(ABC):
    """A vendor's array: state, and how it answers."""

    #: What the options of a backend need beside those of the system, for this interface of it.
    further_options: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self.lock = threading.RLock()

    @abstractmethod
    def answer(self, ask: Ask) -> Say:
        """The vendor's answer."""

    @abstractmethod
    def overloaded(self, status: int) -> Say:
        """The vendor's own words for «too much» with that status."""

    def expire(self) -> None:  # noqa: B027 - not every array has logins
        """Make every login that was given void."""


class Faults:
    """What goes wrong, by chance from a seed, or as a test asks for it.

    By chance at most `IN_A_ROW` requests in a row suffer, so that a retry succeeds in the end,
    and logins expire at most once in `EXPIRY_EVERY` requests.
    """

    IN_A_ROW = 3
    EXPIRY_EVERY = 40
    KINDS = (
        "status 429",
        "status 503",
        "html 502 before",
        "html 502 after",
        "drop before",
        "drop after",
        "truncate",
        "empty",
        "wrong json",
        "slow",
        "expire",
    )

    def __init__(self, seed: int = 0, rate: float = 0.0) -> None:
        self._random = random.Random(seed)
        self._rate = rate
        self._lock = threading.Lock()
        self._row = 0
        self._since_expiry = 0
        self._asked: list[tuple[str, str, str]] = []
        self.happened: list[str] = []

    def next(self, kind: str, method: str = "", path: str = "") -> None:
        """Let the next request of that method, with that text in its path, suffer so."""
        with self._lock:
            self._asked.append((kind, method, path))

    def of(self, ask: Ask) -> str:
        """What befalls a request; empty: nothing."""
        with self._lock:
            kind = self._wanted(ask) or self._chance()
            if kind:
                self.happened.append(kind)
            return kind

    def _wanted(self, ask: Ask) -> str:
        for wanted in self._asked:
            kind, method, path = wanted
            if method in ("", ask.method) and path in ask.path:
                self._asked.remove(wanted)
                return kind
        return ""

    def _chance(self) -> str:
        self._since_expiry += 1
        if self._row >= self.IN_A_ROW or self._random.random() >= self._rate:
            self._row = 0
            return ""
        self._row += 1
        kind = self._random.choice(self.KINDS)
        if kind == "expire":
            if self._since_expiry < self.EXPIRY_EVERY:
                return ""
            self._since_expiry = 0
        return kind


class Server:
    """A simulator that listens."""

    def __init__(
        self, simulator: Simulator, faults: Faults, context: ssl.SSLContext, port: int = 0
    ) -> None:
        self.simulator = simulator
        self.faults = faults
        self.journal: list[Entry] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._count = threading.Lock()
        self._http = _Listener(("127.0.0.1", port), _handler(self), context)
        self.url = f"https://127.0.0.1:{self._http.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def count(self, change: int) -> None:
        with self._count:
            self.in_flight += change
            self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def note(self, ask: Ask, say: Say | None, fault: str) -> None:
        status = say.status if say else 0
        entry = Entry(ask.method, ask.path, ask.query, ask.body, status, fault, time.monotonic())
        self.journal.append(entry)

    def asked(self, method: str = "", path: str = "") -> list[Entry]:
        """The journal's lines of a method, with a text in the path."""
        return [e for e in self.journal if method in ("", e.method) and path in e.path]


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, where: tuple[str, int], handler: Any, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(where, handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            request.settimeout(IDLE_SECONDS)
            secure = self._context.wrap_socket(request, server_side=True)
        except OSError:
            return
        with secure, suppress(OSError, ValueError):
            self.RequestHandlerClass(secure, client_address, self)  # type: ignore[arg-type] # typeshed
            secure.unwrap()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one connection
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        served = 0
        under_way = False

        def handle_any(self) -> None:
            server.count(1)
            self.under_way = True
            try:
                self._serve()
            finally:
                self._leave()

        def _leave(self) -> None:
            """Count it as done: before the client can know of its end, and send the next."""
            if self.under_way:
                self.under_way = False
                server.count(-1)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """The journal is enough."""

        def _serve(self) -> None:
            self.served += 1
            ask = self._ask()
            fault = server.faults.of(ask)
            say = self._suffer(ask, fault)
            server.note(ask, say, fault)
            if say is None:
                self._drop()
                return
            self._send(say, fault)

        def _ask(self) -> Ask:
            parts = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = None
            if raw and headers.get("content-type") == "application/json":
                body = json.loads(raw)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            shown = self.connection.getpeercert() or {}
            names = dict(pair for part in shown.get("subject", ()) for pair in part)
            client = names.get("commonName", "")
            return Ask(self.command, parts.path, query, headers, body, raw, client)

        def _suffer(self, ask: Ask, fault: str) -> Say | None:  # noqa: PLR0911 - a fault each
            if fault == "drop before":
                return None
            if fault.startswith("delay "):
                time.sleep(float(fault.split()[1]))
            if fault.startswith("status "):
                return server.simulator.overloaded(int(fault.split()[1]))
            if fault == "html 502 before":
                return _PAGE
            if fault == "expire":
                server.simulator.expire()
            say = server.simulator.answer(ask)
            changed = {"html 502 after": _PAGE, "drop after": None}
            if fault in changed:
                return changed[fault]
            if fault == "empty" and say.status == 200:
                return Say(say.status, b"", say.headers)
            if fault == "wrong json" and say.status < 300:
                wrong = 7 if isinstance(say.body, dict) else {"unexpected": None}
                return Say(say.status, wrong, say.headers)
            return say

        def _send(self, say: Say, fault: str) -> None:
            raw = isinstance(say.body, bytes)
            content = say.body if raw else b"" if say.body is None else _json(say.body)
            self.send_response(say.status)
            kind = {"Content-Type": "application/json"} if content and not raw else {}
            for name, value in {**kind, **say.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            if self.served >= REQUESTS_PER_CONNECTION:
                self.send_header("Connection", "close")
            if not content:
                self._leave()
            self.end_headers()
            if fault == "truncate" and len(content) > 1:
                self.wfile.write(content[: len(content) // 2])
                self._drop()
            elif fault == "slow":
                self._slowly(content, max(1, len(content) // 4), 0.02)
            elif fault == "stuck":
                self._slowly(content, 1, 0.5)
            else:
                self._leave()
                self.wfile.write(content)

        def _slowly(self, content: bytes, step: int, seconds: float) -> None:
            for start in range(0, len(content), step):
                time.sleep(seconds)
                if start + step >= len(content):
                    self._leave()
                self.wfile.write(content[start : start + step])

        def _drop(self) -> None:
            """Break the connection off, as a crashed machine does."""
            self._leave()
            self.close_connection = True
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            socket.socket.close(self.connection)

    return Handler


_PAGE = Say(
    502,
    b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
    {"Content-Type": "text/html"},
)


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()


@cache
def certificate(name: str = "array") -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key; made once."""
    where = Path(mkdtemp(prefix="vfolder-ca-"))
    where.chmod(0o755)  # also for those who gave up being root
    return make_certificate(where, name)


def make_certificate(where: Path, name: str) -> tuple[Path, Path]:
    """Make such a certificate in a directory."""
    cert, key = where / f"{name}.pem", where / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", key, "-out", cert, "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


@contextmanager
def serving(
    simulator: Simulator,
    faults: Faults | None = None,
    pair: tuple[Path, Path] | None = None,
    port: int = 0,
    *,
    client_ca: Path | None = None,
    client_must: bool = False,
) -> Iterator[Server]:
    """The simulator, listening until the end.

    Trust it by `certificate()`, or by the certificate of the pair that was given. It asks clients
    for a certificate of `client_ca`, and with `client_must` takes no others.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*(pair or certificate()))
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if client_must else ssl.CERT_OPTIONAL
    server = Server(simulator, faults or Faults(), context, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
