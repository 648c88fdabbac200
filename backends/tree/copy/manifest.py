"""A job's file beside the data: what is planned and what is done, as checksummed records.

Append-only: a record counts only when its length and checksum are right, so whatever tail a crash
tore off is as if it had never been written, and is cut off by the next writer. Records are lists
of builtin values in MessagePack, the first value names the kind; paths in them are bytes.
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
#: Longest record taken for real, in bytes; anything longer is a torn or foreign tail.
RECORD_BYTES_MAX = 64 * 1024 * 1024

#: Bytes that are locked, far behind any record: one to append, and one for each slot.
_APPENDING = 1 << 40
_SLOTS = _APPENDING + 1
#: How long to wait before trying again to append, in seconds: appending itself takes less.
_PAUSE_SECONDS = 0.002

_HEAD = struct.Struct("!IQ")
Record = list[Any]


class TreeManifest:
    """An open manifest; owns its descriptor. Processes of several nodes may share the file.

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
            with self._alone():
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
        """Make a manifest that nobody else sees and that ends with the process."""
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()), lasting=False)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        while not self._locked(_APPENDING):
            self._on_wait()
            time.sleep(_PAUSE_SECONDS)
        try:
            yield
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, _APPENDING)

    def _check(self, end: int = len(MAGIC)) -> int:
        """Find the end of the last whole record from `end` on and cut off what is behind it."""
        size = os.fstat(self.fd).st_size
        if end == size > len(MAGIC):
            return end
        head = os.pread(self.fd, len(MAGIC), 0)
        if not MAGIC.startswith(head):
            raise ValueError("This file is not a manifest.")
        if head != MAGIC:
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
        """Write one record and give its offset; with `sync` it is on disk, and all before it."""
        payload = msgspec.msgpack.encode(record)
        data = _HEAD.pack(len(payload), xxhash.xxh3_64_intdigest(payload)) + payload
        with self._alone():
            offset = self._end = self._check(self._end)
            atomic.pwrite_all(self.fd, data, offset)
            self._end += len(data)  # a record that is cut short is cut off by the next writer
        if sync:
            self.sync()
        return offset

    def sync(self) -> None:
        """Bring the records to disk, unless they end with this process anyway."""
        if self._lasting:
            os.fdatasync(self.fd)

    def records(self, since: int = len(MAGIC)) -> Iterator[tuple[int, Record]]:
        """Read the records from an offset on, in the order they were written, with offsets."""
        for offset, payload, _ in self._walk(since, os.fstat(self.fd).st_size):
            yield offset, msgspec.msgpack.decode(payload)

    def claim(self, slot: int) -> bool:
        """Take a numbered slot for this process until it releases it or ends; False: not free."""
        return self._locked(_SLOTS + slot)

    def _locked(self, byte: int) -> bool:
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def release(self, slot: int) -> None:
        """Give a slot back."""
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, _SLOTS + slot)

    def at(self, offset: int) -> Record:
        """Read again the record that `records` found at this offset."""
        payload = os.pread(self.fd, self.end_of(offset) - offset, offset)[_HEAD.size :]
        record: Record = msgspec.msgpack.decode(payload)
        return record

    def end_of(self, offset: int) -> int:
        """Tell where the record at this offset ends: where to read on later."""
        (length, _) = _HEAD.unpack(os.pread(self.fd, _HEAD.size, offset))
        return offset + _HEAD.size + int(length)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


@cache
def boot_id() -> str:
    """Tell this boot of this machine: unsynced work of another one is not to be trusted."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
