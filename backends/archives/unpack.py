"""Unpack an uploaded archive below a directory that no other process sees yet.

No entry is written through a link: directories are opened one by one, and links are not followed
(openat(2), O_NOFOLLOW). Files keep their mode (without set-id bits) and time. They belong to the
user of this process, not to the owner that the archive names.
"""

import errno
import io
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from backends.archives.members import (
    ArchiveReader,
    ArchiveRefused,
    Kind,
    Member,
    TarArchive,
    UploadFormat,
    member_path,
    reading,
)
from backends.archives.zip_members import ZipArchive
from backends.fs import atomic
from backends.tree import Throttle
from core.jobs import Control, Counter
from core.names import VFolderPath

#: Content is copied in pieces of this size.
PIECE_BYTES = 1 << 20
#: Times further from the epoch than this (year 2116) are unpacked as this.
MTIME_MAX_SECONDS = float(2**62 // 10**9)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE, _DIRECTORY_MODE = 0o644, 0o755
_BEHIND_A_LINK = frozenset({errno.ELOOP, errno.ENAMETOOLONG})


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """The most that an archive may unpack to; an archive beyond counts as a bomb."""

    #: Unpacked bytes per byte of the archive; real archives stay below (deflate can reach 1000).
    ratio: int = 200
    #: Any archive may unpack to so many bytes, whatever its ratio.
    free_bytes: int = 256 << 20
    #: Any archive may have so many entries; beyond, each must take `entry_cost_bytes` of it.
    free_entries: int = 100_000
    entry_cost_bytes: int = 8

    def check(self, packed_bytes: int, entries: int, size_bytes: int) -> None:
        """Check unpacked entries and bytes against the size of the archive.

        Raises:
            ArchiveRefused: there are too many bytes or entries for an archive of this size.
        """
        if size_bytes > max(packed_bytes * self.ratio, self.free_bytes):
            raise ArchiveRefused(f"The archive unpacks to more than {self.ratio} times its size.")
        if entries > max(packed_bytes // self.entry_cost_bytes, self.free_entries):
            raise ArchiveRefused("The archive has more entries than its size allows.")


BOUNDS = UnpackLimits()


@dataclass(slots=True)
class Unpacked:
    """Counts of what was unpacked."""

    files: int = 0
    directories: int = 0
    links: int = 0
    hard_links: int = 0
    copied_bytes: int = 0

    def document(self) -> dict[str, Any]:
        """Return the counts as JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def opened(form: UploadFormat, file: io.FileIO, bounds: UnpackLimits = BOUNDS) -> ArchiveReader:
    """Open an archive, and check the entries and bytes that it claims against the bounds.

    Raises:
        ArchiveRefused: the file is no archive, or claims more than `bounds` allow.
    """
    size = os.fstat(file.fileno()).st_size
    archive: ArchiveReader = (TarArchive if form is UploadFormat.TAR else ZipArchive)(file, size)
    bounds.check(size, archive.entries or 0, archive.total_bytes or 0)
    return archive


class Unpacking:
    """The unpacking of one archive into one empty directory."""

    def __init__(
        self,
        top: int,
        check: Callable[[int, int], None],
        control: Control,
        throttle: Throttle,
    ) -> None:
        """Unpack below `top`; `check` gets entries and bytes so far, and raises if too many."""
        self._top = top
        self._check = check
        self._taken = 0
        self._stop = bytearray(1)  # never set: a piece is short
        self._control = control
        self._throttle = throttle
        self._here: tuple[str, ...] = ()
        self._parent = os.dup(top)
        self.done = Unpacked()

    def close(self) -> None:
        """Close the descriptors that it holds."""
        os.close(self._parent)

    def run(self, archive: ArchiveReader) -> Unpacked:
        """Make every entry.

        Raises:
            ArchiveRefused: an entry is not allowed; the entries made before it stay.
            Interrupted: the control stops the job.
            OSError: the volume failed.
        """
        for member in archive.members():
            self._control.check()
            self._control.entry(str(member.path))
            self._taken += 1
            self._check(self._taken, self.done.copied_bytes)
            if member.path.is_root:
                continue
            with _named(member):
                self._make(member)
        return self.done

    def _make(self, member: Member) -> None:
        parent = self._enter(member.path.parent.parts)
        name = member.path.name
        match member.kind:
            case Kind.DIRECTORY:
                self._directory(parent, name, member.mode)
            case Kind.LINK:
                _check_link(member)
                os.symlink(member.target, name, dir_fd=parent)
                self.done.links += 1
            case Kind.HARD_LINK:
                self._hard_link(member_path(member.target), parent, name)
            case Kind.FILE:
                self._file(parent, member)
        self._control.count(Counter.COPIED, 1)

    def _enter(self, parts: tuple[str, ...]) -> int:
        """Return the directory of an entry; make it if the archive has no entry for it."""
        if parts != self._here:
            below = _descended(self._top, parts, self._made)
            os.close(self._parent)
            self._parent, self._here = below, parts
        return self._parent

    def _made(self, parent: int, name: str) -> None:
        os.mkdir(name, _DIRECTORY_MODE, dir_fd=parent)
        self.done.directories += 1

    def _directory(self, parent: int, name: str, mode: int) -> None:
        made = _step(parent, name, self._made)
        try:
            os.fchmod(made, mode & 0o777 | 0o700 if mode & 0o777 else _DIRECTORY_MODE)
        finally:
            os.close(made)

    def _hard_link(self, source: VFolderPath, parent: int, name: str) -> None:
        beside = _descended(self._top, source.parent.parts, None)
        try:
            os.link(source.name, name, src_dir_fd=beside, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(beside)
        self.done.hard_links += 1

    def _file(self, parent: int, member: Member) -> None:
        descriptor = os.open(member.path.name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            self._copy(member, descriptor)
            mode = member.mode & 0o777
            os.fchmod(descriptor, mode | 0o600 if mode else _FILE_MODE)
            if member.modified is not None and math.isfinite(member.modified):
                seconds = min(max(member.modified, -MTIME_MAX_SECONDS), MTIME_MAX_SECONDS)
                nanoseconds = int(seconds * 1e9)
                os.utime(descriptor, ns=(nanoseconds, nanoseconds))
        finally:
            os.close(descriptor)
        self.done.files += 1

    def _copy(self, member: Member, descriptor: int) -> None:
        left = member.size
        while left > 0:
            with reading():
                piece = member.read(min(PIECE_BYTES, left))
            if not piece:
                raise ArchiveRefused("it is cut off")
            left -= len(piece)
            self.done.copied_bytes += len(piece)
            self._check(self._taken, self.done.copied_bytes)
            atomic.write_all(descriptor, piece)
            self._control.count(Counter.COPIED, 0, len(piece))
            self._throttle.pace(0, len(piece), self._stop)
            self._control.check()
        with reading():  # a zip compares its checksum at the end of an entry
            member.read(1)


_Maker = Callable[[int, str], None]


def _descended(top: int, parts: tuple[str, ...], make: _Maker | None) -> int:
    """Open a directory below the top, each step beneath its parent; the caller closes it."""
    current = os.dup(top)
    for part in parts:
        try:
            below = _step(current, part, make)
        finally:
            os.close(current)
        current = below
    return current


def _step(parent: int, name: str, make: _Maker | None) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        if make is None:
            raise
    make(parent, name)
    return os.open(name, _DIRECTORY, dir_fd=parent)


@contextmanager
def _named(member: Member) -> Iterator[None]:
    """Name the entry in errors of the archive; errors of the volume are raised unchanged."""
    shown = str(member.path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    try:
        yield
    except ArchiveRefused as error:
        raise ArchiveRefused(f"{shown}: {error.detail}", paths=[shown]) from error
    except FileExistsError as error:
        raise ArchiveRefused(f"{shown} is in the archive twice.", paths=[shown]) from error
    except (NotADirectoryError, FileNotFoundError, IsADirectoryError, PermissionError) as error:
        detail = f"{shown} lies behind a link or a file, or is a hard link to no file."
        raise ArchiveRefused(detail, paths=[shown]) from error
    except OSError as error:
        if error.errno in _BEHIND_A_LINK:
            raise ArchiveRefused(f"{shown} lies behind a link.", paths=[shown]) from error
        raise


def _check_link(member: Member) -> None:
    """Refuse a link that may lead outside of the tree of the archive.

    A target is relative, stays inside, and has `..` only at its beginning. Then it cannot lead
    outside through other links either, because each of them stays inside too.
    """
    parts = [part for part in member.target.split("/") if part not in ("", ".")]
    up = 0
    while up < len(parts) and parts[up] == "..":
        up += 1
    inside = up <= len(member.path.parent.parts) and ".." not in parts[up:]
    if member.target.startswith("/") or "\0" in member.target or not member.target or not inside:
        raise ArchiveRefused("it is a link that leads out of the archive.")
