"""Resolve a user's path beneath a directory descriptor: no link and no race leads outside.

A door or a job opens the root of a vfolder once (`open_root`, with a path of the configuration).
From then on it reaches every entry through these functions. They follow links that stay inside the
vfolder. They refuse absolute links, links that lead above the root, and magic links of /proc.

The kernel resolves a path in one call (openat2(2), Linux 5.6). Where it cannot, `_walk` keeps the
same rules: it opens one component at a time, and the kernel never follows a link for it.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from backends.fs import linux, native
from backends.fs.errors import translate
from core.errors import InvalidParameters
from core.names import VFolderPath

#: Links that one path may cross; Linux has the same limit.
LINKS_MAX = 40

#: openat2(2): stay below the directory, and pass no link of /proc.
_BELOW = linux.RESOLVE_BENEATH | linux.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
#: A path of so many characters fits into PATH_MAX (4096 bytes), whatever bytes they take.
_SURELY_SHORT = 1000
#: Opens content for reading; a fifo or a device does not block.
_CONTENT = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_NO_FOLLOW = os.O_NOFOLLOW | os.O_EXCL
_CREATES = os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY


def open_root(path: Path) -> int:
    """Open a directory that the configuration names; the caller closes the descriptor.

    The descriptor is O_PATH: opening it needs no right to read the directory. All functions here
    take it as their root.

    Raises:
        OSError: the directory does not exist, or is no directory.
    """
    return os.open(path, _DIRECTORY)


def open_beneath(root_fd: int, path: VFolderPath, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Open `path` below the directory `root_fd`, with O_CLOEXEC; the caller closes it.

    A path may be longer than the kernel takes at once. It is opened in pieces then, and a link in
    one of them may not lead above the directory where that piece begins.

    With O_NOFOLLOW a link as the last part is refused; with O_PATH too, the link itself is opened.
    Links before it are followed inside the root. Opening for reading may block on a fifo, so use
    `open_file` for content.

    Raises:
        PathEscape: the path leads outside, over too many links, or ends in a link not followed.
        StorageError: what `translate` makes of any other failure.
    """
    flags |= os.O_CLOEXEC
    mode = mode & 0o7777 if flags & _CREATES else 0
    try:
        if not _is_short(path):
            return _open_long(root_fd, path, flags, mode)
        if linux.kernel_resolves():
            return _openat2(root_fd, _text(path), flags, mode)
        return _walk(root_fd, _text(path), flags, mode)
    except OSError as error:
        raise translate(error, str(path)) from error


def open_file(root_fd: int, path: VFolderPath) -> int:
    """Open a regular file below `root_fd` for reading; never blocks on a fifo or a device.

    Raises:
        InvalidParameters: the entry is no regular file.
        StorageError: as `open_beneath`.
    """
    fd = open_beneath(root_fd, path, _CONTENT)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise InvalidParameters(f"{path} is not a regular file.")


class OpenedFile(NamedTuple):
    """A regular file that was opened; or one that was read whole and is closed again."""

    #: The caller closes it; -1 when `content` has all bytes.
    descriptor: int
    st_mode: int
    st_ino: int
    st_size: int
    st_mtime_ns: int
    content: bytes | None


def open_small_file(root_fd: int, path: VFolderPath, small_bytes: int) -> OpenedFile:
    """Open a regular file as `open_file` does; read it whole when it has up to `small_bytes`.

    An empty file, and one that becomes shorter meanwhile, is opened only. Costs one call without
    the interpreter's lock where the part in C was built.

    Raises:
        InvalidParameters, StorageError: as `open_file`; or the file cannot be read.
    """
    if not (native.AVAILABLE and linux.kernel_resolves() and _is_short(path)):
        return _open_small_file(root_fd, path, small_bytes)
    try:
        found = native.open_file(root_fd, _text(path), _CONTENT | os.O_CLOEXEC, _BELOW, small_bytes)
    except OSError as error:
        raise translate(error, str(path)) from error
    file = OpenedFile(*found)
    if not stat.S_ISREG(file.st_mode):
        os.close(file.descriptor)
        raise InvalidParameters(f"{path} is not a regular file.")
    return file


def _open_small_file(root_fd: int, path: VFolderPath, small_bytes: int) -> OpenedFile:
    """Do the same with a system call after the other."""
    fd = open_file(root_fd, path)
    try:
        of = os.fstat(fd)
        content = os.pread(fd, of.st_size, 0) if of.st_size <= small_bytes else b""
    except OSError as error:
        os.close(fd)
        raise translate(error, str(path)) from error
    facts = (of.st_mode, of.st_ino, of.st_size, of.st_mtime_ns)
    if len(content) < of.st_size or not content:
        return OpenedFile(fd, *facts, None)
    os.close(fd)
    return OpenedFile(-1, *facts, content)


def open_directory(root_fd: int, path: VFolderPath) -> int:
    """Open a directory below `root_fd` with O_PATH, as a root for the other functions.

    Raises:
        StorageError: as `open_beneath`; `EntryRefused` when the entry is no directory.
    """
    return open_beneath(root_fd, path, _DIRECTORY)


def stat_beneath(root_fd: int, path: VFolderPath, *, follow: bool = True) -> os.stat_result:
    """Return the attributes of an entry; without `follow`, those of a link itself.

    Raises:
        StorageError: as `open_beneath`.
    """
    fd = open_beneath(root_fd, path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def file_tag(status: os.stat_result | OpenedFile) -> str:
    """Return the entity tag of a file's content: equal on every node that mounts the volume."""
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"


@contextmanager
def parent_beneath(root_fd: int, path: VFolderPath) -> Iterator[tuple[int, str]]:
    """Open the directory that holds `path`, and give its descriptor and the name in it.

    Callers use it for unlink, rename, mkdir and symlink, which never follow a link as the last
    part. An OSError inside the block is raised as `translate` maps it.

    Raises:
        InvalidParameters: the path is the root, which has no parent here.
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


def make_directories(
    root_fd: int,
    path: VFolderPath,
    mode: int = 0o755,
    *,
    synced: bool = False,
    on_made: Callable[[str, int], object] | None = None,
) -> int:
    """Make the directory `path` and its missing parents, and open it as `open_directory` does.

    A directory that exists stays unchanged, whichever process made it. With `synced` the names of
    new directories are on disk before this returns. `on_made` gets the name of each new directory,
    and the descriptor of the one that it is in.

    Raises:
        StorageError: as `open_beneath`; `EntryRefused` when a part is no directory.
    """
    for depth in range(1, len(path.parts) + 1):
        with parent_beneath(root_fd, VFolderPath(path.parts[:depth])) as (parent, name):
            try:
                os.mkdir(name, mode, dir_fd=parent)
            except FileExistsError:
                continue
            if on_made is not None:
                on_made(name, parent)
            if synced:
                sync_directory(root_fd, path=VFolderPath(path.parts[: depth - 1]))
    return open_directory(root_fd, path)


def sync_directory(root_fd: int, path: VFolderPath) -> None:
    """Bring the names in a directory to disk.

    Raises:
        StorageError: as `open_beneath`, or the disk fails.
    """
    fd = open_beneath(root_fd, path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        raise translate(error, str(path)) from error
    finally:
        os.close(fd)


def _is_short(path: VFolderPath) -> bool:
    """Return whether the kernel surely takes the path at once."""
    return sum(map(len, path.parts)) + len(path.parts) <= _SURELY_SHORT


def _text(path: VFolderPath) -> str:
    return "/".join(path.parts) or "."


def _open_long(root_fd: int, path: VFolderPath, flags: int, mode: int) -> int:
    """Open a path in pieces that the kernel takes."""
    current = os.open(".", _DIRECTORY, dir_fd=root_fd)
    try:
        *before, last = _pieces(path.parts)
        for piece in before:
            below = open_beneath(current, piece, _DIRECTORY)
            os.close(current)
            current = below
        return open_beneath(current, last, flags, mode)
    finally:
        os.close(current)


def _pieces(parts: tuple[str, ...]) -> Iterator[VFolderPath]:
    """Cut a path; a character of it takes at most four bytes."""
    begin = size = 0
    for end, part in enumerate(parts):
        size += len(part) + 1
        if size > _SURELY_SHORT and end > begin:
            yield VFolderPath(parts[begin:end])
            begin, size = end, len(part) + 1
    yield VFolderPath(parts[begin:])


def _openat2(root_fd: int, path: str, flags: int, mode: int) -> int:
    return linux.openat2(root_fd, path, flags, mode, _BELOW)


def _walk(root_fd: int, path: str, flags: int, mode: int) -> int:
    """Open as openat2(2) does, one component at a time.

    The directories on the way stay open. So `..` in a link is the directory that the walk came
    from, also after renames, and never one above the root.
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
    """Pass one component; return the target of a link to follow, or None where there is none."""
    if part in ("", "."):
        return None
    if part == "..":
        if len(chain) == 1:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        os.close(chain.pop())
        return None
    target = None if last and flags & _NO_FOLLOW else _link(chain[-1], part)
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
    """Open the last component, which was no link a moment ago; a new link is refused."""
    name = "." if part in ("", "..") else part
    return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=fd)
