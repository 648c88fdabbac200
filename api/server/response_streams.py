"""Responses on their way, each to one connection: files by sendfile(2), archives piece by piece.

A sender (api/server/sendfile_worker.py) calls `wait` until the budget of the volume grants bytes,
and then `send`. `send` takes no longer than one slice does and never waits for the reader.
"""

import os
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from api.streaming import LOOK_SECONDS as BUDGET_LOOK_SECONDS
from api.streaming import ArchiveResponse, FilePart, LoadedPart
from backends.archives import Piece
from core.telemetry import metrics

#: tcp(7): how much unsent data makes a socket not writable (Linux 3.12).
TCP_NOTSENT_LOWAT = 25
#: With this option close(2) discards unsent bytes at once (struct linger, socket(7)).
_RESET = struct.pack("ii", 1, 0)
#: The first slice (bytes); it doubles each time the reader took all of it, up to the most. The
#: kernel takes 4 MiB from us for a reader that stalls: a thousand such readers fill the TCP memory
#: of the machine, and then no reader receives anything.
FIRST_BYTES = 256 * 1024
MOST_BYTES = 1 << 20
#: A socket counts as writable when less than this is unsent (bytes); that reveals a slow reader.
UNSENT_BYTES = 256 * 1024
#: A reader that took so much does not stall: then more may be unsent. A sender wakes less often,
#: and waking is most of the cost of a stream.
TRUSTED_BYTES = 8 << 20
TRUSTED_UNSENT_BYTES = 2 << 20
TRUSTED_SLICE_BYTES = 4 << 20
#: Pieces of an archive that are packed before other streams have their turn.
PIECES_A_TURN = 8

_out = metrics.STREAMED_BYTES.labels("out")


class ResponseStream(ABC):
    """One response on its way: `part` has its bytes and its pace, closing `body` ends it."""

    def __init__(self, conn: Any, body: Any, part: Any, *, keepalive: bool) -> None:  # noqa: ANN401 - gunicorn is untyped
        self.conn = conn
        self.keepalive = keepalive
        self.moved_at = time.monotonic()
        #: A sender works on it, or it waits for its turn.
        self.busy = False
        self._body = body
        self._part: FilePart | LoadedPart | ArchiveResponse = part
        self._slice = FIRST_BYTES
        self._sent = 0
        self._prepare()

    def _prepare(self) -> None:
        """Make the socket one that never waits, and that is writable when little is unsent."""
        self.conn.sock.settimeout(0)
        self._set_unsent(UNSENT_BYTES)

    @property
    def kind(self) -> str:
        """The name of the senders that send it."""
        return "files"

    @property
    @abstractmethod
    def left(self) -> int:
        """Bytes still to send; a large slice while the length is unknown."""

    @abstractmethod
    def write(self, most: int) -> int:
        """Send at most so many bytes and return how many the socket took.

        Raises:
            BlockingIOError: the socket takes no byte now.
            OSError: the reader is gone, or the bytes are not those that were promised.
        """

    def wait(self) -> float:
        """Return the seconds until the volume's budget grants bytes; ask again after them.

        They are at most the interval at which a budget may change.
        """
        return min(self._part.pace.wait(min(self.left, self._slice)), BUDGET_LOOK_SECONDS)

    @property
    def is_cut(self) -> bool:
        """Whether its reader may have no more."""
        cut: bool = self._part.pace.is_cut
        return cut

    def send(self) -> bool:
        """Send as much of one slice as the socket takes; return true when nothing is left.

        This uses up the turn that `wait` waited for.

        Raises:
            OSError: the reader is gone or cut off, the file shrank, or the storage failed.
        """
        pace = self._part.pace
        pace.check()
        granted = pace.granted
        try:
            sent = self.write(granted)
        except BlockingIOError:
            pace.moved(0)
            return False
        pace.moved(sent)
        self._sent += sent
        self.moved_at = time.monotonic()
        if self._slice < TRUSTED_SLICE_BYTES:
            self._grow(full=sent == granted)
        return self.left == 0

    def _grow(self, *, full: bool) -> None:
        if self._sent >= TRUSTED_BYTES:
            self._slice = TRUSTED_SLICE_BYTES
            self._set_unsent(TRUSTED_UNSENT_BYTES)
        else:
            self._slice = min(self._slice * 2, MOST_BYTES) if full else FIRST_BYTES

    def _set_unsent(self, size: int) -> None:
        self.conn.sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, size)

    def abandon(self) -> None:
        """Cut the connection, so that no reader takes what was sent for the complete file.

        gunicorn closes the socket. Closed here, the connection would be counted as ended twice.
        """
        self.keepalive = False
        self._part.abandon()
        try:
            self.conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.conn.sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # the reader closed it first
            return

    def close(self) -> None:
        """Close the body, as a server does after the last byte."""
        self._body.close()


class FileStream(ResponseStream):
    """A file or a part of one, on its way."""

    _part: FilePart

    @property
    def left(self) -> int:
        """See `ResponseStream.left`."""
        return self._part.end - self._part.position

    def write(self, most: int) -> int:
        """See `ResponseStream.write`."""
        part = self._part
        sent = os.sendfile(self.conn.sock.fileno(), part.fileno(), part.position, most)
        if sent == 0 < most:
            raise ConnectionResetError("the file shrank while it was sent")
        part.position += sent
        return sent


class LoadedStream(ResponseStream):
    """The head and all bytes of a small file, on their way; most sockets take them at once."""

    _part: LoadedPart

    def __init__(self, conn: Any, body: LoadedPart, *, keepalive: bool, head: bytes) -> None:  # noqa: ANN401 - gunicorn is untyped
        super().__init__(conn, body, body, keepalive=keepalive)
        self._head_bytes = len(head)
        self._bytes = head + body.data

    def _prepare(self) -> None:
        """Change nothing: each send says that it does not wait, and little is sent."""

    @property
    def left(self) -> int:
        """See `ResponseStream.left`; the head counts."""
        return len(self._bytes) - self._sent

    def write(self, most: int) -> int:
        """See `ResponseStream.write`."""
        rest = memoryview(self._bytes)[self._sent : self._sent + most]
        sent: int = self.conn.sock.send(rest, socket.MSG_DONTWAIT)
        before = max(self._sent - self._head_bytes, 0)
        self._part.position += max(self._sent + sent - self._head_bytes, 0) - before
        return sent


class ArchiveStream(ResponseStream):
    """An archive or a part of one, on its way."""

    _part: ArchiveResponse

    def __init__(self, conn: Any, body: ArchiveResponse, *, keepalive: bool) -> None:  # noqa: ANN401 - gunicorn is untyped
        super().__init__(conn, body, body, keepalive=keepalive)
        self._pieces = in_chunks(body.pieces()) if body.framed else body.pieces()
        self._piece: Piece = b""
        self._at = 0
        self._ended = False

    @property
    def kind(self) -> str:
        """See `ResponseStream.kind`."""
        return "packing" if self._part.form.packs else "archives"

    @property
    def left(self) -> int:
        """See `ResponseStream.left`."""
        if self._part.length is None:
            return 0 if self._ended else TRUSTED_SLICE_BYTES
        return self._part.length - self._sent

    def write(self, most: int) -> int:
        """See `ResponseStream.write`."""
        sent = 0
        for _ in range(PIECES_A_TURN):
            if not self._has_piece():
                break
            try:
                now = self._put(min(most - sent, len(self._piece) - self._at))
            except BlockingIOError:
                if sent:
                    break
                raise
            self._at += now
            sent += now
            if sent == most:
                break
        _out.inc(sent)
        return sent

    def _has_piece(self) -> bool:
        if self._at < len(self._piece):
            return True
        piece = next(self._pieces, None)
        self._piece, self._at, self._ended = piece or b"", 0, piece is None
        if piece is None and self.left:
            raise ConnectionResetError("the archive is shorter than it was planned")
        return piece is not None

    def _put(self, most: int) -> int:
        piece = self._piece
        if isinstance(piece, bytes):
            return int(self.conn.sock.send(memoryview(piece)[self._at : self._at + most]))
        start = piece.start + self._at
        sent = os.sendfile(self.conn.sock.fileno(), piece.descriptor, start, most)
        if sent == 0 < most:
            raise ConnectionResetError("a file shrank while it was sent")
        return sent


def in_chunks(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yield the pieces as chunks (RFC 9112 §7.1) with the last chunk at the end.

    An extent stays one: the kernel sends it between the two lines of its chunk.
    """
    for piece in pieces:
        if isinstance(piece, bytes):
            yield b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
            continue
        yield b"%x\r\n" % len(piece)
        yield piece
        yield b"\r\n"
    yield b"0\r\n\r\n"


def new_stream(conn: Any, body: Any, *, keepalive: bool, head: bytes = b"") -> ResponseStream:  # noqa: ANN401 - gunicorn is untyped
    """Return the stream of a body that `can_stream` accepts; of a `LoadedPart`, with its head."""
    if isinstance(body, LoadedPart):
        return LoadedStream(conn, body, keepalive=keepalive, head=head)
    if isinstance(body, ArchiveResponse):
        return ArchiveStream(conn, body, keepalive=keepalive)
    return FileStream(conn, body, body.filelike, keepalive=keepalive)


def can_stream(body: Any) -> bool:  # noqa: ANN401 - any WSGI body
    """Return whether another thread than the request's can send a body."""
    return isinstance(body, ArchiveResponse | LoadedPart) or isinstance(
        getattr(body, "filelike", None), FilePart
    )
