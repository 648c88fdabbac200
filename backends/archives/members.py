"""Archives from strangers, entry by entry: names parsed, kinds and sizes checked, memory bounded.

Read are tar (POSIX.1-2001 pax, GNU, ustar; plain or in gzip, RFC 1952) and zip (PKWARE APPNOTE
6.3.10; stored and deflated). What an archive says is never believed: a name that leads out, a
device, a header larger than headers are, or an end that is missing refuse the whole.
"""

import errno
import gzip
import io
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

#: Headers of one tar entry together are no larger than this: pax and GNU names take a few KiB.
HEADER_BYTES_MAX = 4 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_TAR_END = bytes(tarfile.BLOCKSIZE)


class ArchiveRefused(InvalidParameters):
    """An archive is broken, or holds what must not be unpacked; nothing of it appears."""

    kind = "storage/archive-refused"
    title = "The archive is refused"


class UploadFormat(StrEnum):
    """The archives that can be unpacked."""

    #: Plain or in gzip, which its first bytes tell.
    TAR = "tar"
    ZIP = "zip"


class Kind(StrEnum):
    """What an entry becomes."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    #: Another name of a file that came before.
    HARD_LINK = "hard link"


@dataclass(frozen=True, slots=True)
class Member:
    """One entry; `read` gives its next bytes and is good until the next entry is taken."""

    path: VFolderPath
    kind: Kind
    mode: int
    #: Seconds since the epoch; None when unknown.
    modified: float | None = None
    size: int = 0
    #: What a link says; of a hard link, the path of the file.
    target: str = ""
    read: Callable[[int], bytes] = lambda _: b""


class ArchiveReader(Protocol):
    """An archive that is open for reading, once through."""

    @property
    def entries(self) -> int | None:
        """How many entries it has, as it says itself; None when only its end will tell."""

    @property
    def total_bytes(self) -> int | None:
        """Bytes of all files unpacked, as it says itself; None when only its end will tell."""

    def members(self) -> Iterator[Member]:
        """Every entry in order.

        Raises:
            ArchiveRefused: at the first that cannot be, and at an end that is missing.
        """


@contextmanager
def reading() -> Iterator[None]:
    """Whatever a library says of a broken archive is a refusal.

    Raises:
        ArchiveRefused: the bytes are not what an archive has.
    """
    try:
        yield
    except (PathEscape, InvalidName) as error:
        raise ArchiveRefused(f"An entry has a name that cannot be: {error.detail}") from error
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise ArchiveRefused("The archive is broken.") from error
    except (EOFError, ValueError, OverflowError, RecursionError, NotImplementedError) as error:
        raise ArchiveRefused("The archive is broken or cut off.") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # a position that cannot be
            raise
        raise ArchiveRefused("The archive is broken.") from error


class _Frugal:
    """A tar's bytes: what the library reads for headers is bounded, whatever they announce."""

    def __init__(self, file: io.BufferedIOBase | io.RawIOBase) -> None:
        self._file = file
        self._left = HEADER_BYTES_MAX
        #: What was read last: at the end of a tar, a block of zeros.
        self.last = b""

    def begin_entry(self) -> None:
        """The headers of another entry come."""
        self._left = HEADER_BYTES_MAX

    def begin_content(self, size: int) -> None:
        """Bytes of a file come, which are read in pieces and counted by who reads them."""
        self._left = size + HEADER_BYTES_MAX

    def read(self, size: int = -1) -> bytes:
        """Read, within what may be."""
        self._left -= size if size >= 0 else self._left + 1
        if self._left < 0:
            raise ArchiveRefused("An entry's headers are too large, or of no true size.")
        self.last = self._file.read(size) or b""
        return self.last

    def seek(self, position: int) -> int:
        """Go to a position."""
        if position < 0:
            raise ArchiveRefused("An entry has a size that cannot be.")
        return self._file.seek(position)

    def tell(self) -> int:
        """Where it is."""
        return self._file.tell()


class TarArchive:
    """A tar, plain or in gzip; only its end tells how much it holds."""

    entries = None

    def __init__(self, file: io.FileIO, size: int) -> None:
        packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        plain = gzip.GzipFile(fileobj=file, mode="rb") if packed else file
        self.total_bytes = None if packed else size
        self._file = _Frugal(plain)
        with reading():
            self._tar = tarfile.TarFile(
                fileobj=self._file,  # type: ignore[arg-type] # all that tarfile uses of a file
                encoding="utf-8",
                errors="surrogateescape",
            )

    def members(self) -> Iterator[Member]:
        """See `ArchiveReader.members`."""
        while True:
            with reading():
                self._file.begin_entry()
                found = self._tar.next()
                self._tar.members.clear()  # type: ignore[attr-defined] # typeshed has no such list
                if found is None:
                    break
                member = self._member(found)
            yield member
        if self._file.last != _TAR_END:
            raise ArchiveRefused("The archive is cut off: a tar ends with blocks of zeros.")
        with reading():
            while self._file.read(tarfile.RECORDSIZE):  # gzip compares its checksum at its end
                pass

    def _member(self, found: tarfile.TarInfo) -> Member:
        if found.size < 0 or found.issparse():
            raise ArchiveRefused(f"{_shown(found.name)} is sparse, or of no true size.")
        kind = _tar_kind(found)
        self._file.begin_content(found.size)
        content = self._tar.extractfile(found) if kind is Kind.FILE else None
        return Member(
            VFolderPath.parse(found.name),
            kind,
            found.mode,
            float(found.mtime),
            found.size if kind is Kind.FILE else 0,
            found.linkname,
            content.read if content else lambda _: b"",
        )


def _tar_kind(found: tarfile.TarInfo) -> Kind:
    if found.isdir():
        return Kind.DIRECTORY
    if found.issym():
        return Kind.LINK
    if found.islnk():
        return Kind.HARD_LINK
    if found.isreg():
        return Kind.FILE
    raise ArchiveRefused(f"{_shown(found.name)} is neither file, directory nor link.")


def _shown(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
