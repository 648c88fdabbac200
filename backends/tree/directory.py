"""List a directory's entries with their types, and say which failures spare no other entry."""

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


def kinds(source: int, names: list[str] | None) -> Iterator[tuple[str, int]]:
    """Give the names in an open directory, or those of `names` that are there, with file types."""
    if names is not None:
        for name in names:
            try:
                yield name, stat.S_IFMT(os.stat(name, dir_fd=source, follow_symlinks=False).st_mode)
            except FileNotFoundError:
                continue
        return
    with os.scandir(source) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                yield entry.name, _kind(entry)


def _kind(entry: "os.DirEntry[str]") -> int:
    """Tell the file type, from the directory itself where it is known there."""
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    if entry.is_symlink():
        return stat.S_IFLNK
    return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)


def fatal(error: OSError) -> Exception:
    """Give the problem that ends the job, or the error itself when others may be spared."""
    kind, words = _FATAL.get(error.errno or 0, (None, ""))
    return kind(words) if kind else error


def is_fatal(error: OSError) -> bool:
    """Tell whether no other entry will be spared this failure of the target."""
    return error.errno in _FATAL
