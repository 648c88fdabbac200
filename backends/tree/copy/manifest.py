"""A job's file beside the data: what is planned and what is done, as checksummed records.

The file is append-only. A record counts only when its length and checksum are right. So a record
that a crash left incomplete is ignored, and the next writer cuts it off. Records are lists of
builtin values in MessagePack. The first value names the kind; paths in them are bytes.
"""

import fcntl
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Self

import msgspec
import xxhash

from backends.fs import atomic

MAGIC = b"vfolder manifest 1\n"
#: Longest valid record, in bytes; anything longer is an incomplete or foreign tail.
RECORD_BYTES_MAX = 64 * 1024 * 1024

#: Offsets of the bytes that are locked, far behind any record: one to append, one for each slot.
_APPENDING = 1 << 40
_SLOTS = _APPENDING + 1
#: How long to wait before the next try to append, in seconds; an append takes less.
_PAUSE_SECONDS = 0.002

_HEAD = struct.Struct("!IQ")
#: The extension of MessagePack for nanoseconds of a time far from the epoch, and its bytes.
_LONG_NUMBER, _LONG_BYTES = 1, 16
Record = list[Any]


class TreeManifest:
    """An open manifest; it owns its descriptor. Processes of several nodes may share the file.

    An append holds a record lock (fcntl(2), which network file systems carry), and so does each
    slot of `claim`. The locks belong to the process: they end with it, its helpers have none, and
    it may open a manifest only once. While another process appends, and perhaps hangs, `on_wait` is
    called again and again; an exception from it ends the wait. A `read_only` manifest takes no
    lock and waits for no other process.
    """

    def __init__(
        self,
        fd: int,
        *,
        lasting: bool = True,
        on_wait: Callable[[], object] = int,
        read_only: bool = False,
    ) -> None:
        self.fd = fd
        self._lasting = lasting
        self._on_wait = on_wait
        if not read_only:
            with self._append_lock():
                self._end = self._check()

    @classmethod
    def open(
        cls,
        directory_fd: int,
        name: str,
        on_wait: Callable[[], object] = int,
        *,
        read_only: bool = False,
    ) -> Self:
        """Open or create the manifest `name` in a directory.

        Raises:
            ValueError: the file is something else.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=directory_fd)
        try:
            return cls(fd, on_wait=on_wait, read_only=read_only)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def temporary(cls) -> Self:
        """Return a manifest that no other process sees and that ends with this process."""
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()), lasting=False)

    @contextmanager
    def _append_lock(self) -> Iterator[None]:
        while not self._try_lock(_APPENDING):
            self._on_wait()
            time.sleep(_PAUSE_SECONDS)
        try:
            yield
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, _APPENDING)

    def _check(self, end: int = len(MAGIC)) -> int:
        """Return the end of the last complete record from `end` on; cut off the bytes after it."""
        size = os.fstat(self.fd).st_size
        if end == size > len(MAGIC):
            return end
        head = os.pread(self.fd, len(MAGIC), 0)
        if not MAGIC.startswith(head.rstrip(b"\0")):
            raise ValueError("This file is not a manifest.")
        if head != MAGIC:  # after a power failure its length may be on disk without its data
            os.ftruncate(self.fd, 0)
            atomic.pwrite_all(self.fd, MAGIC, 0)
            return len(MAGIC)
        end = max((end for _, _, end in self._walk(end, size)), default=end)
        if end < size:
            os.ftruncate(self.fd, end)
        return end

    def _walk(self, offset: int, size: int) -> Iterator[tuple[int, bytes, int]]:
        while offset + _HEAD.size <= size:
            length, check = _HEAD.unpack(os.pread(self.fd, _HEAD.size, offset))
            if length > min(RECORD_BYTES_MAX, size - offset - _HEAD.size):
                return
            payload = os.pread(self.fd, length, offset + _HEAD.size)
            if xxhash.xxh3_64_intdigest(payload) != check:
                return
            yield offset, payload, offset + _HEAD.size + length
            offset += _HEAD.size + length

    def append(self, record: Record, *, sync: bool = False) -> int:
        """Write one record and return its offset; with `sync` it and all before it are on disk."""
        payload = _encoded(record)
        data = _HEAD.pack(len(payload), xxhash.xxh3_64_intdigest(payload)) + payload
        with self._append_lock():
            offset = self._end = self._check(self._end)
            atomic.pwrite_all(self.fd, data, offset)
            self._end += len(data)  # a record that is cut short is cut off by the next writer
        if sync:
            self.sync()
        return offset

    def sync(self) -> None:
        """Sync the records to disk, unless the file ends with this process anyway."""
        if self._lasting:
            os.fdatasync(self.fd)

    def records(self, since: int = len(MAGIC)) -> Iterator[tuple[int, Record]]:
        """Yield the records from an offset on, in the order they were written, with offsets."""
        for offset, payload, _ in self._walk(since, os.fstat(self.fd).st_size):
            yield offset, msgspec.msgpack.decode(payload, ext_hook=_number)

    def claim(self, slot: int) -> bool:
        """Lock a slot until this process releases it or ends; return False while it is taken."""
        return self._try_lock(_SLOTS + slot)

    def _try_lock(self, byte: int) -> bool:
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def release(self, slot: int) -> None:
        """Unlock a slot."""
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, _SLOTS + slot)

    def at(self, offset: int) -> Record:
        """Return the record at an offset that `records` yielded."""
        payload = os.pread(self.fd, self.end_of(offset) - offset, offset)[_HEAD.size :]
        record: Record = msgspec.msgpack.decode(payload, ext_hook=_number)
        return record

    def end_of(self, offset: int) -> int:
        """Return the offset behind the record at this offset, from which a later read continues."""
        (length, _) = _HEAD.unpack(os.pread(self.fd, _HEAD.size, offset))
        return offset + _HEAD.size + int(length)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


def _encoded(record: Record) -> bytes:
    """Return a record as bytes; a number beyond 64 bits is an extension of the format."""
    try:
        return msgspec.msgpack.encode(record)
    except OverflowError:
        return msgspec.msgpack.encode(_extended(record))


def _extended(value: Any) -> Any:  # noqa: ANN401 - any value of a record
    if isinstance(value, list | tuple):
        return [_extended(one) for one in value]
    if isinstance(value, dict):
        return {key: _extended(one) for key, one in value.items()}
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return msgspec.msgpack.Ext(_LONG_NUMBER, value.to_bytes(_LONG_BYTES, "big", signed=True))
    return value


def _number(_: int, data: memoryview) -> int:
    return int.from_bytes(data, "big", signed=True)


@cache
def boot_id() -> str:
    """Return the id of this boot of this machine: unsynced work of another boot is not trusted."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
