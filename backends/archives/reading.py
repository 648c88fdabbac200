"""Small files of a plan, read many at a time and checked against it."""

import os

from backends.archives.plan import Changed, Entry

try:
    from backends.archives import _reading
except ImportError:  # no compiler was at hand when this was installed
    NATIVE = False
else:
    NATIVE = True

_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_files(directory: int, entries: list[Entry], *, native: bool = NATIVE) -> list[bytes]:
    """The contents of planned files of one directory, each small enough to be held.

    Raises:
        Changed: one is not any more what was planned.
        OSError: one cannot be read.
    """
    if native:
        sizes = [entry.size for entry in entries]
        found = _reading.read(directory, [entry.name for entry in entries], sizes)
    else:
        found = [_read(directory, entry) for entry in entries]
    for entry, (_, size, mtime_ns, inode) in zip(entries, found, strict=True):
        if mtime_ns != entry.mtime_ns or size != entry.size or inode != entry.inode:
            raise Changed("A file changed between the plan and its turn.")
    return [content for content, *_ in found]


def _read(directory: int, entry: Entry) -> tuple[bytes, int, int, int]:
    descriptor = os.open(entry.name, _OPEN_FILE, dir_fd=directory)
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
