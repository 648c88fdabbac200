"""Small files of a plan, read many at a time and compared with the plan."""

import os
from collections.abc import Sequence

from backends.archives.plan import ArchiveEntry, EntryChanged, planned_ns
from backends.fs import native
from backends.fs.native import ReadFile

#: Follows no link, and does not wait for the other end of a fifo that took a file's name.
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_files(
    directory: int, entries: list[ArchiveEntry], *, in_c: bool = native.AVAILABLE
) -> list[bytes]:
    """Return the contents of planned files of one directory, each small enough for memory.

    Raises:
        EntryChanged: a file is not as planned any more.
        OSError: a file cannot be read.
    """
    if in_c:
        sizes = [entry.size for entry in entries]
        files = native.read(directory, [entry.name for entry in entries], sizes)
    else:
        files = [_read(directory, entry) for entry in entries]
    for entry, (_, *current) in zip(entries, files, strict=True):
        check(entry, current)
    return [content for content, *_ in files]


def check(entry: ArchiveEntry, current: Sequence[int]) -> None:
    """Compare a file's size, time of modification and inode number with its plan.

    Raises:
        EntryChanged: the file is not as planned any more.
    """
    size, mtime_ns, inode = current
    if planned_ns(mtime_ns) != entry.mtime_ns or size != entry.size or inode != entry.inode:
        raise EntryChanged("A file changed between the plan and its turn.")


def _read(directory: int, entry: ArchiveEntry) -> ReadFile:
    descriptor = os.open(entry.name, OPEN_FILE, dir_fd=directory)
    try:
        data = b""
        while len(data) < entry.size:
            more = os.read(descriptor, entry.size - len(data))
            if not more:
                break
            data += more
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    size = status.st_size if len(data) == entry.size else len(data)
    return data, size, status.st_mtime_ns, status.st_ino
