"""Tar archives as a stream of known length: the pax interchange format (IEEE Std 1003.1, pax).

Every entry has a ustar header. An extended header before it has what does not fit: names that are
long or not ASCII, sizes from 8 GiB, times with a fraction of a second. No byte of a tar's headers
depends on the content of files. So the kernel sends large files, and a resumed archive reads only
what it sends.

Owners are left out: every entry belongs to user and group 0 without names. Set-id bits are left out
too, because such a file would then run with the rights of another user.
"""

from collections.abc import Iterator
from functools import cached_property, lru_cache, partial
from itertools import chain
from struct import Struct

import msgspec

from backends.archives.deviations import Deviations
from backends.archives.pieces import Piece, cut, gathered
from backends.archives.plan import ArchiveEntry, Plan
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

#: Headers and contents are filled up to a multiple of this.
BLOCK_BYTES = 512

_NAME_MAX = 100
_PREFIX_MAX = 155
#: Eleven octal digits: the largest size, and the last second, of a ustar header.
_NUMBER_MAX = 8**11 - 1
_NANOSECONDS = 1_000_000_000
_TEN_DIGITS = 1_000_000_000
#: Permissions and the sticky bit; not the set-id bits.
_MODE = 0o1777
_FILE, _HARD_LINK, _LINK, _DIRECTORY, _EXTENDED = b"0", b"1", b"2", b"5", b"x"
#: The file name that readers without extended headers show; the one of GNU tar and Python.
_EXTENDED_NAME = b"././@PaxHeader"
_LINK_KIND, _KIND = 0o120000, 0o170000

#: name, mode to mtime, checksum, kind, link, magic to minor device, prefix.
_HEADER = Struct("100s 48s 8s c 100s 88s 155s 12x")
_OWNERS = b"0000000\0" * 2
_REST = b"ustar\x0000" + bytes(64) + b"0000000\0" * 2
#: The sum of the bytes that all headers share; those of the checksum itself count as spaces.
_CONSTANT_SUM = sum(_REST) + 8 * ord(" ")
_END = bytes(2 * BLOCK_BYTES)


class Tar:
    """A tar of a plan, of exactly `size` bytes unless it is tolerant.

    A tolerant tar has its report as the last entry. A file that becomes shorter while it is sent
    ends it all the same: a tar states the length of a content before it.
    """

    def __init__(self, top: int, plan: Plan, met: Deviations | None = None) -> None:
        self._met = met or Deviations()
        self._beneath = Beneath(top, self._met)
        self._plan = plan

    @cached_property
    def size(self) -> int | None:
        """Return its exact length in bytes; costs a pass over the plan. None: it is tolerant."""
        return None if self._met.tolerant else self._planned_bytes()

    def _planned_bytes(self) -> int:
        return len(_END) + sum(map(_length, groups(self._plan)))

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """Yield its bytes (see `pieces.Archive`); reads no file that ends before `start`."""
        coming: Iterator[Group] = groups(self._plan)
        skip = start
        for group in coming:
            length = _length(group)
            if skip < length:
                coming = chain((group,), coming)
                break
            skip -= length
        parts = gathered(self._parts(coming))
        return cut(parts, skip, self._planned_bytes() - start) if start else parts

    def _parts(self, planned: Iterator[Group]) -> Iterator[Piece]:
        yield from assembled(planned, partial(contents, self._beneath), _packed, self._large)
        if self._met.tolerant and self._met.count:
            entry = self._met.report_entry(self._plan)
            yield _header(entry.name, entry)
            yield from self._met.report()
            yield bytes(-entry.size % BLOCK_BYTES)
        yield _END

    def _large(self, group: Group) -> Iterator[Piece]:
        [entry] = group.entries
        with large(self._beneath, group) as extent:
            if extent is None:
                return
            yield _header(name_of(group.batch, entry), _resized(entry, extent.length))
            yield extent
            yield bytes(-extent.length % BLOCK_BYTES)


def _resized(entry: ArchiveEntry, size: int) -> ArchiveEntry:
    return entry if entry.size == size else msgspec.structs.replace(entry, size=size)


def _packed(run: Run, found: Contents) -> bytes:
    files = iter(found)
    parts: list[bytes] = []
    for group in run:
        for entry in group.entries:
            data = next(files) if entry.is_file else b""
            if data is None:
                continue
            sent = _resized(entry, len(data)) if entry.is_file else entry
            parts.append(_header(name_of(group.batch, entry), sent))
            parts.append(data)
            parts.append(bytes(-len(data) % BLOCK_BYTES))
    return b"".join(parts)


def _length(group: Group) -> int:
    """Return the bytes that a group takes in the archive."""
    total = 0
    for entry in group.entries:
        records = len(_records(name_of(group.batch, entry), entry))
        total += BLOCK_BYTES + (BLOCK_BYTES + _filled(records) if records else 0)
        total += _filled(entry.size) if entry.is_file else 0
    return total


def _filled(size: int) -> int:
    return size + -size % BLOCK_BYTES


def _header(name: bytes, entry: ArchiveEntry) -> bytes:
    """Return the headers before an entry's content."""
    prefix, short = _split(name) or (b"", name[:_NAME_MAX])
    seconds = entry.mtime_ns // _NANOSECONDS
    size = entry.size if entry.is_file else 0
    numbers = b"%07o\0%b%011o\0%011o\0" % (
        entry.mode & _MODE,
        _OWNERS,
        size if size <= _NUMBER_MAX else 0,
        seconds if 0 <= seconds <= _NUMBER_MAX else 0,
    )
    block = _block(short, numbers, _kind(entry), entry.target[:_NAME_MAX], prefix)
    records = _records(name, entry)
    if not records:
        return block
    fill = bytes(-len(records) % BLOCK_BYTES)
    return b"".join((_extended(len(records)), records, fill, block))


def _kind(entry: ArchiveEntry) -> bytes:
    if entry.is_file:
        return _FILE
    if entry.is_directory:
        return _DIRECTORY
    return _LINK if entry.mode & _KIND == _LINK_KIND else _HARD_LINK


@lru_cache(maxsize=1024)
def _extended(size: int) -> bytes:
    """Return the header of an extended header of so many bytes."""
    numbers = b"0000644\0%b%011o\0%011o\0" % (_OWNERS, size, 0)
    return _block(_EXTENDED_NAME, numbers, _EXTENDED, b"", b"")


def _block(name: bytes, numbers: bytes, kind: bytes, link: bytes, prefix: bytes) -> bytes:
    """Return a ustar header; its checksum is the sum of its bytes."""
    total = _CONSTANT_SUM + sum(name) + sum(numbers) + kind[0] + sum(link) + sum(prefix)
    return _HEADER.pack(name, numbers, b"%06o\0 " % total, kind, link, _REST, prefix)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Return prefix and name for a ustar header; None where the name does not fit."""
    if _fits(name):
        return b"", name
    at = name.find(b"/", len(name) - _NAME_MAX - 1, -1)
    prefix, rest = name[:at], name[at + 1 :]
    fits = 0 < at <= _PREFIX_MAX and _fits(rest) and _is_plain(prefix)
    return (prefix, rest) if fits else None


def _fits(name: bytes) -> bool:
    return len(name) <= _NAME_MAX and _is_plain(name)


def _is_plain(name: bytes) -> bool:
    """Return whether every reader shows the same name: ASCII, or bytes that are not UTF-8."""
    return name.isascii() or not _is_utf8(name)


def _records(name: bytes, entry: ArchiveEntry) -> bytes:
    """Return the extended header: what does not fit into the ustar header, mostly a time."""
    records = _time(entry.mtime_ns)
    if len(name) <= _NAME_MAX and name.isascii() and not entry.target and entry.size <= _NUMBER_MAX:
        return records  # nearly all entries
    if entry.size > _NUMBER_MAX:
        records += _record(b"size", b"%d" % entry.size)
    long = [(b"path", name)] if _split(name) is None else []
    if not _fits(entry.target):
        long.append((b"linkpath", entry.target))
    for key, text in long:
        records += _record(key, text)
    if all(_is_utf8(text) for _, text in long):
        return records
    return _record(b"hdrcharset", b"BINARY") + records


def _time(mtime_ns: int) -> bytes:
    seconds, fraction = divmod(mtime_ns, _NANOSECONDS)
    if fraction == 0 and 0 <= seconds <= _NUMBER_MAX:
        return b""
    if _TEN_DIGITS <= seconds < 10 * _TEN_DIGITS:  # nearly all files: the years 2001 to 2286
        return b"30 mtime=%d.%09d\n" % (seconds, fraction)
    sign = b"-" if mtime_ns < 0 else b""
    return _record(b"mtime", b"%b%d.%09d" % (sign, *divmod(abs(mtime_ns), _NANOSECONDS)))


def _record(key: bytes, value: bytes) -> bytes:
    """Return a line that begins with its own length."""
    length = len(key) + len(value) + len(b" =\n")
    digits = len(b"%d" % length)
    digits = len(b"%d" % (length + digits))
    return b"%d %b=%b\n" % (length + digits, key, value)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
