"""Answers on their way to one connection each: files by sendfile(2), archives as they are made.

Whoever sends (api/server/sendfile_worker.py) calls `wait` until the budget of the volume grants
something, and then `send`, which takes no longer than a slice does and never waits for the reader.
"""

import os
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from api.streaming import LOOK_SECONDS as BUDGET_LOOK_SECONDS
from api.streaming import ArchiveResponse, FilePart
from backends.archives import Piece
from core.telemetry import metrics

#: tcp(7): how much unsent data makes a socket not writable (Linux 3.12).
TCP_NOTSENT_LOWAT = 25
#: What close(2) does to what is unsent (struct linger): throw it away, at once (socket(7)).
_RESET = struct.pack("ii", 1, 0)
#: What a reader is sent at first; doubled each time it took all of it, up to the most. A kernel
#: takes 4 MiB from us for a reader that stalls: a thousand such fill the TCP memory of the machine,
#: and then nobody is sent anything.
FIRST_BYTES = 256 * 1024
MOST_BYTES = 1 << 20
#: A socket counts as writable when less than this is unsent, which is what shows a slow reader.
UNSENT_BYTES = 256 * 1024
#: A reader who took so much is no stalled one: then more may be unsent, for a sender is woken more
#: seldom, which is most of what a stream costs.
TRUSTED_BYTES = 8 << 20
TRUSTED_UNSENT_BYTES = 2 << 20
TRUSTED_SLICE_BYTES = 4 << 20
#: Pieces of an archive that are made before others have their turn.
PIECES_A_TURN = 8

_out = metrics.STREAMED_BYTES.labels("out")


class Stream(ABC):
    """One response on its way; `part` knows its pace, and the server's `body` closes it."""

    def __init__(self, conn: Any, body: Any, part: Any, *, keepalive: bool) -> None:  # noqa: ANN401 - gunicorn is untyped
        self.conn = conn
        self.keepalive = keepalive
        self.moved = time.monotonic()
        #: A sender has it in hand, or it waits for its turn.
        self.busy = False
        self._body = body
        self._part: FilePart | ArchiveResponse = part
        self._slice = FIRST_BYTES
        self._sent = 0
        conn.sock.settimeout(0)
        self._set_unsent(UNSENT_BYTES)

    @property
    def kind(self) -> str:
        """Which senders send it."""
        return "files"

    @property
    @abstractmethod
    def left(self) -> int:
        """Bytes still to send; of what nobody knows, a large slice until it ends."""

    @abstractmethod
    def write(self, most: int) -> int:
        """Send so many bytes at most, as the socket takes them: how many it took.

        Raises:
            BlockingIOError: none.
            OSError: the reader is gone, or what is sent is not what was promised.
        """

    def wait(self) -> float:
        """Seconds until the budget of its volume lets it send, not longer than that may change."""
        return min(self._part.pace.wait(min(self.left, self._slice)), BUDGET_LOOK_SECONDS)

    def send(self) -> bool:
        """Send a slice, as much as the socket takes; true when nothing is left.

        The turn that `wait` waited for is used up.

        Raises:
            OSError: the reader is gone, the file shrank, or the storage failed.
        """
        pace = self._part.pace
        wanted = pace.granted
        try:
            sent = self.write(wanted)
        except BlockingIOError:
            pace.moved(0)
            return False
        pace.moved(sent)
        self._sent += sent
        self.moved = time.monotonic()
        if self._slice < TRUSTED_SLICE_BYTES:
            self._grow(full=sent == wanted)
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
        """Cut the connection, so that nobody takes what was sent for the whole.

        gunicorn closes the socket: closed here, it would count the connection as gone twice.
        """
        self.keepalive = False
        self._part.abandon()
        try:
            self.conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.conn.sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # the reader was faster
            return

    def close(self) -> None:
        """Close what it sends, as a server closes a body."""
        self._body.close()


class FileStream(Stream):
    """A file, or a part of one."""

    _part: FilePart

    @property
    def left(self) -> int:
        """See `Stream.left`."""
        return self._part.end - self._part.position

    def write(self, most: int) -> int:
        """See `Stream.write`."""
        part = self._part
        sent = os.sendfile(self.conn.sock.fileno(), part.fileno(), part.position, most)
        if sent == 0 < most:
            raise ConnectionResetError("the file shrank while it was sent")
        part.position += sent
        return sent


class ArchiveStream(Stream):
    """An archive, or a part of one."""

    _part: ArchiveResponse

    def __init__(self, conn: Any, body: ArchiveResponse, *, keepalive: bool) -> None:  # noqa: ANN401 - gunicorn is untyped
        super().__init__(conn, body, body, keepalive=keepalive)
        self._pieces = framed(body.pieces()) if body.framed else body.pieces()
        self._piece: Piece = b""
        self._at = 0
        self._ended = False

    @property
    def kind(self) -> str:
        """See `Stream.kind`."""
        return "packing" if self._part.form.packs else "archives"

    @property
    def left(self) -> int:
        """See `Stream.left`."""
        if self._part.length is None:
            return 0 if self._ended else TRUSTED_SLICE_BYTES
        return self._part.length - self._sent

    def write(self, most: int) -> int:
        """See `Stream.write`."""
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
        found = next(self._pieces, None)
        self._piece, self._at, self._ended = found or b"", 0, found is None
        if found is None and self.left:
            raise ConnectionResetError("the archive is shorter than it was to be")
        return found is not None

    def _put(self, most: int) -> int:
        piece = self._piece
        if isinstance(piece, bytes):
            return int(self.conn.sock.send(memoryview(piece)[self._at : self._at + most]))
        start = piece.start + self._at
        sent = os.sendfile(self.conn.sock.fileno(), piece.descriptor, start, most)
        if sent == 0 < most:
            raise ConnectionResetError("a file shrank while it was sent")
        return sent


def framed(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """In chunks (RFC 9112 §7.1): of bytes only, for what is not known in length is made."""
    for piece in pieces:
        if isinstance(piece, bytes):
            yield b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    yield b"0\r\n\r\n"


def begin(conn: Any, body: Any, *, keepalive: bool) -> Stream:  # noqa: ANN401 - gunicorn is untyped
    """The stream of a body that `is_sendable`."""
    if isinstance(body, ArchiveResponse):
        return ArchiveStream(conn, body, keepalive=keepalive)
    return FileStream(conn, body, body.filelike, keepalive=keepalive)


def is_sendable(body: Any) -> bool:  # noqa: ANN401 - any WSGI body
    """A body that need not be sent by the thread that answered."""
    return isinstance(body, ArchiveResponse) or isinstance(
        getattr(body, "filelike", None), FilePart
    )
