"""What archives are sent as: bytes that were made, and extents of files for the kernel to send."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from backends.archives.plan import EntryChanged

#: Bytes are read in pieces of this size, and joined to pieces that are not smaller than half.
PIECE_BYTES = 256 * 1024
PIECE_BYTES_MIN = PIECE_BYTES // 2


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes of an open file; good until the next piece is asked for."""

    descriptor: int
    start: int
    length: int

    def __len__(self) -> int:
        return self.length

    def read(self) -> Iterator[bytes]:
        """Its bytes, for whoever cannot leave them to the kernel.

        Raises:
            EntryChanged: the file has become shorter.
        """
        at, end = self.start, self.start + self.length
        while at < end:
            data = os.pread(self.descriptor, min(PIECE_BYTES, end - at), at)
            if not data:
                raise EntryChanged("A file became shorter while it was sent.")
            at += len(data)
            yield data


Piece = bytes | Extent


class Archive(Protocol):
    """An archive on its way out."""

    @property
    def size(self) -> int | None:
        """Its exact length in bytes; None when only its end will tell."""

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """Its bytes from `start` (0 where the size is not known) to its end, as planned.

        Raises:
            StorageError, OSError: an entry is not there any more, or not as it was planned.
        """


def cut(pieces: Iterable[Piece], start: int, length: int) -> Iterator[Piece]:
    """Of what all pieces hold, `length` bytes from `start`."""
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
    """The same with bytes joined to pieces that are worth a call; what was sent is not kept."""
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
