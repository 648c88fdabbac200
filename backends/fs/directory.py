"""Names of a directory and stats of many names: in C where that was built, else in Python."""

import os

from backends.fs import native
from backends.fs.native import NameStatus


def names(descriptor: int, *, in_c: bool = native.AVAILABLE) -> list[str]:
    """Return all names of a directory that was not read yet, in the order of the directory.

    Raises:
        OSError: the file system failed.
    """
    return native.names(descriptor) if in_c else os.listdir(descriptor)


def stats(
    descriptor: int, names: list[str], *, in_c: bool = native.AVAILABLE
) -> list[NameStatus | None]:
    """Return what lstat(2) gives for names in a directory; None for those that are gone.

    Raises:
        OSError: the file system failed for one, other than with ENOENT.
    """
    if in_c:
        return native.stats(descriptor, [os.fsencode(name) for name in names])
    return [_status(descriptor, name) for name in names]


def _status(descriptor: int, name: str) -> NameStatus | None:
    try:
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_mode, status.st_size, status.st_ctime, status.st_mtime
