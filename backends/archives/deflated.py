"""Archives with compressed content: shorter, but their length is not known before their end.

They are made while they are sent, by deflate (RFC 1951) as Intel ISA-L implements it. It is several
times as fast as zlib, for files that are some percent larger. The interpreter's lock is free while
it works. An empty piece means that work was done without output yet, so the sender may serve other
requests.
"""

import os
from array import array
from collections.abc import Iterator

from isal import isal_zlib
from isal.isal_zlib import crc32

from backends.archives import zip_records as records
from backends.archives.pieces import Extent, Piece
from backends.archives.plan import ArchiveEntry, Plan
from backends.archives.runs import Group, Run, assembled, groups, large, name_of
from backends.archives.tars import Tar
from backends.archives.zip_records import DEFLATED, FOLLOWS, STORED, Sent

#: The level of ISA-L (0 to 3); level 3 is slower and hardly better.
LEVEL = 2
#: A large file is stored when samples of its beginning, middle and end keep more than this share of
#: their size: its content is compressed already.
SHARE_MAX = 0.97
SAMPLE_BYTES = 64 * 1024

_RAW, _GZIP = -15, 31


class GzippedTar:
    """A tar of a plan in gzip (RFC 1952)."""

    size = None

    def __init__(self, top: int, plan: Plan) -> None:
        self._tar = Tar(top, plan)

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """Yield the bytes of the archive (see `pieces.Archive`); `start` must be 0."""
        packer = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, _GZIP)
        for piece in self._tar.pieces(start):
            for part in piece.read() if isinstance(piece, Extent) else (piece,):
                yield packer.compress(part)
        yield packer.flush()


class DeflatedZip:
    """A zip of a plan; entries are deflated where that makes them shorter.

    It keeps 13 bytes of memory for each entry that was sent.
    """

    size = None

    def __init__(self, top: int, plan: Plan) -> None:
        self._top = top
        self._plan = plan

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """Yield the bytes of the archive (see `pieces.Archive`); `start` must be 0."""
        self._crcs, self._sizes, self._forms = array("I"), array("Q"), array("B")
        at = start
        for piece in assembled(self._top, groups(self._plan), self._run, self._large):
            at += len(piece)
            yield piece
        length = 0
        for piece in self._central():
            length += len(piece)
            yield piece
        yield records.end(at, length, self._plan.entries)

    def _run(self, run: Run, contents: list[bytes]) -> bytes:
        files = iter(contents)
        parts: list[bytes] = []
        for group in run:
            for entry in group.entries:
                data = next(files) if entry.is_file else entry.target
                packed, form = _packed(data) if entry.is_file else (data, STORED)
                sent = crc32(data), len(packed), form
                self._keep(sent)
                parts.append(records.local(name_of(group.batch, entry), entry, sent))
                parts.append(packed)
        return b"".join(parts)

    def _large(self, group: Group) -> Iterator[bytes]:
        [entry] = group.entries
        with large(self._top, group) as extent:
            compressible = _is_compressible(extent)
            form = FOLLOWS | (DEFLATED if compressible else STORED)
            yield records.local(name_of(group.batch, entry), entry, (0, entry.size, form))
            crc = size = 0
            packer = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, _RAW)
            for piece in extent.read():
                crc = crc32(piece, crc)
                packed = packer.compress(piece) if compressible else piece
                size += len(packed)
                yield packed
            rest = packer.flush() if compressible else b""
        sent = crc, size + len(rest), form
        self._keep(sent)
        yield rest + records.descriptor(entry, sent)

    def _keep(self, sent: Sent) -> None:
        for column, value in zip((self._crcs, self._sizes, self._forms), sent, strict=True):
            column.append(value)

    def _central(self) -> Iterator[bytes]:
        offset = 0
        kept = zip(self._crcs, self._sizes, self._forms, strict=True)
        for batch in self._plan.batches():
            parts = []
            for entry in batch.entries:
                name, sent = name_of(batch, entry), next(kept)
                parts.append(records.central(name, entry, sent, offset))
                offset += _length(name, entry, sent)
            yield b"".join(parts)


def _is_compressible(extent: Extent) -> bool:
    last = extent.length - SAMPLE_BYTES
    samples = b"".join(os.pread(extent.descriptor, SAMPLE_BYTES, at) for at in (0, last // 2, last))
    return len(isal_zlib.compress(samples, LEVEL, _RAW)) <= SHARE_MAX * len(samples)


def _packed(data: bytes) -> tuple[bytes, int]:
    packed = isal_zlib.compress(data, LEVEL, _RAW)
    return (packed, DEFLATED) if len(packed) < len(data) else (data, STORED)


def _length(name: bytes, entry: ArchiveEntry, sent: Sent) -> int:
    _, packed, form = sent
    wide = records.WIDE_LOCAL_BYTES if records.is_wide(entry, form) else 0
    head = records.LOCAL_BYTES + len(name) + wide
    return head + packed + records.descriptor_bytes(entry, form)
