"""One connection of a door: the parser of its requests, its responses, the bodies it receives.

Parsing and refusals are gunicorn's own. These classes only leave out work that has no effect at
these doors, and save packets and copies:

* `plain_settings`: no lookup in gunicorn's settings object at each use.
* `DoorUnreader`: asks for a body with `100 Continue` when it is first read, and ends slow ones.
* `DoorBody`: what is wrong with a body is an error of ours, with its status.
* `DoorParser`: no socket timeouts around a body that has no byte left.
* `DoorResponse`: the head leaves together with the first piece of the body.
* `SocketBody`: the body of an upload goes from the socket to the caller's buffer without a copy.
"""

import io
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from gunicorn import util
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.errors import NoMoreData, ParseException, UnsupportedTransferCoding
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.http.wsgi import Response

from api.http import problems
from core.errors import MalformedRequest

#: A first piece of a body up to this size (bytes) leaves with the head; a larger join costs more
#: than a packet.
JOINED_BYTES = 64 * 1024


def plain_settings(cfg: Any) -> SimpleNamespace:  # noqa: ANN401 - gunicorn is untyped
    """Return gunicorn's settings as plain attributes; gunicorn's own object computes each access.

    The networks of trusted proxies are computed once, for the same reason.
    """
    values = {name: setting.get() for name, setting in cfg.settings.items()}
    networks = cfg.forwarded_allow_networks()
    values |= {"is_ssl": cfg.is_ssl, "sendfile": cfg.sendfile}
    return SimpleNamespace(**values, forwarded_allow_networks=lambda: networks)


class BodyWatch(NamedTuple):
    """Who follows the reading of a body, because one read may take minutes."""

    #: Pause between two calls of `on_tick` without a byte, and the longest silence.
    tick_seconds: float
    silence_seconds: float
    #: Called at each piece and each tick, with whether bytes came. What it raises ends the read.
    on_tick: Callable[[bool], None]


class DoorUnreader(SocketUnreader):
    """The bytes of a connection: what was read ahead, then the socket."""

    watch: BodyWatch | None = None

    #: The caller waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    continue_owed = False
    #: When the body must be there (monotonic seconds); None is no limit.
    deadline: float | None = None

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes from the socket.

        Raises:
            RequestSlow: the deadline has passed.
            TimeoutError: a watched body was silent for too long.
        """
        self.ask_for_body()
        if self.watch is not None:
            return self._watched(self.watch, size_hint)
        if self.deadline is None:
            return self._chunk(size_hint)
        left = self.deadline - time.monotonic()
        try:
            self.sock.settimeout(max(left, 0.001))
            return self._chunk(size_hint)
        except TimeoutError:
            raise problems.RequestSlow("The body did not arrive in time.") from None

    def _chunk(self, size_hint: int | None) -> bytes:
        data: bytes = super().chunk(size_hint)
        return data

    def _watched(self, watch: BodyWatch, size_hint: int | None) -> bytes:
        silent_until = time.monotonic() + watch.silence_seconds
        self.sock.settimeout(watch.tick_seconds)
        while True:
            data: bytes | None = None
            try:
                data = self._chunk(size_hint)
            except TimeoutError:
                if time.monotonic() > silent_until:
                    raise
            watch.on_tick(data is not None)
            if data is not None:
                return data

    def ask_for_body(self) -> None:
        """Send `100 Continue` where the caller waits for it."""
        if self.continue_owed:
            self.continue_owed = False
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


class DoorBody(Body):
    """The body of a request as a stream."""

    def __init__(self, reader: Any, unreader: DoorUnreader) -> None:  # noqa: ANN401 - gunicorn is untyped
        super().__init__(reader)
        self.unreader = unreader

    #: The connection ended before the body did.
    _is_cut = False

    @contextmanager
    def watched(self, *watch: Any) -> Iterator[None]:  # noqa: ANN401 - the members of a BodyWatch
        """Let a `BodyWatch` follow what the block reads."""
        self.unreader.watch = BodyWatch(*watch)
        try:
            yield
        finally:
            self.unreader.watch = None
            self.unreader.sock.settimeout(None)

    def _read_reader(self, size: int) -> bytes:
        """Return the next bytes; what came before an early end is returned first.

        Raises:
            MalformedRequest: the chunks are malformed.
            RequestCut: the connection ended before the body did.
            RequestSlow: the body did not arrive in time.
        """
        if self._is_cut:
            if self.buf.tell():
                return b""
            raise problems.RequestCut("The connection ended before the body did.")
        expected = min(getattr(self.reader, "length", 0), size)
        try:
            data: bytes = super()._read_reader(size)
        except ParseException as error:
            raise MalformedRequest("The chunks of the body are malformed.") from error
        except (NoMoreData, ConnectionError):
            data = self._chunks_before_cut()
            if not data:
                raise problems.RequestCut("The connection ended before the body did.") from None
        if len(data) < expected:
            self._is_cut = self.failed = True
            return data or self._read_reader(size)
        return data

    def _chunks_before_cut(self) -> bytes:
        """Return what came of the chunks before the connection ended."""
        if not isinstance(self.reader, ChunkedReader):
            return b""
        data: bytes = self.reader.buf.getvalue()
        self.reader.buf = io.BytesIO()
        self._is_cut = True
        return data


class DoorRequest(Request):
    """A request whose body is a `DoorBody`."""

    body: Any

    def set_body_reader(self) -> None:
        """Choose the reader as gunicorn does.

        Raises:
            UnsupportedTransferCoding: the body has another coding beneath the chunks (RFC 9112
                §6.1). gunicorn would pass its bytes on.
        """
        super().set_body_reader()
        for name, value in self.headers:
            if name == "TRANSFER-ENCODING" and value.strip(" \t").lower() != "chunked":
                raise UnsupportedTransferCoding(value)
        self.body = DoorBody(self.body.reader, self.unreader)


class DoorParser(RequestParser):
    """The parser of the requests of one connection."""

    mesg_class = DoorRequest

    def __init__(self, cfg: Any, source: Any, source_addr: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        super().__init__(cfg, source, source_addr)
        self.unreader = DoorUnreader(source)

    def finish_body(self, deadline: float | None = None, max_bytes: int | None = None) -> bool:
        """Discard the rest of the body; return false when that takes too long."""
        body = getattr(self.mesg, "body", None)
        if body is not None and not body.failed:
            reader = body.reader
            if isinstance(reader, LengthReader) and reader.length == 0:
                return True
        finished: bool = super().finish_body(deadline, max_bytes)
        return finished


class DoorResponse(Response):
    """A response whose head leaves in one packet with the first piece of its body."""

    headers_sent: bool
    #: Bytes of a file follow at once: the kernel holds the head back for them (0.2 s at most).
    more_follows = False
    _head = b""

    def write(self, arg: bytes) -> None:
        """Send a piece of the body; the first one takes the head with it."""
        if self.headers_sent or len(arg) > JOINED_BYTES:
            super().write(arg)
            return
        self._head = self._encoded_head()
        self.headers_sent = True
        super().write(arg)
        if self._head:  # gunicorn dropped the piece: the response has no body
            self._send_head(b"")

    def send_headers(self) -> None:
        """Send the head alone, unless it was sent."""
        if not self.headers_sent:
            self._head = self._encoded_head()
            self._send_head(b"")
            self.headers_sent = True

    def take_head(self) -> bytes:
        """Return the head, for who sends it together with the body."""
        self.headers_sent = True
        return self._encoded_head()

    def _emit_body(self, data: bytes) -> None:
        if not self._head:
            super()._emit_body(data)
        elif self.chunked:
            self._send_head(b"%X\r\n%b\r\n" % (len(data), data))
        else:
            self._send_head(data)

    def _send_head(self, data: bytes) -> None:
        head, self._head = self._head, b""
        self.sock.sendall(head + data, *((socket.MSG_MORE,) if self.more_follows else ()))

    def _encoded_head(self) -> bytes:
        lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers)]
        return "".join([*lines, "\r\n"]).encode("latin-1")

    def default_headers(self) -> list[str]:
        """Return the status line and the fields that gunicorn adds, each with its end of line."""
        major, minor = self.req.version
        lines = [
            f"HTTP/{major}.{minor} {self.status}\r\n",
            f"Server: {self.version}\r\n",
            f"Date: {_http_date(int(time.time()))}\r\n",
            f"Connection: {self._connection_option()}\r\n",
        ]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked\r\n")
        return lines

    def _connection_option(self) -> str:
        if self.upgrade:
            return "upgrade"
        return "close" if self.should_close() else "keep-alive"


@lru_cache(1)
def _http_date(second: int) -> str:
    """Return a moment (seconds since the epoch) as RFC 9110 §5.6.7 writes it, cached per second."""
    text: str = util.http_date(second)
    return text


class SocketBody:
    """A request body of known length, received from the socket below gunicorn."""

    def __init__(self, sock: Any, reader: Any, read_ahead: bytes) -> None:  # noqa: ANN401 - gunicorn is untyped
        self._sock = sock
        self._reader = reader
        self._read_ahead = read_ahead

    def into(self, view: memoryview) -> int:
        """Fill the start of `view` and return the number of bytes; 0 is the end of the body.

        Raises:
            TimeoutError: no byte came within the timeout; the next call goes on.
            ConnectionError: the connection ended before the body did.
        """
        if self._read_ahead:
            return self._take_read_ahead(view)
        size = min(len(view), self._reader.length)
        if size == 0:
            self._sock.settimeout(None)
            return 0
        self._reader.unreader.ask_for_body()
        received: int = self._sock.recv_into(view, size)
        if received == 0:
            raise ConnectionResetError("the connection ended before the body did")
        self._reader.length -= received
        return received

    def stop(self) -> None:
        """Give the socket back to gunicorn before the end of the body."""
        self._sock.settimeout(None)

    def _take_read_ahead(self, view: memoryview) -> int:
        piece = self._read_ahead[: len(view)]
        view[: len(piece)] = piece
        self._read_ahead = self._read_ahead[len(piece) :]
        return len(piece)


def open_socket_body(environ: dict[str, Any], timeout_seconds: float) -> SocketBody | None:
    """Return the body of a request below gunicorn's stream; None where only the stream has it.

    That is so for TLS, for chunks, and when the application read from the stream already. Bytes
    that gunicorn read ahead come first; those of a next request go back. gunicorn's reader keeps
    counting what is left, so gunicorn knows whether the connection can serve another request.
    """
    body, sock = environ["wsgi.input"], environ["gunicorn.socket"]
    reader = body.reader
    body.unreader.deadline = None  # an upload may take hours; its route ends a silent one
    plain = isinstance(reader, LengthReader) and type(sock) is socket.socket
    if not plain or environ["wsgi.url_scheme"] != "http" or body.buf.tell():
        return None
    length = reader.length
    if length == 0 or str(length) != environ.get("CONTENT_LENGTH", "").lstrip("0"):
        return None
    read_ahead = reader.unreader.take_buffered()
    own, next_request = read_ahead[:length], read_ahead[length:]
    if next_request:
        reader.unreader.unread(next_request)
    reader.length -= len(own)
    sock.settimeout(timeout_seconds)
    return SocketBody(sock, reader, own)
