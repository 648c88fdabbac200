"""Directory descriptors below a volume: make, open, rename, prune; each step beneath its parent.

Used for the part of the tree that is ours (scopes, prefixes, rooms). Links are never followed.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath

from backends.fs import linux

#: Directories we make between the volume and a vfolder (umask applies).
PREFIX_MODE = 0o755
#: Our own rooms are nobody's business but ours.
HIDDEN_MODE = 0o700
#: What file systems say that rename, but not with conditions.
_NO_FLAGS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
#: A prefix directory may be pruned by a delete just when a create walks through it.
RACE_TRIES = 32

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: openat2(2): beneath the directory, and through no link at all.
_PLAINLY_BENEATH = linux.RESOLVE_BENEATH | linux.RESOLVE_NO_SYMLINKS
_OPEN_ANY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_directory(path: str | PurePosixPath, dir_fd: int | None = None) -> int:
    """Open a directory, one component at a time below `dir_fd`; the caller closes it.

    Raises:
        OSError: ENOENT, ENOTDIR (also for a link in the way), EACCES …
    """
    if dir_fd is None:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if linux.kernel_resolves():
        return _open_at_once(str(path), dir_fd)
    return _descend(dir_fd, PurePosixPath(path).parts, None)


def _open_at_once(path: str, dir_fd: int) -> int:
    """One system call in place of two per component, each of which lets other threads in."""
    try:
        return linux.openat2(dir_fd, path or ".", _OPEN_DIRECTORY, 0, _PLAINLY_BENEATH)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
        raise


@contextmanager
def opened(path: str | PurePosixPath, dir_fd: int | None = None) -> Iterator[int]:
    """As `open_directory`, and close it at the end."""
    descriptor = open_directory(path, dir_fd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def made(path: PurePosixPath, dir_fd: int, mode: int = PREFIX_MODE) -> Iterator[int]:
    """As `opened`, making the directories that are missing."""
    descriptor = _descend(dir_fd, path.parts, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _descend(dir_fd: int, parts: tuple[str, ...], mode: int | None) -> int:
    for _ in range(RACE_TRIES):
        try:
            return _descend_once(dir_fd, parts, mode)
        except FileNotFoundError:
            if mode is None:
                raise
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _descend_once(dir_fd: int, parts: tuple[str, ...], mode: int | None) -> int:
    descriptor = os.dup(dir_fd)
    for part in parts:
        try:
            if mode is not None:
                _make(part, descriptor, mode)
            below = os.open(part, _OPEN_DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def _make(name: str, dir_fd: int, mode: int) -> None:
    try:
        os.mkdir(name, mode, dir_fd=dir_fd)
    except FileExistsError:
        return
    give_on(name, dir_fd)


def give_on(name: str, dir_fd: int) -> None:
    """What root made belongs to whom the directory above belongs to, as if he had made it himself.

    So that a worker with all rights and a door with none can share a volume.
    """
    if os.geteuid() != 0:
        return
    above = os.fstat(dir_fd)
    if not (above.st_uid or above.st_gid):
        return
    fresh = os.open(name, _OPEN_ANY, dir_fd=dir_fd)
    try:
        found = os.fstat(fresh)
        if stat.S_ISDIR(found.st_mode) or found.st_nlink == 1:  # no other's file under our name
            os.fchown(fresh, above.st_uid, above.st_gid)
    finally:
        os.close(fresh)


def exists(path: PurePosixPath, dir_fd: int) -> bool:
    """Whether something (also a dangling link) has that name below a directory."""
    try:
        with opened(path.parent, dir_fd) as parent:
            os.stat(path.name, dir_fd=parent, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def names(path: str | PurePosixPath, dir_fd: int) -> list[str]:
    """What a directory holds, sorted; nothing when it is not there."""
    try:
        with opened(path, dir_fd) as directory:
            return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def rename_new(source: str, source_fd: int, target: str, target_fd: int) -> None:
    """As `rename_noreplace`, then sync both directories (which must be open for reading).

    Raises:
        OSError: as `rename_noreplace`.
    """
    rename_noreplace(source, source_fd, target, target_fd)
    os.fsync(source_fd)
    os.fsync(target_fd)


def rename_noreplace(source: str, source_fd: int, target: str, target_fd: int) -> None:
    """Rename, never over something (renameat2(2), RENAME_NOREPLACE).

    NFS and FUSE know no such rename; there a link stands in for a file, and for a directory a look
    before: only an empty directory made in that very moment would be replaced.

    Raises:
        OSError: EEXIST when the target is there, ENOENT when the source is not.
    """
    try:
        linux.rename_noreplace(source, source_fd, target, target_fd)
    except OSError as error:
        if error.errno not in _NO_FLAGS:
            raise
        _rename_plainly(source, source_fd, target, target_fd)


def _rename_plainly(source: str, source_fd: int, target: str, target_fd: int) -> None:
    kind = os.stat(source, dir_fd=source_fd, follow_symlinks=False).st_mode
    names = {"src_dir_fd": source_fd, "dst_dir_fd": target_fd}
    if not stat.S_ISDIR(kind):
        os.link(source, target, **names, follow_symlinks=False)
        os.unlink(source, dir_fd=source_fd)
        return
    if exists(PurePosixPath(target), target_fd):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    try:
        os.rename(source, target, **names)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        raise


def begin_writeback(descriptor: int, start: int, size: int) -> None:
    """Let the kernel begin to write a range to disk, and wait for nothing (sync_file_range(2)).

    Only speed: what cannot be begun here is written at the fsync.
    """
    with suppress(OSError):
        linux.begin_writeback(descriptor, start, size)


def prune(path: PurePosixPath, dir_fd: int, levels: int) -> None:
    """Remove up to `levels` directories from the end of a path, as long as they are empty."""
    for _ in range(levels):
        try:
            with opened(path.parent, dir_fd) as parent:
                os.rmdir(path.name, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EBUSY):
                return
            raise
        path = path.parent
