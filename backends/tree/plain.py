"""The inner loops in Python: the twin of `_fast.c`, used where that was not built.

Each function gives an iterator over pieces of one directory, of which the descriptor stands at
its beginning. `fast` chooses between the two; tests run with both.
"""

import errno
import os
import stat
from collections import Counter as Tally
from collections.abc import Iterator
from itertools import islice

#: Entries of a directory handled in one piece.
PIECE_ENTRIES = 1024

#: bytes, blocks, files, links, others, directories, inodes, failed, histogram, names
Scanned = tuple[
    int,
    int,
    int,
    int,
    int,
    list[str],
    list[tuple[int, int, int, int]],
    list[tuple[str, int]],
    dict[int, int],
    list[str] | None,
]
#: files, bytes, and the entries that are for the full rules, with their file type (0: unknown)
Copied = tuple[int, int, list[tuple[str, int]]]
#: number unlinked, directories, names that resist
Unlinked = tuple[int, list[str], list[str]]

_IFMT = 0o170000


def scan(fd: int, *, names: bool) -> Iterator[Scanned]:
    """Stat the entries of a directory and sum them up."""
    with os.scandir(fd) as entries:
        while piece := list(islice(entries, PIECE_ENTRIES)):
            yield _scan(piece, names=names)


def _scan(piece: "list[os.DirEntry[str]]", *, names: bool) -> Scanned:
    size_bytes = blocks = files = links = others = 0
    below: list[str] = []
    inodes: list[tuple[int, int, int, int]] = []
    failed: list[tuple[str, int]] = []
    histogram: Tally[int] = Tally()
    seen: list[str] = []
    for entry in piece:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.ENOENT:
                failed.append((entry.name, error.errno or errno.EIO))
            continue
        seen.append(entry.name)
        kind = status.st_mode & _IFMT
        size = status.st_size
        if kind == stat.S_IFREG and status.st_nlink > 1:
            inodes.append((status.st_dev, status.st_ino, size, status.st_blocks))
            continue
        if kind == stat.S_IFREG:
            files += 1
            size_bytes += size
            histogram[size.bit_length()] += 1
        elif kind == stat.S_IFDIR:
            below.append(entry.name)
        elif kind == stat.S_IFLNK:
            links += 1
        else:
            others += 1
        blocks += status.st_blocks
    sums = (size_bytes, blocks, files, links, others)
    return (*sums, below, inodes, failed, dict(histogram), seen if names else None)


def copy(fd: int) -> Iterator[Copied]:
    """Leave every entry to the full rules."""
    with os.scandir(fd) as entries:
        while piece := list(islice(entries, PIECE_ENTRIES)):
            yield 0, 0, [(entry.name, _kind(entry)) for entry in piece]


def _kind(entry: "os.DirEntry[str]") -> int:
    """Tell the file type where the directory has it; 0 where it does not or none of these."""
    try:
        if entry.is_file(follow_symlinks=False):
            return stat.S_IFREG
        if entry.is_dir(follow_symlinks=False):
            return stat.S_IFDIR
        return stat.S_IFLNK if entry.is_symlink() else 0
    except OSError:
        return 0


def unlink(fd: int, stop: bytearray) -> Iterator[Unlinked]:
    """Unlink everything but directories, until `stop` is set."""
    with os.scandir(fd) as entries:
        while piece := list(islice(entries, PIECE_ENTRIES)):
            yield _unlink(fd, piece, stop)


def _unlink(fd: int, piece: "list[os.DirEntry[str]]", stop: bytearray) -> Unlinked:
    count = 0
    below: list[str] = []
    others: list[str] = []
    for entry in piece:
        kind = _kind(entry)
        if kind == stat.S_IFDIR:
            below.append(entry.name)
            continue
        try:
            if stop[0]:
                raise InterruptedError
            os.unlink(entry.name, dir_fd=fd)
            count += 1
        except OSError:
            others.append(entry.name)
    return count, below, others
