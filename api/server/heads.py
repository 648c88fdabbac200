"""Heads of requests, read by the main thread: a connection gets a thread when its head is complete.

gunicorn's threads read the head themselves and wait for the rest of a half one: as many half heads
as threads, and the door is dead. Here the main thread reads what came, without waiting, into a
bounded buffer. The connection waits in its poller; it costs a descriptor and its bytes.
"""

import os
import re
import socket
import ssl
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from gunicorn import sock as gunicorn_sock
from gunicorn.http.body import LengthReader
from gunicorn.http.errors import LimitRequestHeaders, NoMoreData
from gunicorn.workers.gthread import TConn

from api.server.connection import DoorParser
from core.telemetry import logger

#: The largest head (bytes): request line and headers.
HEAD_MAX_BYTES = 64 * 1024
#: One read (bytes). The start of a body may come with the head.
READ_BYTES = 16 * 1024
#: Longest line of a request (bytes). Proxies pass about as much.
LINE_MAX_BYTES = 8190
#: A head that waits shorter (seconds) is closed for another connection only as the last one.
YOUNG_SECONDS = 1.0
#: A closing connection is read for this long and this far, so that the caller gets its answer: a
#: proxy that meets a reset while it sends a body answers 502 in its place.
LINGER_SECONDS = 2.0
LINGER_BYTES = 32 * 1024 * 1024

_END = b"\r\n\r\n"
#: A length with a digit other than zero, or chunks.
_BODY = re.compile(
    rb"\r\n(?:content-length[ \t]*:[ \t]*0*([1-9][0-9]*)|transfer-encoding[ \t]*:)", re.IGNORECASE
)
#: Requests that ask how the door is. They have threads of their own.
_PROBE = re.compile(rb"(?:GET|HEAD) /(?:livez|readyz|health|status|metrics)?(?:\?[^ ]*)? ")
_WAITS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_log = logger(__name__)


class RequestKind(StrEnum):
    """What a request may wait for; each kind has its threads."""

    PROBE = "probe"
    #: A part of its body is still to come, and the caller decides when.
    BODY = "body"
    OTHER = "other"


class Wait(StrEnum):
    """Why no thread serves a connection."""

    HEAD = "head"
    CLOSING = "closing"
    IDLE = "idle"


class SlowHead(Exception):
    """The head was not complete within its time."""


class DoorConnection(TConn):
    """A connection, and what came of its next request."""

    sock: socket.socket
    #: Since when it waits, and when it is closed unless something comes (monotonic seconds).
    since: float
    timeout: float

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        super().__init__(cfg, sock, client, server)
        #: What `TConn.init` does is done here, without waiting for the caller.
        self.initialized = True
        self.parser = DoorParser(cfg, sock, client)
        self.address = client[0] if isinstance(client, tuple) else ""
        self.wait = Wait.HEAD
        self.kind = RequestKind.OTHER
        #: Bytes of the next request.
        self.received = bytearray()
        #: Bytes of an unread body that come before it.
        self.skip = 0
        self._searched = 0

    def receive(self) -> bool:
        """Read what came, without waiting; return whether the next request can be parsed.

        Raises:
            LimitRequestHeaders: the head is too large.
            NoMoreData: the connection ended; some bytes of a head came.
            EOFError: the connection ended between two requests.
            OSError: it broke.
        """
        if self._is_decided():  # the bytes of a pipelined request
            return True
        while True:
            try:
                piece = self._received_piece()
            except _WAITS:
                return False
            if not piece:
                raise NoMoreData(bytes(self.received)) if self.received else EOFError
            self._add(piece)
            if self._is_decided():
                return True
            if len(piece) < READ_BYTES and not isinstance(self.sock, ssl.SSLSocket):
                return False

    def _received_piece(self) -> bytes:
        if isinstance(self.sock, ssl.SSLSocket):  # it takes no flag; it must not be blocking
            return self.sock.recv(READ_BYTES)
        return self.sock.recv(READ_BYTES, socket.MSG_DONTWAIT)

    def take_back(self) -> None:
        """Take what the parser read ahead: the start of the next request."""
        if ahead := self.parser.unreader.take_buffered():
            self.received[:0] = ahead
            self._searched = 0

    def pass_on(self) -> bytes:
        """Give the bytes that came to the parser, and return the head."""
        self.parser.unreader.unread(bytes(self.received))
        end = self.received.find(_END)
        head = bytes(self.received if end < 0 else self.received[: end + len(_END)])
        self.received = bytearray()
        self._searched = 0
        return head

    def leave_body(self) -> bool:
        """Skip the unread rest of a body; return false when its length is unknown."""
        body = self.parser.mesg.body
        if body.failed:
            return False
        reader = body.reader
        if not isinstance(reader, LengthReader):
            return reader.parser is None  # the last chunk was read
        if reader.length:
            self._add(reader.unreader.take_buffered(), reader.length)
            reader.length = 0
        return True

    def next_kind(self) -> RequestKind:
        """Return what the received request may wait for."""
        end = self.received.find(_END)
        if end < 0:  # the parser refuses it at once
            return RequestKind.OTHER
        body = _BODY.search(self.received, 0, end + 2)
        if body is None:
            start = 2 if self.received.startswith(b"\r\n") else 0
            return RequestKind.PROBE if _PROBE.match(self.received, start) else RequestKind.OTHER
        came = len(self.received) - end - len(_END)
        digits = body[1]
        if digits is not None and len(digits) < len(str(READ_BYTES)) and int(digits) <= came:
            return RequestKind.OTHER
        return RequestKind.BODY

    def _add(self, piece: bytes, skip: int = 0) -> None:
        self.skip += skip
        if self.skip:
            skipped = min(self.skip, len(piece))
            self.skip -= skipped
            piece = piece[skipped:]
        self.received += piece

    def _is_decided(self) -> bool:
        """Return whether the parser accepts or refuses the received bytes without another one.

        It must never wait for the caller. It refuses a bare line feed and a long line at once.
        """
        head = self.received
        if not head:
            return False
        start = 2 if head.startswith(b"\r\n") else 0
        found = head.find(_END, max(start, self._searched - len(_END)))
        if found >= 0:
            if found > HEAD_MAX_BYTES:
                raise LimitRequestHeaders("the head is too large")
            return True
        if _has_bare_line_feed(head, self._searched):
            return True
        line_end = head.find(b"\r\n", start, start + LINE_MAX_BYTES + 2)
        if line_end < 0 and len(head) - start > LINE_MAX_BYTES + 2:
            return True
        self._searched = len(head)
        if len(head) > HEAD_MAX_BYTES:
            raise LimitRequestHeaders("the head is too large")
        return False


def _has_bare_line_feed(head: bytearray, start: int) -> bool:
    return head.count(b"\n", start) != head.count(b"\r\n", max(start - 1, 0))


class Waiting:
    """The connections that no thread serves, oldest first; counted by address.

    Every method takes constant time; only the main thread calls them.
    """

    def __init__(self, per_address: int) -> None:
        self._per_address = per_address
        self._all: dict[Wait, dict[DoorConnection, None]] = {wait: {} for wait in Wait}
        self._of: dict[str, dict[Wait, dict[DoorConnection, None]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._all.values()))

    def __iter__(self) -> Iterator[DoorConnection]:
        return iter([conn for group in self._all.values() for conn in group])

    def __contains__(self, conn: DoorConnection) -> bool:
        return conn in self._all[conn.wait]

    def add(self, conn: DoorConnection, wait: Wait, seconds: float) -> DoorConnection | None:
        """Let a connection wait; return another one of its address if that has too many."""
        conn.wait = wait
        conn.since = time.monotonic()
        conn.timeout = conn.since + seconds
        self._all[wait][conn] = None
        if not self._per_address or not conn.address:
            return None
        own = self._of.setdefault(conn.address, {one: {} for one in Wait})
        own[wait][conn] = None
        if sum(map(len, own.values())) <= self._per_address:
            return None
        return _oldest(own, conn)

    def remove(self, conn: DoorConnection) -> None:
        """Let it wait no longer."""
        del self._all[conn.wait][conn]
        if (own := self._of.get(conn.address)) is not None:
            own[conn.wait].pop(conn, None)
            if not any(own.values()):
                del self._of[conn.address]

    def oldest(self, newest: DoorConnection | None = None) -> DoorConnection | None:
        """Return the connection that is closed first when there are too many; never the newest."""
        return _oldest(self._all, newest)

    def overdue(self) -> Iterator[DoorConnection]:
        """Return the connections whose time has passed."""
        now = time.monotonic()
        for group in self._all.values():
            for conn in list(group):
                if conn.timeout > now:
                    break
                yield conn

    def cap(self, deadline: float) -> None:
        """Let none wait longer than this (monotonic seconds)."""
        for conn in self:
            conn.timeout = min(conn.timeout, deadline)


def _oldest(
    groups: dict[Wait, dict[DoorConnection, None]], newest: DoorConnection | None
) -> DoorConnection | None:
    """Return the connection that loses least: an old half head, else the oldest of another kind.

    The head of an honest caller is young: it comes within a second, as a rule.
    """
    first = {
        wait: conn
        for wait, group in groups.items()
        if (conn := next(iter(group), None)) is not None and conn is not newest
    }
    head = first.get(Wait.HEAD)
    if head is not None and time.monotonic() > head.since + YOUNG_SECONDS:
        return head
    return first.get(Wait.CLOSING) or first.get(Wait.IDLE) or head


class Certificate:
    """The TLS context of a door; files that changed are read for the next connection."""

    def __init__(self, cfg: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        self._cfg = cfg
        self._read: tuple[Any, ...] = ()
        self._context: ssl.SSLContext | None = None

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        """Return the socket under TLS; its handshake goes on with each read.

        Raises:
            OSError: the caller is gone, or the first certificate cannot be read.
        """
        try:
            version = tuple(map(_version, filter(None, (self._cfg.certfile, self._cfg.keyfile))))
            if self._context is None or version != self._read:
                self._context = gunicorn_sock.ssl_context(self._cfg)
                self._read = version
        except OSError as error:
            _log.warning("certificate not read", reason=str(error), instead="the one before")
            if self._context is None:
                raise
        return self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)


def _version(path: str) -> tuple[int, int]:
    known = os.stat(path)
    return known.st_mtime_ns, known.st_ino
