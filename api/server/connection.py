"""One request and its answer on a connection: gunicorn's, with less done for each.

What is read and refused is gunicorn's own; left out is only what has no effect at these doors: to
compare the caller with proxies that none is configured of (`forwarded_allow_ips`), to set timeouts
around reading a body that has no byte left, and a packet for the head of an answer alone.
"""

import socket
import time
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from gunicorn import util
from gunicorn.http.body import LengthReader
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import Response

#: A first piece of a body up to this size goes out with the head; joining more is a dear copy.
JOINED_BYTES = 64 * 1024


class DoorRequest(Request):
    """A request of whoever it be: nobody may set its scheme or address by headers."""

    def _peer_trusted_for_forwarded(self) -> tuple[dict[str, str], list[str]]:
        return {}, []


def settled(cfg: Any) -> SimpleNamespace:  # noqa: ANN401 - gunicorn is untyped
    """The settings of gunicorn as plain values: its own object looks them up anew each time."""
    values = {name: setting.get() for name, setting in cfg.settings.items()}
    return SimpleNamespace(**values | {"is_ssl": cfg.is_ssl, "sendfile": cfg.sendfile})


class DoorParser(RequestParser):
    """The requests of one connection."""

    mesg_class = DoorRequest

    def finish_body(self, deadline: float | None = None, max_bytes: int | None = None) -> bool:
        """Discard what is left of a body: false when that cannot be done in time."""
        body = getattr(self.mesg, "body", None)
        if body is not None and not body.failed:
            reader = body.reader
            if isinstance(reader, LengthReader) and reader.length == 0:
                return True
        done: bool = super().finish_body(deadline, max_bytes)
        return done


class DoorResponse(Response):
    """An answer whose head goes out with the first piece of its body, in one packet."""

    headers_sent: bool
    #: Bytes of a file follow at once: the kernel keeps the head for their packet (0.2 s at most).
    more_follows = False
    _head = b""

    def write(self, arg: bytes) -> None:
        """Send a piece of the body, after the head or with it."""
        if self.headers_sent or len(arg) > JOINED_BYTES:
            super().write(arg)
            return
        self._head = self._made_head()
        self.headers_sent = True
        super().write(arg)
        if self._head:  # no byte of the body is to be sent
            self._send_head(b"")

    def send_headers(self) -> None:
        """Send the head alone, unless it was sent."""
        if not self.headers_sent:
            self._head = self._made_head()
            self._send_head(b"")
            self.headers_sent = True

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

    def _made_head(self) -> bytes:
        lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers)]
        return "".join([*lines, "\r\n"]).encode("latin-1")

    def default_headers(self) -> list[str]:
        """The status line and the fields that gunicorn adds, each with its end of line."""
        major, minor = self.req.version
        found = [
            f"HTTP/{major}.{minor} {self.status}\r\n",
            f"Server: {self.version}\r\n",
            f"Date: {_date(int(time.time()))}\r\n",
            f"Connection: {self._connection()}\r\n",
        ]
        if self.chunked:
            found.append("Transfer-Encoding: chunked\r\n")
        return found

    def _connection(self) -> str:
        if self.upgrade:
            return "upgrade"
        return "close" if self.should_close() else "keep-alive"


@lru_cache(1)
def _date(second: int) -> str:
    """A moment as RFC 9110 §5.6.7 has it; the same for a whole second."""
    text: str = util.http_date(second)
    return text
