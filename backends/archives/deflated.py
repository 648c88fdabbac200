"""Archives with compressed content: shorter, but their length is not known before their end.

They are made while they are sent, by deflate (RFC 1951) as Intel ISA-L implements it. It is several
times as fast as zlib, for files that are some percent larger. The interpreter's lock is free while
it works. An empty piece means that work was done without output yet, so the sender may serve other
requests.
"""

import os
from array import array
from collections.abc import Iterator
from functools import partial

import msgspec
from isal import isal_zlib
from isal.isal_zlib import crc32

from backends.archives import zip_records as records
from backends.archives.deviations import SHORTER, Deviations
from backends.archives.pieces import Extent, Piece
from backends.archives.plan import ArchiveEntry, Batch, EntryChanged, Plan
from backends.archives.reading import path_of
from backends.archives.runs import (
    Beneath,
    Contents,
    Group,
    Run,
    assembled,
    contents,
    groups,
    large,
    name_of,
)
from backends.archives.tars import Tar
from backends.archives.zip_records import DEFLATED, FOLLOWS, IN_BLOCKS, STORED, Sent
from backends.archives.zips import IN_BLOCKS_BYTES

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

    def __init__(self, top: int, plan: Plan, met: Deviations | None = None) -> None:
        self._tar = Tar(top, plan, met)

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """Yield the bytes of the archive (see `pieces.Archive`); `start` must be 0."""
        packer = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, _GZIP)
        for piece in self._tar.pieces(start):
            for part in piece.read() if isinstance(piece, Extent) else (piece,):
                yield packer.compress(part)
        yield packer.flush()


class StreamedZip:
    """A zip of a plan whose length is not known before its end; with `packs` it is compressed.

    Entries are deflated where that makes them shorter. A tolerant archive has its report as the
    last entry. It keeps 22 bytes of memory for each entry that was planned.
    """

    size = None

    def __init__(
        self, top: int, plan: Plan, met: Deviations | None = None, *, packs: bool = True
    ) -> None:
        self._met = met or Deviations()
        self._beneath = Beneath(top, self._met)
        self._plan = plan
        self._packs = packs

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """Yield the bytes of the archive (see `pieces.Archive`); `start` must be 0."""
        self._columns = array("I"), array("Q"), array("Q"), array("H")
        self._report: ArchiveEntry | None = None
        at = start
        for piece in self._entries():
            at += len(piece)
            yield piece
        length = count = 0
        for piece, entries in self._central():
            length, count = length + len(piece), count + entries
            yield piece
        yield records.end(at, length, count)

    def _entries(self) -> Iterator[Piece]:
        load = partial(contents, self._beneath)
        yield from assembled(groups(self._plan), load, self._run, self._large)
        if self._met.tolerant and self._met.count:
            self._report = self._met.report_entry(self._plan)
            yield from self._streamed(self._report.name, self._report, self._met.report(), DEFLATED)

    def _run(self, run: Run, found: Contents) -> bytes:
        files = iter(found)
        parts: list[bytes] = []
        for group in run:
            for entry in group.entries:
                data = next(files) if entry.is_file else entry.target
                if data is None:
                    self._keep(_LEFT_OUT)
                    continue
                packed, form = self._packed(data) if entry.is_file else (data, STORED)
                sent = crc32(data), len(packed), len(data), form | records.time_form(entry)
                self._keep(sent)
                parts.append(records.local(name_of(group.batch, entry), entry, sent))
                parts.append(packed)
        return b"".join(parts)

    def _packed(self, data: bytes) -> tuple[bytes, int]:
        packed = isal_zlib.compress(data, LEVEL, _RAW) if self._packs else data
        return (packed, DEFLATED) if len(packed) < len(data) else (data, STORED)

    def _large(self, group: Group) -> Iterator[bytes]:
        [entry] = group.entries
        with large(self._beneath, group) as extent:
            if extent is None:
                self._keep(_LEFT_OUT)
                return
            compresses = self._packs and _is_compressible(extent)
            met = msgspec.structs.replace(entry, size=extent.length)
            content = self._content(group, extent.read(IN_BLOCKS_BYTES))
            form = DEFLATED if compresses else DEFLATED | IN_BLOCKS
            yield from self._streamed(name_of(group.batch, entry), met, content, form)

    def _content(self, group: Group, read: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the content of a file; in a tolerant archive it may end early."""
        try:
            yield from read
        except EntryChanged:
            if not self._met.tolerant:
                raise
            self._met.add(path_of(group.batch, group.entries[0]), SHORTER)

    def _streamed(
        self, name: bytes, entry: ArchiveEntry, content: Iterator[bytes], form: int
    ) -> Iterator[bytes]:
        """Yield an entry whose sizes and checksum follow its content."""
        form = records.form_of(entry.size, form | FOLLOWS | records.time_form(entry))
        yield records.local(name, entry, (0, 0, entry.size, form))
        crc = size = length = 0
        packer = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, _RAW)
        for piece in content:
            crc, size = crc32(piece, crc), size + len(piece)
            if form & IN_BLOCKS:
                packed = records.in_blocks(piece, last=size == entry.size)
            else:
                packed = packer.compress(piece)
            length += len(packed)
            yield packed
        rest = packer.flush()
        if form & IN_BLOCKS:  # content that ended early, or is empty, has no last block yet
            rest = b"" if size == entry.size > 0 else records.in_blocks(b"", last=True)
        sent = crc, length + len(rest), size, form
        self._keep(sent)
        yield rest + records.descriptor(sent)

    def _keep(self, sent: Sent) -> None:
        for column, value in zip(self._columns, sent, strict=True):
            column.append(value)

    def _central(self) -> Iterator[tuple[bytes, int]]:
        """Yield pieces of the central directory, each with the number of its records."""
        offset = 0
        kept: Iterator[Sent] = zip(*self._columns, strict=True)
        for batch in self._batches():
            parts = []
            for entry in batch.entries:
                name, sent = name_of(batch, entry), next(kept)
                if sent == _LEFT_OUT:
                    continue
                parts.append(records.central(name, entry, sent, offset))
                offset += records.local_bytes(len(name), sent[1], sent[3])
            yield b"".join(parts), len(parts)

    def _batches(self) -> Iterator[Batch]:
        yield from self._plan.batches()
        if self._report is not None:
            yield Batch(b"", b"", [self._report])


#: What is kept of an entry that the archive does not have.
_LEFT_OUT: Sent = 0, 0, 0, 0xFFFF


def _is_compressible(extent: Extent) -> bool:
    last = max(0, extent.length - SAMPLE_BYTES)
    samples = b"".join(os.pread(extent.descriptor, SAMPLE_BYTES, at) for at in (0, last // 2, last))
    return len(isal_zlib.compress(samples, LEVEL, _RAW)) <= SHARE_MAX * len(samples)
