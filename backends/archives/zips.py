"""Zip archives as a stream of known length: entries are stored, so all sizes are known before.

Small files are read before their header is sent, so the header has their checksum. Larger ones have
it in a data descriptor behind them. Links are stored as links, as Info-ZIP does.
"""

from array import array
from collections.abc import Iterator

from isal.isal_zlib import crc32

from backends.archives import zip_records as records
from backends.archives.pieces import Piece, cut, gathered
from backends.archives.plan import ArchiveEntry, Plan
from backends.archives.runs import Group, Run, assembled, groups, is_large, large, name_of
from backends.archives.zip_records import FOLLOWS, STORED


class StoredZip:
    """A zip of a plan, of exactly `size` bytes."""

    def __init__(self, top: int, plan: Plan) -> None:
        self._top = top
        self._plan = plan
        self._crcs = array("I")
        self._directory_at, directory_size = self._measure()
        self._end = records.end(self._directory_at, directory_size, plan.entries)
        self.size = self._directory_at + directory_size + len(self._end)

    def _measure(self) -> tuple[int, int]:
        """Return the offset and the bytes of the central directory."""
        offset = central = 0
        for batch in self._plan.batches():
            prefix = len(batch.prefix)
            for entry in batch.entries:
                name = prefix + len(entry.name) + entry.is_directory
                central += records.CENTRAL_BYTES + name
                if records.is_wide(entry, STORED) or records.is_far(offset):
                    central += records.WIDE_CENTRAL_BYTES
                offset += _length(name, entry)
        return offset, central

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """Yield its bytes (see `pieces.Archive`); reads the files before `start` for checksums."""
        self._crcs = array("I")
        return cut(gathered(self._parts()), start, self.size - start)

    def _parts(self) -> Iterator[Piece]:
        yield from assembled(self._top, groups(self._plan), self._run, self._large)
        yield from self._central()
        yield self._end

    def _run(self, run: Run, contents: list[bytes]) -> bytes:
        files = iter(contents)
        parts: list[bytes] = []
        for group in run:
            for entry in group.entries:
                data = next(files) if entry.is_file else entry.target
                crc = crc32(data)
                self._crcs.append(crc)
                sent = crc, entry.size, STORED
                parts.append(records.local(name_of(group.batch, entry), entry, sent))
                parts.append(data)
        return b"".join(parts)

    def _large(self, group: Group) -> Iterator[bytes]:
        [entry] = group.entries
        sent = 0, entry.size, STORED | FOLLOWS
        yield records.local(name_of(group.batch, entry), entry, sent)
        crc = 0
        with large(self._top, group) as extent:
            for piece in extent.read():
                crc = crc32(piece, crc)
                yield piece
        self._crcs.append(crc)
        yield records.descriptor(entry, (crc, entry.size, STORED | FOLLOWS))

    def _central(self) -> Iterator[bytes]:
        offset, index = 0, 0
        for batch in self._plan.batches():
            parts = []
            for entry in batch.entries:
                name = name_of(batch, entry)
                sent = self._crcs[index], entry.size, _form(entry)
                parts.append(records.central(name, entry, sent, offset))
                offset += _length(len(name), entry)
                index += 1
            yield b"".join(parts)


def _form(entry: ArchiveEntry) -> int:
    return STORED | FOLLOWS if is_large(entry) else STORED


def _length(name: int, entry: ArchiveEntry) -> int:
    """Return the bytes of an entry with a name so long, without its central directory record."""
    length = records.LOCAL_BYTES + name + entry.size
    if is_large(entry):
        length += records.WIDE_LOCAL_BYTES if records.is_wide(entry, STORED) else 0
        length += records.descriptor_bytes(entry, STORED | FOLLOWS)
    return length
