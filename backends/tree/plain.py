"""The inner loops in Python: the same as `backends/fs/c_source`, used where that was not built.

Each function returns an iterator over pieces of one directory, whose descriptor must be at its
beginning. `fast` selects C or Python; tests run with both.
"""

import errno
import os
import stat
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from itertools import islice

from backends.fs import held_bytes
from backends.fs.native import Copied, Scanned, Unlinked

#: Entries of a directory handled in one piece.
PIECE_ENTRIES = 1024

DAY_SECONDS = 86_400

_IFMT = 0o170000


def age_class(now: int, modified: int) -> int:
    """Return the bit length of the days since `modified`; a time in the future counts as today."""
    return max(0, (now - modified) // DAY_SECONDS).bit_length()


def scan(fd: int, *, names: bool, now: int = 0) -> Iterator[Scanned]:
    """Stat the entries of a directory and yield their sums; ages count from `now` (0: no ages)."""
    with os.scandir(fd) as entries:
        while piece := list(islice(entries, PIECE_ENTRIES)):
            yield _Scan(fd, now).piece(piece, names=names)


class _Scan:
    """The sums of one piece."""

    def __init__(self, fd: int, now: int) -> None:
        self._fd = fd
        self._now = now
        self._below: list[str] = []
        self._inodes: list[tuple[int, int, int, int, int, int]] = []
        self._sums = [0, 0, 0, 0, 0]
        self._histogram: Tally[int] = Tally()
        self._ages: dict[int, tuple[int, int]] = {}

    def piece(self, entries: "list[os.DirEntry[str]]", *, names: bool) -> Scanned:
        failed: list[tuple[str, int]] = []
        listed: list[str] = []
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    failed.append((entry.name, error.errno or errno.EIO))
                continue
            listed.append(entry.name)
            self._add(entry.name, status)
        size_bytes, blocks, files, links, others = self._sums
        sums = (size_bytes, blocks, files, links, others)
        tail = (dict(self._histogram), listed if names else None, self._ages)
        return (*sums, self._below, self._inodes, failed, *tail)

    def _add(self, name: str, status: os.stat_result) -> None:
        kind, modified = status.st_mode & _IFMT, int(status.st_mtime)
        size, held = status.st_size, held_bytes(status, self._fd)
        if kind == stat.S_IFREG and status.st_nlink > 1:
            numbers = (status.st_dev, status.st_ino, held, status.st_blocks, modified, size)
            self._inodes.append(numbers)
            return
        if kind == stat.S_IFREG:
            self._sums[0] += held
            self._sums[2] += 1
            self._histogram[size.bit_length()] += 1
            if self._now:
                age = age_class(self._now, modified)
                files, size_bytes = self._ages.get(age, (0, 0))
                self._ages[age] = (files + 1, size_bytes + held)
        elif kind == stat.S_IFDIR:
            self._below.append(name)
        else:
            self._sums[3 if kind == stat.S_IFLNK else 4] += 1
        self._sums[1] += status.st_blocks


def copy(fd: int) -> Iterator[Copied]:
    """Copy nothing: yield every entry for the full rules."""
    with os.scandir(fd) as entries:
        while piece := list(islice(entries, PIECE_ENTRIES)):
            yield 0, 0, [(entry.name, _kind(entry)) for entry in piece]


def _kind(entry: "os.DirEntry[str]") -> int:
    """Return the file type that the directory states; 0 when it states none or another type."""
    try:
        if entry.is_file(follow_symlinks=False):
            return stat.S_IFREG
        if entry.is_dir(follow_symlinks=False):
            return stat.S_IFDIR
        return stat.S_IFLNK if entry.is_symlink() else 0
    except OSError:
        return 0


def unlink(
    fd: int, stop: bytearray, most: Callable[[], int] = lambda: PIECE_ENTRIES
) -> Iterator[Unlinked]:
    """Unlink everything except directories, until `stop` is set; directories are left.

    `most` says before each piece how many entries it may have.
    """
    with os.scandir(fd) as entries:
        while piece := list(islice(entries, most())):
            yield _unlink(fd, piece, stop)


def _unlink(fd: int, piece: "list[os.DirEntry[str]]", stop: bytearray) -> Unlinked:
    count = 0
    below: list[tuple[str, int]] = []
    others: list[str] = []
    for entry in piece:
        kind = _kind(entry)
        if kind == stat.S_IFDIR:
            below.append((entry.name, entry.inode()))
            continue
        try:
            if stop[0]:
                raise InterruptedError
            os.unlink(entry.name, dir_fd=fd)
            count += 1
        except OSError:
            others.append(entry.name)
    return count, 0, below, others
