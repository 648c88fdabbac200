"""The body of an upload request: read at the speed of the kernel, with silences that end.

gunicorn hands a body out in copies of copies. For a plain connection and a body of known length we
take what it has read ahead and then fill our own buffer from its socket; for anything else (TLS,
chunked, another server) its public stream is read in pieces of the size it is fastest with.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

from api.streaming import Pace
from core.errors import StorageError

#: Our buffer: large enough that a system call costs nothing, small enough to stay in the cache.
BUFFER_BYTES = 1 << 20
#: gunicorn's stream is fastest at this size; smaller and much larger pieces are copied too often.
STREAM_PIECE_BYTES = 256 * 1024
#: A sender that says nothing for this long is gone; what it sent is kept.
READ_SILENCE_SECONDS = 60.0
#: While nothing comes, somebody else who waits for the upload is looked for this often.
TICK_SECONDS = 1.0
#: Instead of a number of bytes: nothing came for a tick, or nothing was asked for, as what came
#: before is more than the budget of the volume allows.
SILENT = -1
PACED = -2


class BodyCut(StorageError):
    """The connection ended before the body did."""

    error_code = "api_request_bad-request"
    kind = "storage/upload-cut"
    title = "The body was cut off"
    status = HTTPStatus.BAD_REQUEST
    retriable = True


class SenderSilent(StorageError):
    """The sender said nothing for too long."""

    error_code = "api_request_bad-request"
    kind = "storage/upload-silent"
    title = "The sender fell silent"
    status = HTTPStatus.REQUEST_TIMEOUT
    retriable = True


class RequestBody(Protocol):
    """A request body, once through."""

    def into(self, view: memoryview) -> int:
        """Fill the start of `view`; bytes filled, 0 at the end, `SILENT` or `PACED` after a tick.

        Raises:
            BodyCut, SenderSilent: before its end.
        """


class PacedBody:
    """A body that is read no faster than the budget of its volume lets it come."""

    def __init__(self, body: RequestBody, pace: Pace) -> None:
        self._body = body
        self._pace = pace

    def into(self, view: memoryview) -> int:
        """As `RequestBody.into`, once what came before is paid for."""
        pace = self._pace
        if not pace.limited:
            return self._body.into(view)
        if not pace.pay(TICK_SECONDS):
            return PACED
        got = self._body.into(view[: pace.piece(len(view))])
        if got > 0:
            pace.charge(got)
        return got


class _SocketBody:
    """Of a known length, straight from the socket."""

    def __init__(self, sock: Any, reader: Any, ahead: bytes) -> None:  # noqa: ANN401 - gunicorn is untyped
        self._sock = sock
        self._reader = reader
        self._ahead = ahead
        self._silent_ticks = 0
        sock.settimeout(TICK_SECONDS)

    def into(self, view: memoryview) -> int:
        if self._ahead:
            return self._from_ahead(view)
        wanted = min(len(view), self._reader.length)
        if wanted == 0:
            self._sock.settimeout(None)
            return 0
        try:
            got: int = self._sock.recv_into(view, wanted)
        except TimeoutError:
            return self._silent()
        except OSError:
            got = 0
        if got == 0:
            self._sock.settimeout(None)
            raise BodyCut("The connection ended before the body did; what came is kept.")
        self._reader.length -= got
        self._silent_ticks = 0
        return got

    def _from_ahead(self, view: memoryview) -> int:
        piece = self._ahead[: len(view)]
        view[: len(piece)] = piece
        self._ahead = self._ahead[len(piece) :]
        return len(piece)

    def _silent(self) -> int:
        self._silent_ticks += 1
        if self._silent_ticks * TICK_SECONDS > READ_SILENCE_SECONDS:
            self._sock.settimeout(None)
            raise SenderSilent("Nothing came for too long; what came is kept.")
        return SILENT


class _StreamBody:
    """Any other: through the server's own stream."""

    def __init__(self, read: Callable[[int], bytes], length: int | None) -> None:
        self._read = read
        self._left = length

    def into(self, view: memoryview) -> int:
        size = min(len(view), STREAM_PIECE_BYTES)
        if self._left is not None:
            size = min(size, self._left)
        if size == 0:
            return 0
        try:
            piece = self._read(size)
        except TimeoutError:
            raise SenderSilent("Nothing came for too long; what came is kept.") from None
        except OSError:
            raise BodyCut("The connection ended before the body did; what came is kept.") from None
        if self._left is not None:
            self._left -= len(piece)
            if not piece:
                raise BodyCut("The connection ended before the body did; what came is kept.")
        view[: len(piece)] = piece
        return len(piece)


def content_length(environ: dict[str, Any]) -> int | None:
    """Bytes of the request's body; None when only its end will tell."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        return None
    text = environ.get("CONTENT_LENGTH") or "0"
    return int(text) if text.isdecimal() else 0


def body_of(environ: dict[str, Any]) -> RequestBody:
    """The body of a request."""
    length = content_length(environ)
    direct = _direct(environ, length)
    if direct is not None:
        return direct
    if (sock := environ.get("gunicorn.socket")) is not None:
        sock.settimeout(READ_SILENCE_SECONDS)
    return _StreamBody(environ["wsgi.input"].read, length)


def _direct(environ: dict[str, Any], length: int | None) -> RequestBody | None:
    """The socket below gunicorn, when it is what we know it to be; its read-ahead comes first.

    gunicorn's reader keeps counting what is left of the body, so that a connection whose body was
    read to the end is used again, and any other is closed.
    """
    body, sock = environ.get("wsgi.input"), environ.get("gunicorn.socket")
    reader = getattr(body, "reader", None)
    unreader = getattr(reader, "unreader", None)
    take = getattr(unreader, "take_buffered", None)
    known = type(reader).__name__ == "LengthReader" and type(sock).__name__ == "socket"
    if not length or not known or take is None or environ.get("wsgi.url_scheme") != "http":
        return None
    if body.buf.tell() or getattr(reader, "length", -1) != length:  # type: ignore[union-attr] # checked by its reader
        return None
    ahead = take()
    mine, next_request = ahead[:length], ahead[length:]
    if next_request:
        unreader.unread(next_request)  # type: ignore[union-attr] # it has take_buffered
    reader.length -= len(mine)  # type: ignore[union-attr] # checked by its name
    return _SocketBody(sock, reader, mine)
