"""Small files of a plan, read many at a time and compared with the plan."""

import errno
import os
import stat
from collections.abc import Sequence

import msgspec

from backends.archives.deviations import CHANGED, GONE, GREW, SHORTER, Deviations
from backends.archives.plan import ArchiveEntry, Batch, EntryChanged, planned_ns
from backends.fs import native, reason_of
from backends.fs.native import ReadFile

#: Follows no link, and does not wait for the other end of a fifo that took a file's name.
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


#: A small file that was replaced by a larger one is read up to this length (bytes), if the archive
#: is tolerant. Of more, the first bytes are sent, and the report says so.
MET_BYTES = 16 << 20


def read_files(
    directory: int,
    batch: Batch,
    entries: list[ArchiveEntry],
    deviations: Deviations,
    *,
    in_c: bool = native.AVAILABLE,
) -> list[bytes | None]:
    """Return the contents of planned files of one directory, each small enough for memory.

    None is a file that a tolerant archive leaves out.

    Raises:
        EntryChanged: a file cannot be sent as it was planned.
        OSError: a file cannot be read.
    """
    try:
        if in_c:
            sizes = [entry.size for entry in entries]
            files = native.read(directory, [entry.name for entry in entries], sizes)
        else:
            files = [_read(directory, entry) for entry in entries]
    except OSError:
        if not deviations.tolerant:
            raise
        return [_met(directory, batch, entry, deviations) for entry in entries]
    return [
        content
        if (size, mtime_ns, inode) == (entry.size, entry.mtime_ns, entry.inode)
        or is_planned(entry, (size, mtime_ns, inode))  # a time that no plan can have
        else _met(directory, batch, entry, deviations)
        for entry, (content, size, mtime_ns, inode) in zip(entries, files, strict=True)
    ]


def is_planned(entry: ArchiveEntry, current: Sequence[int]) -> bool:
    """Return whether a file has the size, modification time and inode number of its plan."""
    size, mtime_ns, inode = current
    return planned_ns(mtime_ns) == entry.mtime_ns and size == entry.size and inode == entry.inode


def met_size(batch: Batch, entry: ArchiveEntry, current: Sequence[int], met: Deviations) -> int:
    """Return how many bytes of a changed file to send, and keep its name.

    A file that grew, or was written to, has its planned length. Only a tolerant archive has room
    for another one.

    Raises:
        EntryChanged: less is there than was planned, or another file has its name.
    """
    size, _, inode = current
    if size == entry.size or (size > entry.size and inode == entry.inode):
        met.add(path_of(batch, entry), GREW if size > entry.size else CHANGED)
        return entry.size
    if not met.tolerant:
        raise EntryChanged("A file became shorter, or was replaced, after it was planned.")
    met.add(path_of(batch, entry), SHORTER if inode == entry.inode else CHANGED)
    return size


def path_of(batch: Batch, entry: ArchiveEntry) -> bytes:
    """Return the path of an entry below the top."""
    return batch.directory + b"/" + entry.name if batch.directory else entry.name


def _met(directory: int, batch: Batch, entry: ArchiveEntry, deviations: Deviations) -> bytes | None:
    """Read a file that is not as planned again, and return what is sent of it."""
    try:
        content, *current = _read(directory, entry)
        if is_planned(entry, current):
            return content
        size = met_size(batch, entry, current, deviations)
        if size > len(content):
            content, *_ = _read(
                directory, msgspec.structs.replace(entry, size=min(size, MET_BYTES))
            )
    except OSError as error:
        if not deviations.tolerant:
            raise
        deviations.add(path_of(batch, entry), reason_left_out(error))
        return None
    return content


def reason_left_out(error: OSError) -> str:
    """Return in words why a file is not in a tolerant archive."""
    gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR)
    return GONE if gone else reason_of(error)


def _read(directory: int, entry: ArchiveEntry) -> ReadFile:
    descriptor = os.open(entry.name, OPEN_FILE, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
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
