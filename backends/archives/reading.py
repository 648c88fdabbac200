"""Small files of a plan, read many at a time and checked against it."""

import os
from collections.abc import Sequence

from backends.archives.plan import ArchiveEntry, EntryChanged

try:
    from backends.archives import _reading
except ImportError:  # no compiler was at hand when this was installed
    NATIVE = False
else:
    NATIVE = True

#: Whatever is there now: no link is followed, and nothing waits for the other end of a fifo.
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_files(
    directory: int, entries: list[ArchiveEntry], *, native: bool = NATIVE
) -> list[bytes]:
    """The contents of planned files of one directory, each small enough to be held.

    Raises:
        EntryChanged: one is not any more what was planned.
        OSError: one cannot be read.
    """
    if native:
        sizes = [entry.size for entry in entries]
        found = _reading.read(directory, [entry.name for entry in entries], sizes)
    else:
        found = [_read(directory, entry) for entry in entries]
    for entry, (_, *seen) in zip(entries, found, strict=True):
        check(entry, seen)
    return [content for content, *_ in found]


def check(entry: ArchiveEntry, seen: Sequence[int]) -> None:
    """Compare a file's size, time and inode number with its plan.

    Raises:
        EntryChanged: it is not any more what was planned.
    """
    size, mtime_ns, inode = seen
    if mtime_ns != entry.mtime_ns or size != entry.size or inode != entry.inode:
        raise EntryChanged("A file changed between the plan and its turn.")


def _read(directory: int, entry: ArchiveEntry) -> tuple[bytes, int, int, int]:
    descriptor = os.open(entry.name, OPEN_FILE, dir_fd=directory)
    try:
        data = b""
        while len(data) < entry.size:
            more = os.read(descriptor, entry.size - len(data))
            if not more:
                break
            data += more
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    size = found.st_size if len(data) == entry.size else len(data)
    return data, size, found.st_mtime_ns, found.st_ino
