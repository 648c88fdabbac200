"""Unpack an uploaded archive below a directory that no other process sees yet.

No entry is written through a link: directories are opened one by one, and links are not followed
(openat(2), O_NOFOLLOW). Entries keep their mode (without set-id bits) and time. The times of
directories are set last, since each new entry changes them. Entries belong to the user of this
process, or to another one that the caller names, not to the owner that the archive names.
"""

import errno
import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from struct import Struct
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
from backends.fs import USUAL_NS, atomic
from backends.tree import Throttle
from core.jobs import Control, Counter
from core.names import VFolderPath

#: Content is copied in pieces of this size.
PIECE_BYTES = 1 << 20
#: The first and the last time that utimensat(2) takes (nanoseconds): 64 bits of seconds.
_FIRST_NS, _LAST_NS = -(2**63) * 10**9, 2**63 * 10**9 - 1
#: A time that differs by no more than the units of a file system is kept (FAT: two seconds).
_UNIT_NS = 2 * 10**9
#: The times of directories wait in memory up to this many bytes, then in a temporary file.
_MEMORY_BYTES = 256 * 1024
#: Seconds, nanoseconds, and the bytes of the path that follows.
_WAITING = Struct(">qIH")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE, _DIRECTORY_MODE = 0o644, 0o755
TIME_NOT_KEPT = "The file system cannot have its time; it has the nearest one."
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
    #: Entries whose time the file system cannot have; they have the nearest one.
    times_not_kept: int = 0

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


@dataclass(frozen=True, slots=True)
class UnpackOptions:
    """What unpacked entries are like, and what is called meanwhile."""

    #: Gets entries and bytes so far, and raises if they are too many.
    check: Callable[[int, int], None]
    #: Gets the path of an entry that is not as in the archive, and the reason.
    note: Callable[[str, str], object] = lambda _path, _reason: None
    #: Owner and group of all entries; None leaves them to the kernel.
    owner: tuple[int, int] | None = None
    #: The directory has a default ACL, which decides over modes as for any new entry.
    under_acl: bool = False


class Unpacking:
    """The unpacking of one archive into one empty directory."""

    def __init__(
        self, top: int, options: UnpackOptions, control: Control, throttle: Throttle
    ) -> None:
        self._top = top
        self._options = options
        self._check = options.check
        self._waiting = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115 - closed by close()
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
        self._waiting.close()

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
        self._set_waiting_times()
        return self.done

    def _make(self, member: Member) -> None:
        parent = self._enter(member.path.parent.parts)
        name = member.path.name
        match member.kind:
            case Kind.DIRECTORY:
                self._directory(parent, member)
            case Kind.LINK:
                self._link(parent, member)
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
        """Make a directory that the archive has no entry for yet."""
        under_acl = self._options.under_acl
        self._make_directory(parent, name, 0o777 if under_acl else _DIRECTORY_MODE)

    def _make_directory(self, parent: int, name: str, mode: int) -> None:
        os.mkdir(name, mode, dir_fd=parent)
        if self._options.owner:
            os.chown(name, *self._options.owner, dir_fd=parent, follow_symlinks=False)
        self.done.directories += 1

    def _directory(self, parent: int, member: Member) -> None:
        permissions = member.mode & 0o777
        mode = permissions | 0o700 if permissions else _DIRECTORY_MODE
        made = _step(parent, member.path.name, partial(self._make_directory, mode=mode))
        try:
            if not self._options.under_acl:
                inherited = os.fstat(made).st_mode & stat.S_ISGID
                os.fchmod(made, mode | inherited)
        finally:
            os.close(made)
        if member.modified_ns is not None:
            path = os.fsencode(str(member.path))
            time = min(max(member.modified_ns, _FIRST_NS), _LAST_NS)
            seconds, rest = divmod(time, 10**9)
            self._waiting.write(_WAITING.pack(seconds, rest, len(path)) + path)

    def _set_waiting_times(self) -> None:
        """Set the times of directories; no entry is made in them any more."""
        self._waiting.seek(0)
        while head := self._waiting.read(_WAITING.size):
            seconds, rest, length = _WAITING.unpack(head)
            path = VFolderPath.parse(os.fsdecode(self._waiting.read(length)))
            self._control.check()
            parent = self._enter(path.parent.parts)
            self._set_time(parent, path, seconds * 10**9 + rest)

    def _link(self, parent: int, member: Member) -> None:
        _check_link(member)
        name = member.path.name
        os.symlink(member.target, name, dir_fd=parent)
        if self._options.owner:
            os.chown(name, *self._options.owner, dir_fd=parent, follow_symlinks=False)
        if member.modified_ns is not None:
            self._set_time(parent, member.path, member.modified_ns)
        self.done.links += 1

    def _set_time(self, parent: int, path: VFolderPath, modified_ns: int) -> None:
        """Set the time of an entry; note one that the file system cannot have."""
        sent = min(max(modified_ns, _FIRST_NS), _LAST_NS)
        os.utime(path.name, ns=(sent, sent), dir_fd=parent, follow_symlinks=False)
        if modified_ns in USUAL_NS:
            return
        kept = os.stat(path.name, dir_fd=parent, follow_symlinks=False)
        if abs(kept.st_mtime_ns - modified_ns) > _UNIT_NS:
            self.done.times_not_kept += 1
            self._options.note(str(path), TIME_NOT_KEPT)

    def _hard_link(self, source: VFolderPath, parent: int, name: str) -> None:
        beside = _descended(self._top, source.parent.parts, None)
        try:
            os.link(source.name, name, src_dir_fd=beside, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(beside)
        self.done.hard_links += 1

    def _file(self, parent: int, member: Member) -> None:
        permissions = member.mode & 0o777
        mode = permissions | 0o600 if permissions else _FILE_MODE
        if self._options.under_acl:  # it decides at the creation
            mode = mode if permissions else 0o666
        descriptor = os.open(member.path.name, _NEW_FILE, mode, dir_fd=parent)
        try:
            self._copy(member, descriptor)
            if self._options.owner:
                os.fchown(descriptor, *self._options.owner)
            if not self._options.under_acl:
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        if member.modified_ns is not None:
            self._set_time(parent, member.path, member.modified_ns)
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
