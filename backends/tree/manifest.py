"""A job's file beside the data: what is planned and what is done, as checksummed records.

Append-only: a record counts only when its length and checksum are right, so whatever tail a crash
tore off is as if it had never been written, and is cut off by the next writer. Records are lists
of builtin values in MessagePack, the first value names the kind; paths in them are bytes.
"""

import os
import struct
import tempfile
from collections.abc import Iterator
from typing import Any, Self

import msgspec
import xxhash

MAGIC = b"vfolder manifest 1\n"
#: Longest record taken for real, in bytes; anything longer is a torn or foreign tail.
RECORD_BYTES_MAX = 64 * 1024 * 1024

_HEAD = struct.Struct("!IQ")
Record = list[Any]


class Manifest:
    """An open manifest; owns its descriptor. One process appends, others may read."""

    def __init__(self, fd: int, *, lasting: bool = True) -> None:
        self.fd = fd
        self._lasting = lasting
        self._end = self._check()

    @classmethod
    def open(cls, directory_fd: int, name: str) -> Self:
        """Open or create the manifest `name` in a directory.

        Raises:
            ValueError: the file is something else.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return cls(os.open(name, flags, 0o600, dir_fd=directory_fd))

    @classmethod
    def temporary(cls) -> Self:
        """Make a manifest that nobody else sees and that ends with the process."""
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()), lasting=False)

    def _check(self) -> int:
        """Find the end of the last whole record and cut off what is behind it."""
        size = os.fstat(self.fd).st_size
        head = os.pread(self.fd, len(MAGIC), 0)
        if not MAGIC.startswith(head):
            raise ValueError("This file is not a manifest.")
        if head != MAGIC:
            os.pwrite(self.fd, MAGIC, 0)
            return len(MAGIC)
        end = max((end for _, _, end in self._walk(size)), default=len(MAGIC))
        if end < size:
            os.ftruncate(self.fd, end)
        return end

    def _walk(self, size: int) -> Iterator[tuple[int, bytes, int]]:
        offset = len(MAGIC)
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
        offset = self._end
        payload = msgspec.msgpack.encode(record)
        data = memoryview(_HEAD.pack(len(payload), xxhash.xxh3_64_intdigest(payload)) + payload)
        while data:
            count = os.pwrite(self.fd, data, self._end)
            self._end += count
            data = data[count:]
        if sync:
            self.sync()
        return offset

    def sync(self) -> None:
        """Bring the records to disk, unless they end with this process anyway."""
        if self._lasting:
            os.fdatasync(self.fd)

    def records(self) -> Iterator[tuple[int, Record]]:
        """Read all records in the order they were written, each with its offset."""
        for offset, payload, _ in self._walk(self._end):
            yield offset, msgspec.msgpack.decode(payload)

    def at(self, offset: int) -> Record:
        """Read again the record that `records` found at this offset."""
        (length, _) = _HEAD.unpack(os.pread(self.fd, _HEAD.size, offset))
        record: Record = msgspec.msgpack.decode(os.pread(self.fd, length, offset + _HEAD.size))
        return record

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


def boot_id() -> str:
    """Tell this boot of this machine: unsynced work of another one is not to be trusted."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
