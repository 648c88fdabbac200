"""The speed of a mounted volume, from the counters of this node's kernel.

A block device has its line in /proc/diskstats (Documentation/admin-guide/iostats.rst), an NFS mount
its paragraph in /proc/self/mountstats. Other file systems (memory, overlays, FUSE) have none:
their speed is unknown. The figures are the traffic of this node only.
"""

import os
import re
import time
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Self

from backends.base import Backend, HasMetric, HasObjectFiles, MountedBackend, PerformanceMetric
from backends.fs import mount_table

#: Seconds between two readings, when there is no earlier one.
SAMPLE_SECONDS = 0.25
#: The length of a sector in /proc/diskstats, whatever the device's sectors are.
_SECTOR_BYTES = 512
_USEC_PER_MS = 1000
_NFS = ("nfs", "nfs4")
_OPERATION = re.compile(r"^\s*(READ|WRITE): (\d+)(?: \d+){6} (\d+)", re.MULTILINE)
_BYTES = re.compile(r"^\s*bytes:(?:\s+\d+){4}\s+(\d+)\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Counters:
    """Operations since the mount or the boot, and the moment of the reading in seconds."""

    at: float
    reads: int
    writes: int
    read_bytes: int
    write_bytes: int
    read_usec: int
    write_usec: int

    @classmethod
    def of(cls, *values: float) -> Self:
        """Make counters from what `values` returned."""
        at, *counts = values
        return cls(at, *map(int, counts))

    def values(self) -> tuple[float, ...]:
        """Return all fields in order."""
        return tuple(astuple(self))

    def since(self, before: "Counters") -> PerformanceMetric | None:
        """Return the rates between two readings; None when no time passed or counters restarted."""
        seconds = self.at - before.at
        pairs = zip(self.values()[1:], before.values()[1:], strict=True)
        differences = [now - then for now, then in pairs]
        if seconds <= 0 or min(differences) < 0:
            return None
        reads, writes, read_bytes, write_bytes, read_usec, write_usec = differences
        return PerformanceMetric(
            iops_read=round(reads / seconds),
            iops_write=round(writes / seconds),
            io_bytes_read=round(read_bytes / seconds),
            io_bytes_write=round(write_bytes / seconds),
            io_usec_read=round(read_usec / reads, 1) if reads else 0.0,
            io_usec_write=round(write_usec / writes, 1) if writes else 0.0,
        )


def counters(path: Path) -> Counters | None:
    """Return the kernel's counters of a directory's mount; None when it has none.

    Raises:
        OSError: the directory cannot be opened.
    """
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        mount = mount_table.mount_of(descriptor)
    finally:
        os.close(descriptor)
    if mount is None:
        return None
    if mount.kind in _NFS:
        table = Path("/proc/self/mountstats").read_text("utf-8", "surrogateescape")
        return _of_nfs(table, mount.point)
    device = mount.device
    if device.startswith("0:") and mount.source.startswith("/dev/"):  # btrfs numbers its own
        number = os.stat(mount.source).st_rdev
        device = f"{os.major(number)}:{os.minor(number)}"
    return _of_device(Path("/proc/diskstats").read_text("ascii"), device)


def measured(backend: Backend) -> PerformanceMetric | None:
    """Return the present speed of a volume; None when unknown. May take `SAMPLE_SECONDS`."""
    if reporter := backend.skill(HasMetric):
        return reporter.performance()
    if backend.skill(MountedBackend) is None or backend.skill(HasObjectFiles) is not None:
        return None  # the mount is not where the files of the volume are
    before = counters(backend.mount.path)
    if before is None:
        return None
    time.sleep(SAMPLE_SECONDS)
    now = counters(backend.mount.path)
    return now.since(before) if now else None


def _of_device(text: str, device: str) -> Counters | None:
    for line in text.splitlines():
        fields = line.split()
        if f"{fields[0]}:{fields[1]}" == device:
            reads, _, read_sectors, read_ms, writes, _, write_sectors, write_ms = fields[3:11]
            return Counters.of(
                time.monotonic(),
                int(reads),
                int(writes),
                int(read_sectors) * _SECTOR_BYTES,
                int(write_sectors) * _SECTOR_BYTES,
                int(read_ms) * _USEC_PER_MS,
                int(write_ms) * _USEC_PER_MS,
            )
    return None


def _of_nfs(text: str, mount_point: str) -> Counters | None:
    """Read the paragraph of a mount: `bytes:` and the operations READ and WRITE (nfsiostat(8))."""
    for paragraph in text.split("\ndevice "):
        title = mount_table.unescaped(paragraph.partition("\n")[0])
        if f" mounted on {mount_point} with fstype nfs" not in title:
            continue
        moved, operations = _BYTES.search(paragraph), dict[str, tuple[int, int]]()
        for name, count, ms in _OPERATION.findall(paragraph):
            operations[name] = int(count), int(ms) * _USEC_PER_MS
        if moved is None or len(operations) != len(("READ", "WRITE")):
            return None
        (reads, read_usec), (writes, write_usec) = operations["READ"], operations["WRITE"]
        return Counters.of(
            time.monotonic(),
            reads,
            writes,
            int(moved[1]),
            int(moved[2]),
            read_usec,
            write_usec,
        )
    return None
