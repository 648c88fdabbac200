"""Zip archives as a stream of known length (PKWARE APPNOTE 6.3.10): stored, so nothing is guessed.

Small files are read before their header is sent, so it has their checksum; larger ones have it in a
data descriptor behind them. Names are the bytes on disk, marked as UTF-8 where they are; links are
stored as links, as Info-ZIP does; times are kept to the second.
"""

import os
import time
from array import array
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

from isal.isal_zlib import crc32

from backends.archives.plan import Batch, Changed, Entry, Plan, opened
from backends.archives.reading import read_files

#: Files up to this size are read in one go.
SMALL_BYTES = 256 * 1024
#: Pieces are sent when this much has come together.
PIECE_BYTES = 256 * 1024
#: Runs of small files that are read before their turn, and how many entries one has at most.
RUNS_AHEAD = 4
RUN_ENTRIES = 250

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
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Group:
    """Some entries of one directory."""

    batch: Batch
    entries: list[Entry]
    size: int


class StoredZip:
    """A zip of a plan; `size` is exact, `pieces` sends it."""

    content_type = "application/zip"

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

    def pieces(self) -> Iterator[bytes]:
        """The archive from its first to its last byte, as planned.

        Raises:
            StorageError, OSError: an entry is not there any more, or not as it was planned.
        """
        self._crcs = array("I")
        held: list[bytes] = []
        size = 0
        for part in self._parts():
            held.append(part)
            size += len(part)
            if size >= PIECE_BYTES:
                yield b"".join(held) if len(held) > 1 else part
                held, size = [], 0
        yield b"".join(held)

    def _parts(self) -> Iterator[bytes]:
        with ThreadPoolExecutor(1, thread_name_prefix="archive") as ahead:
            coming: deque[tuple[list[Group], Future[list[bytes]] | None]] = deque()
            for run in self._runs():
                load = None if _is_large(run[0].entries[0]) else ahead.submit(self._load, run)
                coming.append((run, load))
                if len(coming) > RUNS_AHEAD:
                    yield from self._run(*coming.popleft())
            while coming:
                yield from self._run(*coming.popleft())
        yield from self._central()
        yield self._end()

    def _runs(self) -> Iterator[list[Group]]:
        """Groups that are read and sent together: a piece's worth, or one large file."""
        run: list[Group] = []
        entries = size = 0
        for group in self._groups():
            large = _is_large(group.entries[0])
            if run and (large or size + group.size > PIECE_BYTES or entries > RUN_ENTRIES):
                yield run
                run, entries, size = [], 0, 0
            run.append(group)
            entries += len(group.entries)
            size += group.size
        if run:
            yield run

    def _groups(self) -> Iterator[Group]:
        """Entries of one directory, a piece's worth at most: a large one is alone."""
        for batch in self._plan.batches():
            entries: list[Entry] = []
            size = 0
            for entry in batch.entries:
                if entries and (size + entry.size > PIECE_BYTES or _is_large(entries[0])):
                    yield Group(batch, entries, size)
                    entries, size = [], 0
                entries.append(entry)
                size += entry.size
            if entries:
                yield Group(batch, entries, size)

    def _load(self, run: list[Group]) -> list[bytes]:
        """The contents of the files of a run, read beside the thread that packs."""
        found: list[bytes] = []
        for group in run:
            files = [entry for entry in group.entries if entry.is_file]
            if files:
                with opened(self._top, group.batch.directory) as directory:
                    found += read_files(directory, files)
        return found

    def _run(self, run: list[Group], load: "Future[list[bytes]] | None") -> Iterator[bytes]:
        if load is None:
            [group] = run
            with opened(self._top, group.batch.directory) as directory:
                yield from self._large(directory, group.batch, group.entries[0])
            return
        contents = iter(load.result())
        parts: list[bytes] = []
        for group in run:
            for entry in group.entries:
                data = next(contents) if entry.is_file else entry.target
                crc = crc32(data)
                self._crcs.append(crc)
                parts.append(_local(_name(group.batch, entry), entry, crc))
                parts.append(data)
        yield b"".join(parts)

    def _large(self, directory: int, batch: Batch, entry: Entry) -> Iterator[bytes]:
        yield _local(_name(batch, entry), entry, 0)
        crc, left = 0, entry.size
        descriptor = os.open(entry.name, _OPEN_FILE, dir_fd=directory)
        try:
            _check(os.fstat(descriptor), entry)
            while left > 0:
                piece = os.read(descriptor, min(PIECE_BYTES, left))
                if not piece:
                    raise Changed("A file became shorter while it was sent.")
                crc = crc32(piece, crc)
                left -= len(piece)
                yield piece
            _check(os.fstat(descriptor), entry)
        finally:
            os.close(descriptor)
        self._crcs.append(crc)
        form = _DESCRIPTOR_64 if entry.size >= _MAX_32 else _DESCRIPTOR
        yield form.pack(b"PK\x07\x08", crc, entry.size, entry.size)

    def _central(self) -> Iterator[bytes]:
        offset, index = 0, 0
        fixed = _LOCAL.size + _TIME_EXTRA.size
        for batch in self._plan.batches():
            records = []
            for entry in batch.entries:
                name = _name(batch, entry)
                records.append(_central_record(name, entry, self._crcs[index], offset))
                offset += fixed + len(name) + entry.size
                if entry.size > SMALL_BYTES:
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


def _name(batch: Batch, entry: Entry) -> bytes:
    name = batch.prefix + entry.name
    return name + b"/" if entry.is_directory else name


def _is_large(entry: Entry) -> bool:
    return entry.size > SMALL_BYTES and entry.is_file


def _descriptor_size(entry: Entry) -> int:
    if not _is_large(entry):
        return 0
    return _DESCRIPTOR_64.size if entry.size >= _MAX_32 else _DESCRIPTOR.size


def _flags(name: bytes, entry: Entry) -> int:
    flags = _DESCRIPTOR_FOLLOWS if entry.size > SMALL_BYTES and entry.is_file else 0
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


def _check(found: os.stat_result, entry: Entry) -> None:
    same = found.st_mtime_ns == entry.mtime_ns and found.st_size == entry.size
    if not same or found.st_ino != entry.inode:
        raise Changed("A file changed between the plan and its turn.")
