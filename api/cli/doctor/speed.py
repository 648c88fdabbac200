"""How fast bytes and small files of a directory are, measured for a few seconds each.

A rate of writes counts until everything is on the storage system. A rate of reads comes together
with how the page cache was kept out.
"""

import errno
import mmap
import os
import statistics
import time
from contextlib import suppress

from api.cli.doctor.results import Figures
from backends.tree import remove_tree, sync_file_system
from core.jobs import Unattended

_MIB = 1 << 20
#: Writes of the big file end after this.
_WRITE_SECONDS = 5.0
_READ_SECONDS = 5.0
#: Random bytes; blocks begin at odd places of it, so that no storage finds two equal blocks.
_RANDOM_BYTES, _STEP = 8 * _MIB, 4099
_SMALL_BYTES = 4096
_SMALL_FILES, _SMALL_SECONDS = 1000, 3.0
_SYNCED_FILES = 20
_NO_DIRECT = frozenset({errno.EINVAL, errno.EOPNOTSUPP})
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def write_big(directory: int, name: str, most: int, free_bytes: int | None) -> Figures:
    """Write a file of at most that many random bytes, and sync it; a tenth of the free space.

    Raises:
        OSError: the storage failed.
    """
    if free_bytes is not None:
        most = min(most, free_bytes // 10)
    source = memoryview(os.urandom(_RANDOM_BYTES))
    file = os.open(name, _NEW, 0o600, dir_fd=directory)
    try:
        written, began = 0, time.perf_counter()
        while written < max(most, _MIB) and time.perf_counter() - began < _WRITE_SECONDS:
            start = (written // _MIB * _STEP) % (_RANDOM_BYTES - _MIB)
            block = source[start : start + _MIB]
            while block:
                block = block[os.write(file, block) :]
            written += _MIB
        os.fsync(file)
        seconds = time.perf_counter() - began
    finally:
        os.close(file)
    return {"written_mib": written // _MIB, "write_mib_per_second": _rate(written / _MIB, seconds)}


def read_big(directory: int, name: str) -> Figures:
    """Read the file back, past the page cache where the file system permits it.

    Raises:
        OSError: the storage failed.
    """
    file, how = _opened(directory, name)
    buffer = mmap.mmap(-1, _MIB)
    try:
        read, began = 0, time.perf_counter()
        while time.perf_counter() - began < _READ_SECONDS and (n := os.readv(file, [buffer])):
            read += n
        seconds = time.perf_counter() - began
    finally:
        buffer.close()
        os.close(file)
    return {
        "read_mib": read // _MIB,
        "read_mib_per_second": _rate(read / _MIB, seconds),
        "read_by": how,
    }


def _opened(directory: int, name: str) -> tuple[int, str]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        file = os.open(name, flags | os.O_DIRECT, dir_fd=directory)
        with suppress(OSError):
            os.preadv(file, [mmap.mmap(-1, _SMALL_BYTES)], 0)
            return file, "O_DIRECT, past the page cache"
        os.close(file)
    except OSError as error:
        if error.errno not in _NO_DIRECT:
            raise
    file = os.open(name, flags, dir_fd=directory)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    return file, "reads after the page cache was dropped"


def small_files(directory: int) -> Figures:
    """Make files of 4 KiB, sync them together, and remove them; then sync some one by one.

    Raises:
        OSError: the storage failed.
    """
    content = os.urandom(_SMALL_BYTES)
    os.mkdir("small", 0o700, dir_fd=directory)
    below = os.open("small", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        made, began = 0, time.perf_counter()
        while made < _SMALL_FILES and time.perf_counter() - began < _SMALL_SECONDS:
            _write(below, f"{made}", content, synced=False)
            made += 1
        sync_file_system(below)
        making = time.perf_counter() - began
        synced = [_write(below, f"synced-{n}", content, synced=True) for n in range(_SYNCED_FILES)]
    finally:
        os.close(below)
    began = time.perf_counter()
    removed = remove_tree(directory, "small", control=Unattended())
    removing = time.perf_counter() - began
    if not removed.complete:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
    return {
        "small_files": made,
        "made_per_second": _rate(made, making),
        "removed_per_second": _rate(made + _SYNCED_FILES, removing),
        "synced_file_milliseconds": round(statistics.median(synced) * 1000, 2),
    }


def _write(directory: int, name: str, content: bytes, *, synced: bool) -> float:
    began = time.perf_counter()
    file = os.open(name, _NEW, 0o600, dir_fd=directory)
    try:
        os.write(file, content)
        if synced:
            os.fsync(file)
    finally:
        os.close(file)
    return time.perf_counter() - began


def _rate(amount: float, seconds: float) -> float:
    return round(amount / max(seconds, 1e-9), 1)
