"""Uploaded zip archives (PKWARE APPNOTE 6.3.10), read as `members` describes."""

import calendar
import io
import os
import stat
import zipfile
from collections.abc import Iterator
from struct import Struct

from backends.archives.members import ArchiveRefused, Kind, Member, member_path, reading
from backends.archives.zip_records import NTFS_EPOCH_NS
from core.names import PATH_MAX_BYTES

#: The central directory is read into memory. A larger one, of about 2 million entries, is refused.
DIRECTORY_BYTES_MAX = 256 << 20
_UNIX = 3
_ENCRYPTED = 1
_UTF8 = 1 << 11
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_END = Struct("<4s4H2LH")
_LOCATOR_64 = Struct("<4sLQL")
_END_64 = Struct("<4sQ2H2L4Q")
_COMMENT_MAX = 0xFFFF
_EXTRA = Struct("<2H")
_TIMES, _NTFS_TIMES = 0x5455, 0x000A
#: Reserved bytes, then tag 1, its size, and times in units of 100 ns since 1601.
_NTFS = Struct("<4x2HQ16x")


class ZipArchive:
    """A zip; its central directory has the number and sizes of its entries."""

    def __init__(self, file: io.FileIO, size: int) -> None:
        _check_directory(file, size)
        with reading():
            self._zip = zipfile.ZipFile(file)
        self._entries = self._zip.infolist()
        self.entries = len(self._entries)
        self.total_bytes = sum(info.file_size for info in self._entries)

    def members(self) -> Iterator[Member]:
        """Yield every entry (see `ArchiveReader.members`)."""
        for info in self._entries:
            yield self._member(info)

    def _member(self, info: zipfile.ZipInfo) -> Member:
        if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
            raise ArchiveRefused("An entry is encrypted, or compressed with an unknown method.")
        name = _name(info)
        mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
        kind = _kind(name, mode)
        target, size = "", 0
        if kind is Kind.LINK:
            target = os.fsdecode(self._read_link(info))
        if kind is Kind.FILE:
            size = info.file_size
        with reading():
            read = self._zip.open(info).read if kind is Kind.FILE else lambda _: b""
        return Member(member_path(name), kind, mode, _modified(info), size, target, read)

    def _read_link(self, info: zipfile.ZipInfo) -> bytes:
        if info.file_size > PATH_MAX_BYTES:
            raise ArchiveRefused("A link has a target longer than a path may be.")
        with reading(), self._zip.open(info) as content:
            return content.read(PATH_MAX_BYTES)


def _name(info: zipfile.ZipInfo) -> str:
    """Return the name with the bytes of the archive.

    zipfile decodes a name without the UTF-8 flag as CP437. Unix writes the bytes of the file
    system there, so the decoding is undone.
    """
    name = info.orig_filename
    if info.flag_bits & _UTF8 or info.create_system != _UNIX:
        return name
    return os.fsdecode(name.encode("cp437"))


def _kind(name: str, mode: int) -> Kind:
    form = stat.S_IFMT(mode)
    if form == stat.S_IFLNK:
        return Kind.LINK
    if form not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveRefused("An entry is no file, directory or link.")
    return Kind.DIRECTORY if name.endswith("/") else Kind.FILE


def _modified(info: zipfile.ZipInfo) -> int | None:
    """Return the time of the extended timestamp (Info-ZIP), else of NTFS, else of DOS as UTC."""
    found: dict[int, int] = {}
    extra = info.extra
    while len(extra) >= _EXTRA.size:
        tag, size = _EXTRA.unpack_from(extra)
        field = extra[_EXTRA.size : _EXTRA.size + size]
        if tag == _TIMES and len(field) > 4 and field[0] & 1:  # noqa: PLR2004 - flags and 4 bytes
            found[tag] = int.from_bytes(field[1:5], "little", signed=True) * 10**9
        elif tag == _NTFS_TIMES and len(field) >= _NTFS.size:
            kind, length, ticks = _NTFS.unpack_from(field)
            if (kind, length) == (1, 24):
                found[tag] = ticks * 100 - NTFS_EPOCH_NS
        extra = extra[_EXTRA.size + size :]
    if found:
        return found.get(_TIMES, found.get(_NTFS_TIMES))
    try:
        return calendar.timegm((*info.date_time, 0, 1, 0)) * 10**9
    except ValueError:
        return None


def _check_directory(file: io.FileIO, size: int) -> None:
    """Check the size of the central directory before it is read into memory.

    Raises:
        ArchiveRefused: it is too large, or the file is no zip.
    """
    tail_at = max(0, size - _END.size - _COMMENT_MAX - _LOCATOR_64.size - _END_64.size)
    tail = os.pread(file.fileno(), size - tail_at, tail_at)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise ArchiveRefused("This is no zip archive, or its end is missing.")
    listed: int = _END.unpack_from(tail, at)[5]
    wide = tail.rfind(b"PK\x06\x06", 0, at)
    if wide >= 0 and len(tail) - wide >= _END_64.size:
        listed = max(listed if listed != 0xFFFFFFFF else 0, _END_64.unpack_from(tail, wide)[8])  # noqa: PLR2004 - means: see the 64-bit record
    if listed > DIRECTORY_BYTES_MAX:
        raise ArchiveRefused("The zip archive lists too many entries; send it as a tar.")
