"""Names of a directory and stats of many names: in C where that was built, else in Python."""

import os

try:
    from backends.fs import _directory
except ImportError:  # no compiler was at hand when this was installed
    NATIVE = False
else:
    NATIVE = True

#: Mode, size in bytes, and the moments of change and modification in seconds.
Told = tuple[int, int, float, float]


def names(descriptor: int, *, native: bool = NATIVE) -> list[str]:
    """All names of a directory, in its own order; the descriptor stands at its beginning.

    Raises:
        OSError: what the file system answers.
    """
    return _directory.names(descriptor) if native else os.listdir(descriptor)


def stats(descriptor: int, wanted: list[str], *, native: bool = NATIVE) -> list[Told | None]:
    """What lstat(2) tells of names in a directory; None for those that are gone.

    Raises:
        OSError: what the file system answers, but for ENOENT.
    """
    if native:
        return _directory.stats(descriptor, [os.fsencode(name) for name in wanted])
    return [_told(descriptor, name) for name in wanted]


def _told(descriptor: int, name: str) -> Told | None:
    try:
        found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_mode, found.st_size, found.st_ctime, found.st_mtime
