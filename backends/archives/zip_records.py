"""The records of a zip (PKWARE APPNOTE 6.3.10): headers, data descriptors, central directory, end.

Names have the bytes on disk, and the UTF-8 flag where they are UTF-8. Times have whole seconds.
"""

import time
from functools import lru_cache
from struct import Struct

from backends.archives.plan import ArchiveEntry

#: The form of content: its method, whether a data descriptor follows, and whether its sizes may
#: need more than 32 bits. The descriptor has the checksum and the sizes where they are not known
#: before. Stored content never has one: readers of streams would not find the end of the content.
STORED = 0
DEFLATED = 8
FOLLOWS = 0x40
#: Deflated content that is not compressed: stored blocks (RFC 1951, 3.2.4). Its length is known
#: before, its checksum is not, and its end is in the content itself.
IN_BLOCKS = 0x80
WIDE = 0x100
#: The time does not fit into 31 bits: an extra field of NTFS has it. Readers disagree about the top
#: bit of 32: a time before 1970, or one after 2038.
FAR_TIME = 0x200
_METHOD = 0x3F

#: Most bytes in one stored block, and the bytes before each of them.
BLOCK_BYTES = 0xFFFF
BLOCK_HEAD_BYTES = 5
_BLOCK_HEAD = Struct("<B2H")

#: Times from the epoch to before this, in nanoseconds, have no `FAR_TIME`.
NEAR_NS = 2**31 * 1_000_000_000
_MAX_16 = 0xFFFF
_MAX_32 = 0xFFFF_FFFF
#: Offsets in the archive from this need more than 32 bits.
FAR_BYTES = _MAX_32
_UTF8 = 1 << 11
_DESCRIPTOR_FOLLOWS = 1 << 3
_MADE_ON_UNIX = 3 << 8 | 45
_NEEDS = 20
_NEEDS_ZIP64 = 45

_LOCAL = Struct("<4s5H3L2H")
_TIME_EXTRA = Struct("<2HBl")
#: NTFS times: tag, size, reserved, tag 1 and its size, then modified, accessed and created.
_NTFS_EXTRA = Struct("<2HL2H3Q")
_ZIP64_LOCAL = Struct("<2H2Q")
_ZIP64_CENTRAL = Struct("<2H3Q")
_DESCRIPTOR = Struct("<4s3L")
_DESCRIPTOR_64 = Struct("<4sL2Q")
_CENTRAL = Struct("<4s6H3L5H2L")
_END_64 = Struct("<4sQ2H2L4Q")
_LOCATOR_64 = Struct("<4sLQL")
_END = Struct("<4s4H2LH")
#: Deflate makes incompressible content a little larger, so from this size it might pass 32 bits.
_WIDE_DEFLATED = 0xFF00_0000

#: The range of DOS times, 1980 to 2107 (seconds since the epoch); files may have any time.
_DOS_FIRST_SECOND, _DOS_LAST_SECOND = 315_532_800, 4_354_819_199

#: The epoch of NTFS times, 1601, before that of Unix (nanoseconds), and their unit. All times of a
#: plan are within their range.
NTFS_EPOCH_NS = 11_644_473_600 * 10**9
_NTFS_UNIT_NS = 100

#: Checksum, bytes in the archive, bytes of the content, and their form.
Sent = tuple[int, int, int, int]

#: Bytes of a local header without its name, and of the extra field of large entries.
LOCAL_BYTES = _LOCAL.size + _TIME_EXTRA.size
WIDE_LOCAL_BYTES = _ZIP64_LOCAL.size
#: Bytes of a record of the central directory without its name, and of large entries' extra field.
CENTRAL_BYTES = _CENTRAL.size + _TIME_EXTRA.size
#: So many bytes more than a local header has the record of the same entry, where none is wide.
CENTRAL_MORE_BYTES = CENTRAL_BYTES - LOCAL_BYTES
WIDE_CENTRAL_BYTES = _ZIP64_CENTRAL.size


def form_of(size: int, form: int) -> int:
    """Return the form of content of this size: `WIDE` where 32 bits are, or might be, too few.

    Readers of streams expect 64 bits in a data descriptor only when a size passes 32 bits.
    """
    if form & IN_BLOCKS:
        return form | WIDE if blocks_bytes(size) > _MAX_32 else form
    return form | WIDE if size >= (_WIDE_DEFLATED if form & FOLLOWS else _MAX_32) else form


def blocks_bytes(size: int) -> int:
    """Return the bytes of content in stored blocks."""
    return size + BLOCK_HEAD_BYTES * max(1, -(-size // BLOCK_BYTES))


def in_blocks(data: bytes, *, last: bool) -> bytes:
    """Return content as stored blocks; with `last` the final one is marked."""
    view, parts = memoryview(data), list[bytes | memoryview]()
    for at in range(0, len(data) or 1, BLOCK_BYTES):
        block = view[at : at + BLOCK_BYTES]
        final = last and at + BLOCK_BYTES >= len(data)
        parts.append(_BLOCK_HEAD.pack(final, len(block), len(block) ^ BLOCK_BYTES))
        parts.append(block)
    return b"".join(parts)


def time_form(entry: ArchiveEntry) -> int:
    """Return the part of an entry's form that its time decides: `FAR_TIME` or 0."""
    return 0 if 0 <= entry.mtime_ns < NEAR_NS else FAR_TIME


def is_far(offset: int) -> bool:
    """Return whether an offset in the archive needs more than 32 bits."""
    return offset >= FAR_BYTES


def local(name: bytes, entry: ArchiveEntry, sent: Sent) -> bytes:
    """Return the local header, which comes before an entry's content."""
    crc, packed, size, form = sent
    clock, extra = _clock(entry.mtime_ns // 1_000_000_000)
    needs = _NEEDS
    if form & FOLLOWS:
        crc = packed = size = 0
    if form & WIDE:
        extra += _ZIP64_LOCAL.pack(1, 16, size, packed)
        needs, size, packed = _NEEDS_ZIP64, _MAX_32, _MAX_32
    flags = _flags(name, form)
    words = needs, flags, form & _METHOD
    lengths = len(name), len(extra)
    head = _LOCAL.pack(b"PK\x03\x04", *words, *clock, crc, packed, size, *lengths)
    return head + name + extra


def local_stored(name: bytes, entry: ArchiveEntry, crc: int) -> bytes:
    """Return what `local` does for stored content of less than 4 GiB, faster."""
    (clock, day), extra = _clock(entry.mtime_ns // 1_000_000_000)
    flags, size = 0 if name.isascii() else _flags(name, STORED), entry.size
    words = b"PK\x03\x04", _NEEDS, flags, STORED, clock, day, crc, size, size, len(name), len(extra)
    return _LOCAL.pack(*words) + name + extra


def descriptor(sent: Sent) -> bytes:
    """Return the data descriptor behind an entry's content; empty without `FOLLOWS`."""
    crc, packed, size, form = sent
    if not form & FOLLOWS:
        return b""
    shape = _DESCRIPTOR_64 if form & WIDE else _DESCRIPTOR
    return shape.pack(b"PK\x07\x08", crc, packed, size)


def time_bytes(form: int) -> int:
    """Return the bytes that a time beyond 32 bits adds to each of an entry's records."""
    return _NTFS_EXTRA.size if form & FAR_TIME else 0


def local_bytes(name: int, packed: int, form: int) -> int:
    """Return the bytes of an entry with a name so long, without its central directory record."""
    length = LOCAL_BYTES + name + packed + (WIDE_LOCAL_BYTES if form & WIDE else 0)
    length += time_bytes(form)
    if form & FOLLOWS:
        length += _DESCRIPTOR_64.size if form & WIDE else _DESCRIPTOR.size
    return length


def central(name: bytes, entry: ArchiveEntry, sent: Sent, offset: int) -> bytes:
    """Return the record of the central directory for an entry with its local header at `offset`."""
    crc, packed, size, form = sent
    clock, extra = _clock(entry.mtime_ns // 1_000_000_000)
    needs = _NEEDS
    if form & WIDE or is_far(offset):
        extra += _ZIP64_CENTRAL.pack(1, 24, size, packed, offset)
        needs, size, packed, offset = _NEEDS_ZIP64, _MAX_32, _MAX_32, _MAX_32
    attributes = (entry.mode & 0xFFFF) << 16 | (0x10 if entry.is_directory else 0)
    words = _MADE_ON_UNIX, needs, _flags(name, form), form & _METHOD, *clock
    lengths = len(name), len(extra), 0, 0, 0
    head = _CENTRAL.pack(b"PK\x01\x02", *words, crc, packed, size, *lengths, attributes, offset)
    return head + name + extra


def central_stored(name: bytes, entry: ArchiveEntry, crc: int, offset: int) -> bytes:
    """Return what `central` does for the entry of a `local_stored` below 4 GiB, faster."""
    (clock, day), extra = _clock(entry.mtime_ns // 1_000_000_000)
    flags, size = 0 if name.isascii() else _flags(name, STORED), entry.size
    attributes = (entry.mode & 0xFFFF) << 16 | (0x10 if entry.is_directory else 0)
    words = b"PK\x01\x02", _MADE_ON_UNIX, _NEEDS, flags, STORED, clock, day, crc, size, size
    lengths = len(name), len(extra), 0, 0, 0
    return _CENTRAL.pack(*words, *lengths, attributes, offset) + name + extra


def end(at: int, size: int, count: int) -> bytes:
    """Return the end of an archive: its central directory is at `at`, of `size` bytes."""
    shown = min(count, _MAX_16)
    last = _END.pack(b"PK\x05\x06", 0, 0, shown, shown, min(size, _MAX_32), min(at, _MAX_32), 0)
    if max(at, size) < _MAX_32 and count < _MAX_16:
        return last
    made = _MADE_ON_UNIX, _NEEDS_ZIP64
    record = _END_64.pack(b"PK\x06\x06", _END_64.size - 12, *made, 0, 0, count, count, size, at)
    return record + _LOCATOR_64.pack(b"PK\x06\x07", 0, at + size, 1) + last


def _flags(name: bytes, form: int) -> int:
    flags = _DESCRIPTOR_FOLLOWS if form & FOLLOWS else 0
    if name.isascii():
        return flags
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return flags
    return flags | _UTF8


@lru_cache(maxsize=4096)
def _clock(seconds: int) -> tuple[tuple[int, int], bytes]:
    """Return DOS words and the extended timestamp (Info-ZIP 0x5455, 32 bits since 1970).

    Before 1970 and after 2038 a field of NTFS follows; where 32 bits are too few, it alone has the
    time.
    """
    fits = -(2**31) <= seconds < 2**31
    extra = _TIME_EXTRA.pack(0x5455, 5, fits, seconds if fits else 0)
    if 0 <= seconds < 2**31:
        return _dos_time(seconds), extra
    ticks = (seconds * 1_000_000_000 + NTFS_EPOCH_NS) // _NTFS_UNIT_NS
    far = _NTFS_EXTRA.pack(0x000A, 32, 0, 1, 24, ticks, ticks, ticks)
    return _dos_time(seconds), extra + far


def _dos_time(seconds: int) -> tuple[int, int]:
    """Return the DOS words of time and date in UTC, within their range (1980 to 2107)."""
    shown = min(max(seconds, _DOS_FIRST_SECOND), _DOS_LAST_SECOND)
    year, month, day, hour, minute, second = time.gmtime(shown)[:6]
    return hour << 11 | minute << 5 | second >> 1, (year - 1980) << 9 | month << 5 | day
