"""Open directories beneath a root without ever following a link, at any depth.

Every engine names a directory by its path from the root and opens it here, each time anew: a
helper process holds two or three descriptors whatever the depth, and a directory that was swapped
for a link meanwhile is refused by the kernel in the same call (openat2(2), RESOLVE_NO_SYMLINKS).
Paths are `str` with surrogate escapes (PEP 383); the root is the empty string.
"""

import errno
import os
from contextlib import suppress

from backends.fs import linux

#: Longest path handed to the kernel in one piece, in bytes; PATH_MAX counts the final NUL.
PIECE_BYTES = 4000

READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: openat2(2): below the root, and through no link.
_BENEATH = linux.RESOLVE_BENEATH | linux.RESOLVE_NO_MAGICLINKS | linux.RESOLVE_NO_SYMLINKS
_PASS_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Anchor:
    """A root directory and the rule whether its tree may continue on other mounts.

    Holds the caller's descriptor without owning it; the descriptor may be O_PATH.
    """

    @classmethod
    def again(cls, fd: int, *, cross_mounts: bool = False) -> "Anchor":
        """Make one with a descriptor of its own, for a crew to own (`Crew`, `own_fds`)."""
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
            OSError: ELOOP or ENOTDIR when a link or another entry took a directory's place, EXDEV
                when a mount begins there, ENOENT when it vanished, and whatever open(2) answers.
        """
        if len(path) * 2 < PIECE_BYTES or len(os.fsencode(path)) < PIECE_BYTES:
            return self._open_piece(self.fd, path or ".", flags)
        return self._open_deep(path, flags)

    def _open_piece(self, base: int, path: str, flags: int) -> int:
        if linux.kernel_resolves():
            return linux.openat2(base, path, flags | os.O_CLOEXEC, 0, self._resolve)
        return self._step_by_step(base, path, flags)

    def _open_deep(self, path: str, flags: int) -> int:
        """Walk a path longer than PATH_MAX in pieces."""
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
        """Do without openat2: one component at a time, each refused when it is a link."""
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


def split_path(path: str) -> list[str]:
    """Cut a path into pieces that the kernel takes, at the slashes."""
    pieces: list[str] = []
    room = 0
    for part in path.split("/"):
        size = len(os.fsencode(part)) + 1
        if not pieces or size > room:
            pieces.append(part)
            room = PIECE_BYTES - size
        else:
            pieces[-1] += "/" + part
            room -= size
    return pieces


def mount_id(fd: int) -> int:
    """Tell which mount a descriptor lies on (proc(5), fdinfo); 0 where /proc is missing."""
    with suppress(FileNotFoundError), open(f"/proc/self/fdinfo/{fd}", "rb") as info:
        for line in info:
            if line.startswith(b"mnt_id:"):
                return int(line[7:])
    return 0


def file_system(fd: int) -> str:
    """Tell the type of the file system of a descriptor ("xfs", "ext4", …), or "" if unknown."""
    wanted = str(mount_id(fd))
    with (
        suppress(OSError),
        open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as info,
    ):
        for line in info:
            mount, _, _ = line.partition(" ")
            if mount == wanted:
                return line.partition(" - ")[2].partition(" ")[0]
    return ""


def join(directory: str, name: str) -> str:
    """Give the path of an entry of a directory."""
    return f"{directory}/{name}" if directory else name


def split_name(path: str) -> tuple[str, str]:
    """Give the directory and the name of a path; the root has the empty name."""
    directory, _, name = path.rpartition("/")
    return directory, name


def sync_file_system(fd: int) -> None:
    """Bring everything written to the file system of `fd` onto disk (syncfs(2)).

    Raises:
        OSError: EIO, ENOSPC or EDQUOT when something written earlier could not be kept.
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
