"""Zip archives as a stream of known length: entries are stored, so all sizes are known before.

Small files are read before their header is sent, so the header has their checksum. Larger ones have
it in a data descriptor behind them. Such a content needs an end of its own, or readers of streams
refuse it: it is stored in blocks of deflate, which are not compressed. Links are stored as links,
as Info-ZIP does.
"""

from array import array
from collections.abc import Iterable, Iterator

from isal.isal_zlib import crc32

from backends.archives import zip_records as records
from backends.archives.deviations import Deviations
from backends.archives.pieces import Piece, cut, gathered
from backends.archives.plan import ArchiveEntry, Batch, EntryChanged, Plan
from backends.archives.runs import (
    SMALL_BYTES,
    Beneath,
    Group,
    Run,
    assembled,
    contents,
    groups,
    is_large,
    large,
    name_of,
)
from backends.archives.zip_records import DEFLATED, FOLLOWS, IN_BLOCKS, STORED, Sent
from backends.fs import native

#: The form of large files: their length in the archive is known before.
LARGE = DEFLATED | FOLLOWS | IN_BLOCKS
#: The bytes of some entries, and the checksums of their contents in 32 bits each.
Packed = tuple[bytes, bytes]
#: Content in blocks is read in pieces of so many bytes: some full blocks.
IN_BLOCKS_BYTES = 4 * records.BLOCK_BYTES


class StoredZip:
    """A zip of a plan, of exactly `size` bytes."""

    def __init__(
        self,
        top: int,
        plan: Plan,
        met: Deviations | None = None,
        *,
        in_c: bool = native.AVAILABLE,
    ) -> None:
        self._beneath = Beneath(top, met or Deviations())
        self._plan = plan
        self._in_c = in_c
        self._crcs = array("I")
        self._directory_at, directory_size = self._measure()
        self._end = records.end(self._directory_at, directory_size, plan.entries)
        self.size = self._directory_at + directory_size + len(self._end)

    def _measure(self) -> tuple[int, int]:
        """Return the offset and the bytes of the central directory."""
        offset = central = 0
        near, far = records.NEAR_NS, records.FAR_BYTES
        for batch in self._plan.batches():
            prefix = len(batch.prefix)
            for entry in batch.entries:
                name = prefix + len(entry.name) + entry.is_directory
                if entry.size <= SMALL_BYTES and 0 <= entry.mtime_ns < near and offset < far:
                    central += records.CENTRAL_BYTES + name
                    offset += records.LOCAL_BYTES + name + entry.size
                    continue
                _, packed, _, form = planned(entry, 0)
                central += records.CENTRAL_BYTES + name + records.time_bytes(form)
                if form & records.WIDE or records.is_far(offset):
                    central += records.WIDE_CENTRAL_BYTES
                offset += records.local_bytes(name, packed, form)
        return offset, central

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """Yield its bytes (see `pieces.Archive`); reads the files before `start` for checksums."""
        self._crcs = array("I")
        return cut(gathered(self._parts()), start, self.size - start)

    def _parts(self) -> Iterator[Piece]:
        yield from assembled(groups(self._plan), self._packed, self._kept, self._large)
        yield from self._central()
        yield self._end

    def _kept(self, _run: Run, packed: Packed) -> bytes:
        data, crcs = packed
        self._crcs.frombytes(crcs)
        return data

    def _packed(self, run: Run) -> Packed:
        """Return the bytes of a run; this runs beside the thread that sends.

        C makes nothing of a run where one entry is not as planned, or is rare.
        """
        if self._in_c:
            parts = [(group.batch.directory, group.batch.prefix, group.entries) for group in run]
            if (packed := native.zip_files(self._beneath.top, parts, crc32)) is not None:
                return packed
        files = iter(contents(self._beneath, run))
        made: list[bytes] = []
        crcs = array("I")
        for group in run:
            for entry in group.entries:
                data = (next(files) or b"") if entry.is_file else entry.target
                crcs.append(crc32(data))
                made += (records.local_stored(name_of(group.batch, entry), entry, crcs[-1]), data)
        return b"".join(made), crcs.tobytes()

    def _large(self, group: Group) -> Iterator[bytes]:
        [entry] = group.entries
        yield records.local(name_of(group.batch, entry), entry, planned(entry, 0))
        crc = size = 0
        with large(self._beneath, group) as extent:
            for piece in extent.read(IN_BLOCKS_BYTES) if extent else ():
                crc, size = crc32(piece, crc), size + len(piece)
                yield records.in_blocks(piece, last=size == entry.size)
        if size != entry.size:
            raise EntryChanged("A file became shorter while it was sent.")
        self._crcs.append(crc)
        yield records.descriptor(planned(entry, crc))

    def _central(self) -> Iterator[bytes]:
        """Yield the records of the central directory, those of a batch together."""
        offset, index = 0, 0
        for batch in self._plan.batches():
            crcs = self._crcs[index : index + len(batch.entries)]
            index += len(crcs)
            made = None
            if self._in_c:
                made = native.zip_records(
                    batch.prefix, batch.entries, crcs.tobytes(), offset, SMALL_BYTES
                )
            data, offset = made or _records(batch, crcs, offset)
            yield data


def _records(batch: Batch, crcs: Iterable[int], offset: int) -> tuple[bytes, int]:
    """Return the records of a batch whose first entry is at `offset`, and the offset behind it."""
    parts = []
    for entry, crc in zip(batch.entries, crcs, strict=True):
        name = name_of(batch, entry)
        if entry.size <= SMALL_BYTES and not records.is_far(offset):
            record = records.central_stored(name, entry, crc, offset)
            offset += len(record) - records.CENTRAL_MORE_BYTES + entry.size
        else:
            sent = planned(entry, crc)
            record = records.central(name, entry, sent, offset)
            offset += records.local_bytes(len(name), sent[1], sent[3])
        parts.append(record)
    return b"".join(parts), offset


def planned(entry: ArchiveEntry, crc: int) -> Sent:
    """Return how an entry is sent in an archive of known length."""
    size, far = entry.size, records.time_form(entry)
    if is_large(entry):
        return crc, records.blocks_bytes(size), size, records.form_of(size, LARGE | far)
    return crc, size, size, STORED | far
