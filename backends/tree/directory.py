"""Tell the types of entries, and which failures spare no other entry."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from core.errors import BackendFailed, NoSpace, QuotaExceeded, StorageError

#: Failures of the target that no other entry will be spared.
_FATAL: dict[int, tuple[type[StorageError], str]] = {
    errno.ENOSPC: (NoSpace, "The volume is full."),
    errno.EDQUOT: (QuotaExceeded, "The quota scope is full."),
    errno.EROFS: (BackendFailed, "The target is read-only."),
}


def kinds(source: int, names: list[str]) -> Iterator[tuple[str, int]]:
    """Give the file types of those of `names` that are still in an open directory."""
    for name in names:
        with suppress(FileNotFoundError):
            yield name, kind_of(source, name)


def kind_of(directory: int, name: str) -> int:
    """Tell the file type of an entry."""
    return stat.S_IFMT(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)


def fatal(error: OSError) -> Exception:
    """Give the problem that ends the job, or the error itself when others may be spared."""
    kind, words = _FATAL.get(error.errno or 0, (None, ""))
    return kind(words) if kind else error


def is_fatal(error: OSError) -> bool:
    """Tell whether no other entry will be spared this failure of the target."""
    return error.errno in _FATAL


def exists(name: str, directory: int) -> bool:
    """Tell whether an open directory has an entry of that name."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
