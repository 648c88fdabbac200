"""Pieces of an archive: bytes, and extents of files that the kernel sends."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from backends.archives.plan import EntryChanged

#: Bytes are read in pieces of this size; small ones are joined until they have half of it.
PIECE_BYTES = 256 * 1024
PIECE_BYTES_MIN = PIECE_BYTES // 2


@dataclass(frozen=True, slots=True)
class Extent:
    """A range of an open file; valid until the next piece is taken."""

    descriptor: int
    start: int
    length: int

    def __len__(self) -> int:
        return self.length

    def read(self, most: int = PIECE_BYTES) -> Iterator[bytes]:
        """Yield its bytes, for a sender that cannot use sendfile(2), in pieces of `most` bytes.

        Raises:
            EntryChanged: the file has become shorter.
        """
        at, end = self.start, self.start + self.length
        while at < end:
            data = os.pread(self.descriptor, min(most, end - at), at)
            while data and len(data) < min(most, end - at):  # only full pieces, but for the last
                more = os.pread(self.descriptor, min(most, end - at) - len(data), at + len(data))
                if not more:
                    break
                data += more
            if not data:
                raise EntryChanged("A file became shorter while it was sent.")
            at += len(data)
            yield data


Piece = bytes | Extent


class Archive(Protocol):
    """An archive that is sent."""

    @property
    def size(self) -> int | None:
        """Return its exact length in bytes; None when it is not known before the end."""

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """Yield its bytes from `start` to its end, as planned; 0 where the size is not known.

        Raises:
            StorageError, OSError: an entry is gone, or is not as planned any more.
        """


def cut(pieces: Iterable[Piece], start: int, length: int) -> Iterator[Piece]:
    """Yield `length` bytes from `start` of the bytes of all pieces."""
    skip, left = start, length
    for piece in pieces:
        if left <= 0:
            return
        if skip >= len(piece):
            skip -= len(piece)
            continue
        part = _part(piece, skip, left) if skip or len(piece) > left else piece
        skip = 0
        left -= len(part)
        yield part


def _part(piece: Piece, skip: int, most: int) -> Piece:
    if isinstance(piece, bytes):
        return piece[skip : skip + most]
    return Extent(piece.descriptor, piece.start + skip, min(piece.length - skip, most))


def gathered(parts: Iterable[Piece]) -> Iterator[Piece]:
    """Yield the same bytes in larger pieces, each worth a system call; keep none that was sent."""
    held: list[bytes] = []
    for part in parts:
        if isinstance(part, Extent):
            yield from _emptied(held)
            yield part
            continue
        held.append(part)
        del part
        if sum(map(len, held)) >= PIECE_BYTES_MIN:
            yield from _emptied(held)
    yield from _emptied(held)


def _emptied(held: list[bytes]) -> Iterator[bytes]:
    if held:
        joined = held[0] if len(held) == 1 else b"".join(held)
        held.clear()
        yield joined
