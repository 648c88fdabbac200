"""Open directories beneath a root without ever following a link, at any depth.

Every engine names a directory by its path from the root and opens it here each time it needs it. So
a helper holds two or three descriptors, whatever the depth. When a link has replaced a directory
meanwhile, the kernel refuses it in the same call (openat2(2), RESOLVE_NO_SYMLINKS). Paths are `str`
with surrogate escapes (PEP 383); the root is the empty string.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from backends.fs import linux

#: Longest path passed to the kernel in one call, in bytes; PATH_MAX counts the final NUL.
PIECE_BYTES = 4000

READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: openat2(2): below the root, and through no link.
_BENEATH = linux.RESOLVE_BENEATH | linux.RESOLVE_NO_MAGICLINKS | linux.RESOLVE_NO_SYMLINKS
#: Errors for an entry that is gone, or whose name is that of another kind of entry now.
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
#: Errors for an entry that is gone, or below a directory that may not be passed.
_OUT_OF_REACH = GONE | {errno.ESTALE, errno.EACCES, errno.EPERM}
_PASS_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Anchor:
    """A root directory, and whether its tree may continue on other mounts.

    It uses the caller's descriptor without owning it. The descriptor may be O_PATH.
    """

    @classmethod
    def duplicate(cls, fd: int, *, cross_mounts: bool = False) -> "Anchor":
        """Return an anchor with a descriptor of its own, for a `HelperPool` to own (`own_fds`)."""
        return cls(os.dup(fd), cross_mounts=cross_mounts)

    def __init__(self, fd: int, *, cross_mounts: bool = False) -> None:
        self.fd = fd
        self.cross_mounts = cross_mounts
        self._resolve = _BENEATH
        if not cross_mounts:
            self._resolve |= linux.RESOLVE_NO_XDEV

    def open(self, path: str, flags: int = READ_DIRECTORY) -> int:
        """Open the directory at `path`; the caller closes it.

        Raises:
            OSError: ELOOP or ENOTDIR when a link or another entry has replaced a directory, EXDEV
                when a mount begins there, ENOENT when it vanished, and any error of open(2).
        """
        if len(path) * 2 < PIECE_BYTES or len(os.fsencode(path)) < PIECE_BYTES:
            return self._open_piece(self.fd, path or ".", flags)
        return self._open_deep(path, flags)

    def _open_piece(self, base: int, path: str, flags: int) -> int:
        if linux.kernel_resolves():
            return linux.openat2(base, path, flags | os.O_CLOEXEC, 0, self._resolve)
        return self._step_by_step(base, path, flags)

    def _open_deep(self, path: str, flags: int) -> int:
        """Open a path longer than PATH_MAX piece by piece."""
        base, owned = self.fd, False
        try:
            pieces = split_path(path)
            for piece in pieces[:-1]:
                fd = self._open_piece(base, piece, _PASS_DIRECTORY)
                if owned:
                    os.close(base)
                base, owned = fd, True
            return self._open_piece(base, pieces[-1], flags)
        finally:
            if owned:
                os.close(base)

    def _step_by_step(self, base: int, path: str, flags: int) -> int:
        """Open without openat2: one component at a time; refuse each that is a link."""
        parts = path.split("/")
        fd = os.open(".", _PASS_DIRECTORY, dir_fd=base)
        mount = None if self.cross_mounts else mount_id(fd)
        for number, part in enumerate(parts, 1):
            last = flags if number == len(parts) else _PASS_DIRECTORY
            try:
                below = os.open(part, last | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
            if mount is not None and mount_id(fd) != mount:
                os.close(fd)
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return fd


@contextmanager
def opened_file(anchor: Anchor, path: str) -> Iterator[int]:
    """Open a file of a tree for reading within the block.

    Raises:
        OSError: as `Anchor.open` and open(2).
    """
    parent, name = split_name(path)
    directory = anchor.open(parent)
    try:
        fd = os.open(name, READ_FILE, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        yield fd
    finally:
        os.close(fd)


def changed_since(anchor: Anchor, path: str, since_ns: int) -> bool:
    """Return whether an entry changed at or after a moment, by the kernel's own time (st_ctime).

    `since_ns` is a moment of the file system's clock, in nanoseconds. For an entry that is gone or
    out of reach, the nearest directory above it decides: its removal changed that one.
    """
    while True:
        try:
            return _change_time(anchor, path) >= since_ns
        except OSError as error:
            if error.errno not in _OUT_OF_REACH or not path:
                return False
        path = split_name(path)[0]


def _change_time(anchor: Anchor, path: str) -> int:
    directory, name = split_name(path)
    fd = anchor.open(directory, _PASS_DIRECTORY)
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False) if name else os.fstat(fd)
    finally:
        os.close(fd)
    return status.st_ctime_ns


def split_path(path: str) -> list[str]:
    """Split a path at slashes into pieces that the kernel accepts."""
    pieces: list[str] = []
    free = 0
    for part in path.split("/"):
        size = len(os.fsencode(part)) + 1
        if not pieces or size > free:
            pieces.append(part)
            free = PIECE_BYTES - size
        else:
            pieces[-1] += "/" + part
            free -= size
    return pieces


def mount_id(fd: int) -> int:
    """Return the mount number of a descriptor (proc(5), fdinfo); 0 where /proc is missing."""
    with suppress(FileNotFoundError), open(f"/proc/self/fdinfo/{fd}", "rb") as info:
        for line in info:
            if line.startswith(b"mnt_id:"):
                return int(line[7:])
    return 0


def file_system(fd: int) -> str:
    """Return the type of a descriptor's file system ("xfs", "ext4", …), or "" if unknown."""
    number = str(mount_id(fd))
    with (
        suppress(OSError),
        open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as info,
    ):
        for line in info:
            mount, _, _ = line.partition(" ")
            if mount == number:
                return line.partition(" - ")[2].partition(" ")[0]
    return ""


def join(directory: str, name: str) -> str:
    """Return the path of an entry of a directory."""
    return f"{directory}/{name}" if directory else name


def split_name(path: str) -> tuple[str, str]:
    """Return the directory and the name of a path; the root has the empty name."""
    directory, _, name = path.rpartition("/")
    return directory, name


def sync_file_system(fd: int) -> None:
    """Write all changes to the file system of `fd` to disk (syncfs(2)).

    Raises:
        OSError: EIO, ENOSPC or EDQUOT when data written earlier could not be kept.
    """
    real = os.open(".", READ_DIRECTORY, dir_fd=fd)
    try:
        linux.sync_file_system(real)
    finally:
        os.close(real)


def stat_entry(name: str, directory: int) -> os.stat_result | None:
    """Return the attributes of an entry of an open directory, or None when it has none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
