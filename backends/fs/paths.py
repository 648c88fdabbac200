"""Resolve a user's path beneath a directory descriptor, so that no link and no race leads outside.

A door or an engine opens a vfolder's root once (`open_root`, a path that comes from our own
configuration) and from then on reaches everything through these functions. Links inside the vfolder
are followed as long as they stay inside; absolute links, links upwards and /proc's magic links
are refused. The kernel does it in one call (openat2(2), Linux 5.6); where it cannot, the same rules
are kept by `_walk`, component by component, without ever following a link in the kernel.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backends.fs import linux
from backends.fs.errors import translate
from core.errors import InvalidParameters
from core.names import VFolderPath

#: How many links one path may cross (Linux's own limit).
LINKS_MAX = 40

#: openat2(2): stay below the directory, and pass no link of /proc.
_BELOW = linux.RESOLVE_BENEATH | linux.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NOT_FOLLOWING = os.O_NOFOLLOW | os.O_EXCL
_CREATES = os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY


def open_root(path: Path) -> int:
    """Open a directory named by our own configuration; the caller closes the descriptor.

    The descriptor is O_PATH: it costs no right to read, and serves as anchor for everything here.

    Raises:
        OSError: it does not exist or is no directory.
    """
    return os.open(path, _DIRECTORY)


def open_beneath(root_fd: int, path: VFolderPath, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Open `path` below the directory `root_fd`; O_CLOEXEC is added, the caller closes it.

    With O_NOFOLLOW a link as the last part is refused (or, with O_PATH, opened itself); links
    before it are followed inside the root. Opening for reading may block on a fifo: content is
    opened by `open_file`.

    Raises:
        PathEscape: the path leads outside, over too many links, or ends in a link not followed.
        StorageError: what `translate` makes of any other failure.
    """
    flags |= os.O_CLOEXEC
    mode = mode & 0o7777 if flags & _CREATES else 0
    try:
        if linux.kernel_resolves():
            return _openat2(root_fd, _text(path), flags, mode)
        return _walk(root_fd, _text(path), flags, mode)
    except OSError as error:
        raise translate(error, str(path)) from error


def open_file(root_fd: int, path: VFolderPath) -> int:
    """Open a regular file below `root_fd` for reading; never blocks on a fifo or a device.

    Raises:
        InvalidParameters: it is no regular file.
        StorageError: as `open_beneath`.
    """
    fd = open_beneath(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise InvalidParameters(f"{path} is not a regular file.")


def open_directory(root_fd: int, path: VFolderPath) -> int:
    """Open a directory below `root_fd` as an O_PATH anchor for the other functions.

    Raises:
        InvalidParameters: it is no directory.
        StorageError: as `open_beneath`.
    """
    return open_beneath(root_fd, path, _DIRECTORY)


def stat_beneath(root_fd: int, path: VFolderPath, *, follow: bool = True) -> os.stat_result:
    """Tell the attributes of an entry; without `follow`, of a link itself.

    Raises:
        StorageError: as `open_beneath`.
    """
    fd = open_beneath(root_fd, path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


@contextmanager
def parent_beneath(root_fd: int, path: VFolderPath) -> Iterator[tuple[int, str]]:
    """Give the directory that holds `path`, and the name in it, for effects on the entry itself.

    For unlink, rename, mkdir, symlink: those never follow a link as last part. A failure inside
    the block becomes what `translate` makes of it.

    Raises:
        InvalidParameters: the root itself has no parent to act in.
        StorageError: as `open_beneath`.
    """
    if path.is_root:
        raise InvalidParameters("The vfolder itself is no entry of it.")
    fd = open_directory(root_fd, path.parent)
    try:
        yield fd, path.name
    except OSError as error:
        raise translate(error, str(path)) from error
    finally:
        os.close(fd)


def make_directories(root_fd: int, path: VFolderPath, mode: int = 0o755) -> int:
    """Make `path` and what is missing above it, and open it as `open_directory` does.

    A directory that is already there, made by whomever, is taken as it is.

    Raises:
        StorageError: as `open_beneath`; `InvalidParameters` when a part is no directory.
    """
    for depth in range(1, len(path.parts) + 1):
        with parent_beneath(root_fd, VFolderPath(path.parts[:depth])) as (parent, name):
            try:
                os.mkdir(name, mode, dir_fd=parent)
            except FileExistsError:
                continue
    return open_directory(root_fd, path)


def _text(path: VFolderPath) -> str:
    return "/".join(path.parts) or "."


def _openat2(root_fd: int, path: str, flags: int, mode: int) -> int:
    return linux.openat2(root_fd, path, flags, mode, _BELOW)


def _walk(root_fd: int, path: str, flags: int, mode: int) -> int:
    """Do what openat2 does, one component at a time.

    The directories passed stay open, so `..` in a link is the directory we came from, whatever
    is renamed meanwhile, and never one above the root.
    """
    chain = [os.open(".", _DIRECTORY, dir_fd=root_fd)]
    todo = path.split("/")[::-1]
    links = 0
    try:
        while True:
            part = todo.pop()
            target = _step(chain, part, last=not todo, flags=flags)
            if target is not None:
                links += 1
                if links > LINKS_MAX:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                todo.extend(target.split("/")[::-1])
            elif not todo:
                return _final(chain[-1], part, flags, mode)
    finally:
        for fd in chain:
            os.close(fd)


def _step(chain: list[int], part: str, *, last: bool, flags: int) -> str | None:
    """Go one component; the text of a link to follow, or None when there was none."""
    if part in ("", "."):
        return None
    if part == "..":
        if len(chain) == 1:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        os.close(chain.pop())
        return None
    target = None if last and flags & _NOT_FOLLOWING else _link(chain[-1], part)
    if target is not None and target.startswith("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    if target is None and not last:
        chain.append(os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=chain[-1]))
    return target


def _link(fd: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=fd)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise


def _final(fd: int, part: str, flags: int, mode: int) -> int:
    """Open the last component, known not to be a link a moment ago; a new link is refused."""
    name = "." if part in ("", "..") else part
    return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=fd)
