"""Uploaded archives, entry by entry: names parsed, kinds and sizes checked, memory bounded.

These formats are read: tar (POSIX.1-2001 pax, GNU, ustar; plain or in gzip, RFC 1952) and zip
(PKWARE APPNOTE 6.3.10; stored and deflated). The content of an archive is not trusted. A name that
leads outside, a device, an oversized header or a missing end refuses the complete archive.
"""

import errno
import gzip
import io
import math
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from core.errors import InvalidName, InvalidParameters, PathEscape
from core.names import VFolderPath
from core.telemetry import logger

_log = logger(__name__)

#: Largest size of all headers of one tar entry, in bytes; pax and GNU names take a few KiB.
HEADER_BYTES_MAX = 4 << 20
_GZIP_MAGIC = b"\x1f\x8b"
#: A time of pax: seconds and any digits of a fraction. More digits before it are no time.
_PAX_TIME = re.compile(r"(-)?(\d{1,20})(?:\.(\d*))?", re.ASCII)
_TAR_END = bytes(tarfile.BLOCKSIZE)


class ArchiveRefused(InvalidParameters):
    """The archive is broken, or has an entry that must not be unpacked; nothing of it appears."""

    kind = "storage/archive-refused"
    title = "The archive is refused"


class UploadFormat(StrEnum):
    """The archives that can be unpacked."""

    #: Plain or in gzip; the first bytes decide.
    TAR = "tar"
    ZIP = "zip"


class Kind(StrEnum):
    """The kind of an entry."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    #: Another name of an earlier file.
    HARD_LINK = "hard link"


@dataclass(frozen=True, slots=True)
class Member:
    """One entry; `read` returns its next bytes, and is valid until the next entry is taken."""

    path: VFolderPath
    kind: Kind
    mode: int
    #: Nanoseconds since the epoch, of any size; None when unknown.
    modified_ns: int | None = None
    size: int = 0
    #: The target of a link; of a hard link, the path of the file.
    target: str = ""
    read: Callable[[int], bytes] = lambda _: b""


class ArchiveReader(Protocol):
    """An archive that is open for one pass of reading."""

    @property
    def entries(self) -> int | None:
        """Return the number of entries that the archive claims; None when it is not known yet."""

    @property
    def total_bytes(self) -> int | None:
        """Return the unpacked bytes that the archive claims; None when they are not known yet."""

    def members(self) -> Iterator[Member]:
        """Yield every entry in order.

        Raises:
            ArchiveRefused: an entry is not allowed, or the end of the archive is missing.
        """


def member_path(name: str) -> VFolderPath:
    """Return the path that an archive names.

    Raises:
        ArchiveRefused: the name leads outside, or is not allowed.
    """
    try:
        return VFolderPath.parse(name)
    except (PathEscape, InvalidName) as error:
        raise ArchiveRefused(f"An entry has a name that is not allowed: {error.detail}") from error


@contextmanager
def reading() -> Iterator[None]:
    """Raise the errors of a library about a broken archive as `ArchiveRefused`.

    The block has calls of the library only: a fault of our own code would look the same.

    Raises:
        ArchiveRefused: the bytes are no valid archive.
    """
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise ArchiveRefused("The archive is broken.") from error
    except (EOFError, ValueError, ArithmeticError, RecursionError, NotImplementedError) as error:
        raise ArchiveRefused("The archive is broken or cut off.") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # a position outside of the file
            raise
        raise ArchiveRefused("The archive is broken.") from error
    except (struct.error, LookupError, TypeError, AttributeError, AssertionError) as error:
        _log.warning("archive not read", exc_info=True)  # the library did not expect these bytes
        raise ArchiveRefused("The archive is broken.") from error


class _BoundedFile:
    """The bytes of a tar; bounds what tarfile reads for headers, whatever size they announce."""

    def __init__(self, file: io.BufferedIOBase | io.RawIOBase) -> None:
        self._file = file
        self._left = HEADER_BYTES_MAX
        #: The last bytes that were read: at the end of a tar, a block of zeros.
        self.last = b""

    def begin_entry(self) -> None:
        """Start to count the bytes of the next entry's headers."""
        self._left = HEADER_BYTES_MAX

    def begin_content(self, size: int) -> None:
        """Allow the bytes of a file too; the caller reads them in pieces and counts them."""
        self._left = size + HEADER_BYTES_MAX

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            ArchiveRefused: the headers are too large.
        """
        self._left -= size if size >= 0 else self._left + 1
        if self._left < 0:
            raise ArchiveRefused("The headers of an entry are too large, or have an invalid size.")
        self.last = self._file.read(size) or b""
        return self.last

    def seek(self, position: int) -> int:
        """Move to a position, and return it.

        Raises:
            ArchiveRefused: the position is negative.
        """
        if position < 0:
            raise ArchiveRefused("An entry has an invalid size.")
        return self._file.seek(position)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()


class TarArchive:
    """A tar, plain or in gzip; the number of its entries is known at its end."""

    entries = None

    def __init__(self, file: io.FileIO, size: int) -> None:
        packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        plain = gzip.GzipFile(fileobj=file, mode="rb") if packed else file
        self.total_bytes = None if packed else size
        self._file = _BoundedFile(plain)
        with reading():
            self._tar = tarfile.TarFile(
                fileobj=self._file,  # type: ignore[arg-type] # all that tarfile uses of a file
                encoding="utf-8",
                errors="surrogateescape",
            )

    def members(self) -> Iterator[Member]:
        """Yield every entry (see `ArchiveReader.members`)."""
        while True:
            with reading():
                self._file.begin_entry()
                header = self._tar.next()
                self._tar.members.clear()  # type: ignore[attr-defined] # typeshed has no such list
            if header is None:
                break
            yield self._member(header)
        if self._file.last != _TAR_END:
            raise ArchiveRefused("The archive is cut off: a tar ends with blocks of zeros.")
        with reading():
            while self._file.read(tarfile.RECORDSIZE):  # gzip compares its checksum at its end
                pass

    def _member(self, header: tarfile.TarInfo) -> Member:
        if header.size < 0 or header.issparse():
            raise ArchiveRefused(f"{_shown(header.name)} is sparse, or has an invalid size.")
        kind = _tar_kind(header)
        self._file.begin_content(header.size)
        with reading():
            content = self._tar.extractfile(header) if kind is Kind.FILE else None
        return Member(
            member_path(header.name),
            kind,
            header.mode,
            _tar_time(header),
            header.size if kind is Kind.FILE else 0,
            header.linkname,
            content.read if content else lambda _: b"",
        )


def _tar_time(header: tarfile.TarInfo) -> int | None:
    """Return the time of an entry; that of an extended header is exact, whatever its digits."""
    exact = _PAX_TIME.fullmatch(header.pax_headers.get("mtime", ""))
    if exact is None:
        seconds = header.mtime  # a number of the header, or a text that only float() understands
        return int(seconds) * 10**9 if math.isfinite(seconds) else None
    sign, whole, fraction = exact.groups(default="")
    nanoseconds = int(whole) * 10**9 + int(f"{fraction:0<9.9}")
    return -nanoseconds if sign else nanoseconds


def _tar_kind(header: tarfile.TarInfo) -> Kind:
    if header.isdir():
        return Kind.DIRECTORY
    if header.issym():
        return Kind.LINK
    if header.islnk():
        return Kind.HARD_LINK
    if header.isreg():
        return Kind.FILE
    raise ArchiveRefused(f"{_shown(header.name)} is no file, directory or link.")


def _shown(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
