"""Zip archives as a stream of known length (PKWARE APPNOTE 6.3.10): stored, so nothing is guessed.

Small files are read before their header is sent, so it has their checksum; larger ones have it in a
data descriptor behind them. Names are the bytes on disk, marked as UTF-8 where they are; links are
stored as links, as Info-ZIP does; times are kept to the second.
"""

import time
from array import array
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from struct import Struct

from isal.isal_zlib import crc32

from backends.archives.pieces import Piece, cut, gathered
from backends.archives.plan import Entry, Plan
from backends.archives.runs import Group, Run, groups, is_large, large, loaded, name_of

_MAX_16 = 0xFFFF
_MAX_32 = 0xFFFF_FFFF
_UTF8 = 1 << 11
_DESCRIPTOR_FOLLOWS = 1 << 3
_MADE_ON_UNIX = 3 << 8 | 45
_NEEDS = 20
_NEEDS_ZIP64 = 45

_LOCAL = Struct("<4s5H3L2H")
_TIME_EXTRA = Struct("<2HBl")
_ZIP64_LOCAL = Struct("<2H2Q")
_ZIP64_CENTRAL = Struct("<2H3Q")
_DESCRIPTOR = Struct("<4s3L")
_DESCRIPTOR_64 = Struct("<4sL2Q")
_CENTRAL = Struct("<4s6H3L5H2L")
_END_64 = Struct("<4sQ2H2L4Q")
_LOCATOR_64 = Struct("<4sLQL")
_END = Struct("<4s4H2LH")


class StoredZip:
    """A zip of a plan; `size` is exact, `pieces` sends it."""

    def __init__(self, top: int, plan: Plan) -> None:
        self._top = top
        self._plan = plan
        self._crcs = array("I")
        self._directory_at, self._directory_size = self._measure()
        self.size = self._directory_at + self._directory_size + self._end_size()

    def _measure(self) -> tuple[int, int]:
        """Where the central directory begins, and how long it is."""
        offset = central = 0
        for batch in self._plan.batches():
            prefix = len(batch.prefix)
            for entry in batch.entries:
                name = prefix + len(entry.name) + entry.is_directory
                big = entry.size >= _MAX_32
                central += _CENTRAL.size + name + _TIME_EXTRA.size
                central += _ZIP64_CENTRAL.size if big or offset >= _MAX_32 else 0
                offset += _LOCAL.size + name + _TIME_EXTRA.size + entry.size
                offset += _ZIP64_LOCAL.size if big else 0
                offset += _descriptor_size(entry)
        return offset, central

    def _needs_64(self) -> bool:
        return max(self._directory_at, self._directory_size) >= _MAX_32 or (
            self._plan.entries >= _MAX_16
        )

    def _end_size(self) -> int:
        return _END.size + (_END_64.size + _LOCATOR_64.size if self._needs_64() else 0)

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """See `pieces.Archive`; what is before `start` is read, too, for its checksums."""
        self._crcs = array("I")
        return cut(gathered(self._parts()), start, self.size - start)

    def _parts(self) -> Iterator[bytes]:
        with closing(loaded(self._top, groups(self._plan))) as coming:
            for run, contents in coming:
                yield from self._large(run[0]) if contents is None else self._run(run, contents)
        yield from self._central()
        yield self._end()

    def _run(self, run: Run, contents: list[bytes]) -> Iterator[bytes]:
        found = iter(contents)
        parts: list[bytes] = []
        for group in run:
            for entry in group.entries:
                data = next(found) if entry.is_file else entry.target
                crc = crc32(data)
                self._crcs.append(crc)
                parts.append(_local(name_of(group.batch, entry), entry, crc))
                parts.append(data)
        yield b"".join(parts)

    def _large(self, group: Group) -> Iterator[bytes]:
        [entry] = group.entries
        yield _local(name_of(group.batch, entry), entry, 0)
        crc = 0
        with large(self._top, group) as extent:
            for piece in extent.read():
                crc = crc32(piece, crc)
                yield piece
        self._crcs.append(crc)
        form = _DESCRIPTOR_64 if entry.size >= _MAX_32 else _DESCRIPTOR
        yield form.pack(b"PK\x07\x08", crc, entry.size, entry.size)

    def _central(self) -> Iterator[bytes]:
        offset, index = 0, 0
        fixed = _LOCAL.size + _TIME_EXTRA.size
        for batch in self._plan.batches():
            records = []
            for entry in batch.entries:
                name = name_of(batch, entry)
                records.append(_central_record(name, entry, self._crcs[index], offset))
                offset += fixed + len(name) + entry.size
                if is_large(entry):
                    offset += _ZIP64_LOCAL.size if entry.size >= _MAX_32 else 0
                    offset += _descriptor_size(entry)
                index += 1
            yield b"".join(records)

    def _end(self) -> bytes:
        at, size, count = self._directory_at, self._directory_size, self._plan.entries
        shown = min(count, _MAX_16)
        last = _END.pack(b"PK\x05\x06", 0, 0, shown, shown, min(size, _MAX_32), min(at, _MAX_32), 0)
        if not self._needs_64():
            return last
        made = _MADE_ON_UNIX, _NEEDS_ZIP64
        record = _END_64.pack(b"PK\x06\x06", _END_64.size - 12, *made, 0, 0, count, count, size, at)
        return record + _LOCATOR_64.pack(b"PK\x06\x07", 0, at + size, 1) + last


def _descriptor_size(entry: Entry) -> int:
    if not is_large(entry):
        return 0
    return _DESCRIPTOR_64.size if entry.size >= _MAX_32 else _DESCRIPTOR.size


def _flags(name: bytes, entry: Entry) -> int:
    flags = _DESCRIPTOR_FOLLOWS if is_large(entry) else 0
    if name.isascii():
        return flags
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return flags
    return flags | _UTF8


@lru_cache(maxsize=4096)
def _clock(seconds: int) -> tuple[tuple[int, int], bytes]:
    """A time as DOS words, and in the extended timestamp (Info-ZIP 0x5455): 32 bits since 1970."""
    shown = max(min(seconds, 0x7FFF_FFFF), -0x8000_0000)
    return _dos_time(seconds), _TIME_EXTRA.pack(0x5455, 5, 1, shown)


def _dos_time(seconds: int) -> tuple[int, int]:
    """Time and date words, in UTC, within what they can hold (1980 to 2107)."""
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    if year < 1980:  # noqa: PLR2004 - the first year of the format
        return 0, 0x21
    if year > 2107:  # noqa: PLR2004 - the last year of the format
        return 0xBF7D, 0xFF9F
    return hour << 11 | minute << 5 | second >> 1, (year - 1980) << 9 | month << 5 | day


def _local(name: bytes, entry: Entry, crc: int) -> bytes:
    clock, extra = _clock(entry.mtime_ns // 1_000_000_000)
    needs, size = _NEEDS, entry.size
    if size >= _MAX_32:
        extra += _ZIP64_LOCAL.pack(1, 16, size, size)
        needs, size = _NEEDS_ZIP64, _MAX_32
    flags = _flags(name, entry)
    lengths = len(name), len(extra)
    head = _LOCAL.pack(b"PK\x03\x04", needs, flags, 0, *clock, crc, size, size, *lengths)
    return head + name + extra


def _central_record(name: bytes, entry: Entry, crc: int, offset: int) -> bytes:
    clock, extra = _clock(entry.mtime_ns // 1_000_000_000)
    needs, size = _NEEDS, entry.size
    if size >= _MAX_32 or offset >= _MAX_32:
        extra += _ZIP64_CENTRAL.pack(1, 24, size, size, offset)
        needs, size, offset = _NEEDS_ZIP64, _MAX_32, _MAX_32
    attributes = (entry.mode & 0xFFFF) << 16 | (0x10 if entry.is_directory else 0)
    flags = _flags(name, entry)
    words = _MADE_ON_UNIX, needs, flags, 0, *clock
    lengths = len(name), len(extra), 0, 0, 0
    head = _CENTRAL.pack(b"PK\x01\x02", *words, crc, size, size, *lengths, attributes, offset)
    return head + name + extra
