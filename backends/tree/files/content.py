"""Copy the bytes of one open file to another, by the cheapest method both file systems support.

The methods in order: a shared extent (FICLONE), a copy inside the kernel (copy_file_range, then
sendfile), read and write. Holes stay holes. Nothing here opens a file by name or changes
attributes.
"""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import xxhash

from backends.fs import BLOCK_BYTES, atomic, linux

#: Files up to this size are read and written in one call each.
SMALL_BYTES = 128 * 1024
#: First step of a longer copy; steps then grow or shrink to last about `STEP_SECONDS`.
STEP_BYTES = 8 * 1024 * 1024
STEP_BYTES_MIN = 256 * 1024
STEP_BYTES_MAX = 64 * 1024 * 1024
STEP_SECONDS = 0.05
#: Buffer of copies through the process: for a digest, or as the last method.
BUFFER_BYTES = 1024 * 1024

#: Errors of file systems that do not support a method: the next one is tried.
UNSUPPORTED_METHOD = frozenset(
    {
        errno.EXDEV,
        errno.EOPNOTSUPP,
        errno.ENOTTY,
        errno.EINVAL,
        errno.ENOSYS,
        errno.EPERM,
        errno.EBADF,
        errno.ETXTBSY,
    },
)


class Digest(Protocol):
    """What `hashlib` and `xxhash` objects have in common."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Add more bytes."""

    def digest(self) -> bytes:
        """Return the digest of all bytes added."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes added, in hexadecimal digits."""


#: Digests by the names that users pass.
DIGESTS: dict[str, Callable[[], Digest]] = {
    "xxh3": xxhash.xxh3_128,
    "sha256": hashlib.sha256,
}

#: Called after each stretch with its number of bytes.
Step = Callable[[int], None]


class ShortSource(Exception):
    """The file ended before the length it had when it was opened."""


class Changed(Exception):
    """A file changed while it was copied."""


def check_unchanged(fd: int, status: os.stat_result) -> None:
    """Compare an open file with its attributes before it was read.

    Raises:
        Changed: another process wrote to it.
    """
    current = os.fstat(fd)
    if current.st_mtime_ns != status.st_mtime_ns or current.st_size != status.st_size:
        raise Changed


@dataclass(slots=True)
class CopyMethods:
    """Which methods this pair of file systems supports, learnt while copying."""

    clone: bool = True
    kernel: bool = True
    sendfile: bool = True
    step_bytes: int = STEP_BYTES
    _buffer: bytearray = field(default_factory=bytearray)

    def buffer(self) -> memoryview:
        """Return the one buffer, created when it is first needed."""
        if not self._buffer:
            self._buffer = bytearray(BUFFER_BYTES)
        return memoryview(self._buffer)


def clone(source: int, target: int, methods: CopyMethods) -> bool:
    """Make `target` share all extents of `source`; return False where that is not supported."""
    if not methods.clone:
        return False
    try:
        linux.clone_file(source, target)
    except OSError as error:
        if error.errno not in UNSUPPORTED_METHOD:
            raise
        methods.clone = error.errno == errno.ETXTBSY
        return False
    return True


def clones(source: int, directory: int) -> bool:
    """Return whether files in `directory` can share extents with `source`, by trying it."""
    try:
        probe = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError:
        return False
    try:
        return clone(source, probe, CopyMethods())
    finally:
        os.close(probe)


def copy_small(
    source: int, target: int, size: int, digest: Digest | None = None, *, as_met: bool = False
) -> None:
    """Copy a file that fits into one read, and add it to `digest`.

    With `as_met`, copy at most `size` bytes of a file that has another length by now.

    Raises:
        ShortSource: the file was shorter or longer than `size`.
    """
    data = os.read(source, size + 1)
    while len(data) < size and (more := os.read(source, size + 1 - len(data))):
        data += more
    if as_met:
        data = data[:size]
    elif len(data) != size:
        raise ShortSource
    if digest:
        digest.update(data)
    atomic.write_all(target, data)


def copy_hashing(
    source: int, target: int, span: tuple[int, int], digest: Digest, step: Step
) -> None:
    """Copy a span of a file through this process and add it to `digest`, buffer by buffer.

    Raises:
        ShortSource: the file ended before `span[1]`.
    """
    buffer = memoryview(bytearray(BUFFER_BYTES))
    offset, end = span
    os.lseek(target, offset, os.SEEK_SET)
    while offset < end:
        count = os.preadv(source, [buffer[: min(BUFFER_BYTES, end - offset)]], offset)
        if count == 0:
            raise ShortSource
        digest.update(buffer[:count])
        atomic.write_all(target, buffer[:count])
        offset += count
        step(count)


def copy_range(
    source: int, target: int, span: tuple[int, int], methods: CopyMethods, step: Step
) -> None:
    """Copy the bytes from `span[0]` up to `span[1]`, inside the kernel where possible.

    `step` is called with the number of bytes of each stretch, about every `STEP_SECONDS`.

    Raises:
        ShortSource: the file ended before `span[1]`.
    """
    offset, end = span
    while offset < end:
        began = time.monotonic()
        size = min(methods.step_bytes, end - offset)
        moved = _move(source, target, offset, size, methods)
        if moved == 0:
            raise ShortSource
        offset += moved
        if moved == methods.step_bytes:
            methods.step_bytes = _next_step(methods.step_bytes, time.monotonic() - began)
        step(moved)


def _next_step(size: int, seconds: float) -> int:
    if seconds > STEP_SECONDS:
        return max(STEP_BYTES_MIN, size // 2)
    return min(STEP_BYTES_MAX, size * 2) if seconds < STEP_SECONDS / 4 else size


def _move(source: int, target: int, offset: int, size: int, methods: CopyMethods) -> int:
    """Copy some bytes and return how many; 0 only at the end of the file.

    On some file systems copies inside the kernel return 0 before the end. Only a read proves it.
    """
    moved = _move_in_kernel(source, target, offset, size, methods)
    return moved or _move_by_reading(source, target, offset, size, methods)


def _move_in_kernel(source: int, target: int, offset: int, size: int, methods: CopyMethods) -> int:
    if methods.kernel:
        try:
            return os.copy_file_range(source, target, size, offset, offset)
        except OSError as error:
            if error.errno not in UNSUPPORTED_METHOD:
                raise
            methods.kernel = False
    if methods.sendfile:
        try:
            os.lseek(target, offset, os.SEEK_SET)
            return os.sendfile(target, source, offset, size)
        except OSError as error:
            if error.errno not in UNSUPPORTED_METHOD:
                raise
            methods.sendfile = False
    return 0


def _move_by_reading(source: int, target: int, offset: int, size: int, methods: CopyMethods) -> int:
    view = methods.buffer()[: min(size, BUFFER_BYTES)]
    count = os.preadv(source, [view], offset)
    os.lseek(target, offset, os.SEEK_SET)
    atomic.write_all(target, view[:count])
    return count


def hash_span(fd: int, span: tuple[int, int], digest: Digest, step: Step) -> None:
    """Add the bytes of `span` to `digest`; call `step` with the number of bytes of each buffer.

    Raises:
        ShortSource: the file ended before `span[1]`.
    """
    offset, end = span
    if end - offset <= SMALL_BYTES:
        data = os.pread(fd, end - offset, offset)
        if len(data) == end - offset:
            digest.update(data)
            step(len(data))
            return
    buffer = memoryview(bytearray(min(BUFFER_BYTES, end - offset)))
    while offset < end:
        view = buffer[: min(BUFFER_BYTES, end - offset)]
        count = os.preadv(fd, [view], offset)
        if count == 0:
            raise ShortSource
        digest.update(view[:count])
        offset += count
        step(count)


def data_spans(fd: int, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the spans that hold data between `begin` and `end` (lseek(2), SEEK_DATA)."""
    while begin < end:
        try:
            start = os.lseek(fd, begin, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            if error.errno in UNSUPPORTED_METHOD:
                yield begin, end
                return
            raise
        if start >= end:
            return
        stop = min(os.lseek(fd, start, os.SEEK_HOLE), end)
        yield start, stop
        begin = stop


def is_sparse(status: os.stat_result) -> bool:
    """Return whether a file has fewer bytes on disk than its length."""
    return status.st_blocks * BLOCK_BYTES < status.st_size
