"""Directory descriptors below a volume: make, open, rename, prune; each step beneath its parent.

These functions serve the part of the tree that vfolder makes itself: directories of scopes, prefix
directories, hidden directories. They never follow a link.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath

from backends.fs import linux, native

#: Mode of directories between the volume and a vfolder; doors and workers set their umask.
PREFIX_MODE = 0o755
#: Mode of hidden directories: only vfolder reads them.
HIDDEN_MODE = 0o700
#: Errors of file systems that can rename, but not on condition that the target does not exist.
_NO_CONDITION = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
#: Tries to make a path: a delete may prune a prefix directory while a create walks through it.
RACE_TRIES = 32

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: openat2(2): beneath the directory, and through no link.
_BENEATH = linux.RESOLVE_BENEATH | linux.RESOLVE_NO_SYMLINKS
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
    return _descend(dir_fd, PurePosixPath(path).parts, None, [])


def open_marked(top: str, mark: str, path: str) -> tuple[int, int, int, int] | None:
    """Open a directory below a top, and say what file marks the top, in one call of the part in C.

    Return the descriptor, and device, inode and time of change (nanoseconds) of the file `mark` in
    the top; of the top itself, with 0 as the last, where there is no such file. Return None where
    that cannot be done at once; the caller does it step by step and learns why.
    """
    if not (native.AVAILABLE and linux.kernel_resolves()):
        return None
    try:
        return native.open_marked(top, mark, path, _OPEN_DIRECTORY, _BENEATH)
    except OSError:
        return None


def _open_at_once(path: str, dir_fd: int) -> int:
    """Open in one system call, in place of two for each component.

    Each call releases the interpreter's lock, so fewer calls mean less waiting for other threads.
    """
    try:
        return linux.openat2(dir_fd, path or ".", _OPEN_DIRECTORY, 0, _BENEATH)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
        if error.errno == errno.ENAMETOOLONG:  # longer than the kernel takes at once
            return _descend(dir_fd, PurePosixPath(path).parts, None, [])
        raise


@contextmanager
def opened(path: str | PurePosixPath, dir_fd: int | None = None) -> Iterator[int]:
    """Open a directory as `open_directory` does, and close it at the end of the block."""
    descriptor = open_directory(path, dir_fd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def made(
    path: PurePosixPath, dir_fd: int, mode: int = PREFIX_MODE, *, sync_last: bool = False
) -> Iterator[int]:
    """Open a directory as `opened` does; make the directories of the path that are missing.

    Their names are on disk before the block begins, so what is renamed into them stays there after
    a power failure. All are made first: then a journal is written once, not once for each. With
    `sync_last` their names come to disk after the block, which has synced its own change by then.
    """
    changed: list[int] = []
    try:
        descriptor = _descend(dir_fd, path.parts, mode, changed)
        try:
            if not sync_last:
                _sync(changed)
            yield descriptor
            if sync_last:
                _sync(changed)
        finally:
            os.close(descriptor)
    finally:
        for parent in changed:
            os.close(parent)


def _sync(directories: list[int]) -> None:
    for directory in reversed(directories):
        os.fsync(directory)


def _descend(dir_fd: int, parts: tuple[str, ...], mode: int | None, changed: list[int]) -> int:
    for _ in range(RACE_TRIES):
        try:
            return _descend_once(dir_fd, parts, mode, changed)
        except FileNotFoundError:
            if mode is None:
                raise
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _descend_once(dir_fd: int, parts: tuple[str, ...], mode: int | None, changed: list[int]) -> int:
    """Open a path; add a descriptor of each directory that got a new name to `changed`."""
    descriptor = os.dup(dir_fd)
    for part in parts:
        try:
            is_new = mode is not None and _make(part, descriptor, mode)
            below = os.open(part, _OPEN_DIRECTORY, dir_fd=descriptor)
            if is_new:
                changed.append(os.dup(descriptor))
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def _make(name: str, dir_fd: int, mode: int) -> bool:
    """Make a directory unless it exists; return whether it was made."""
    try:
        os.mkdir(name, mode, dir_fd=dir_fd)
    except FileExistsError:
        return False
    inherit_owner(name, dir_fd)
    return True


def inherit_owner(name: str, dir_fd: int) -> None:
    """Give an entry that root made to the owner and group of the directory it is in.

    So a worker that runs as root and a door that does not can share a volume. Does nothing when
    this process is not root, or when root owns the directory.
    """
    if os.geteuid() != 0:
        return
    parent = os.fstat(dir_fd)
    if not (parent.st_uid or parent.st_gid):
        return
    fd = os.open(name, _OPEN_ANY, dir_fd=dir_fd)
    try:
        status = os.fstat(fd)
        # A file of several names may be a user's file that was linked here.
        if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
            os.fchown(fd, parent.st_uid, parent.st_gid)
    finally:
        os.close(fd)


def exists(path: PurePosixPath, dir_fd: int) -> bool:
    """Return whether an entry has this path below a directory; a dangling link counts."""
    try:
        with opened(path.parent, dir_fd) as parent:
            os.stat(path.name, dir_fd=parent, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def names(path: str | PurePosixPath, dir_fd: int) -> list[str]:
    """Return the names in a directory, sorted; none when the directory does not exist."""
    try:
        with opened(path, dir_fd) as directory:
            return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def rename_new(source: str, source_fd: int, target: str, target_fd: int) -> None:
    """Rename as `rename_noreplace` does, then sync the target's directory, which is not O_PATH.

    A rename is one change: the old name is gone once the new one is on disk.

    Raises:
        OSError: as `rename_noreplace`.
    """
    rename_noreplace(source, source_fd, target, target_fd)
    os.fsync(target_fd)


def rename_noreplace(source: str, source_fd: int, target: str, target_fd: int) -> None:
    """Rename an entry without replacing another (renameat2(2), RENAME_NOREPLACE).

    NFS and FUSE have no such rename. There a file gets its new name by link(2), which never
    replaces. For a directory the target is looked up before: the rename could only replace an empty
    directory that is made between the two calls.

    Raises:
        OSError: EEXIST when the target exists, ENOENT when the source does not.
    """
    try:
        linux.rename_noreplace(source, source_fd, target, target_fd)
    except OSError as error:
        if error.errno not in _NO_CONDITION:
            raise
        _rename_without_condition(source, source_fd, target, target_fd)


def exchange(one: str, one_fd: int, other: str, other_fd: int) -> bool:
    """Exchange two entries by one change; return False where the file system cannot.

    Raises:
        OSError: ENOENT when one of them does not exist.
    """
    try:
        linux.rename_exchange(one, one_fd, other, other_fd)
    except OSError as error:
        if error.errno not in _NO_CONDITION:
            raise
        return False
    return True


def _rename_without_condition(source: str, source_fd: int, target: str, target_fd: int) -> None:
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
    """Start to write a range of a file to disk, without waiting (sync_file_range(2)).

    This only saves time: the fsync writes what could not be started here, and raises its errors.
    """
    with suppress(OSError):
        linux.begin_writeback(descriptor, start, size)


def prune(path: PurePosixPath, dir_fd: int, levels: int) -> None:
    """Remove up to `levels` directories from the end of a path, while they are empty."""
    for _ in range(levels):
        try:
            with opened(path.parent, dir_fd) as parent:
                os.rmdir(path.name, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EBUSY):
                return
            raise
        path = path.parent
