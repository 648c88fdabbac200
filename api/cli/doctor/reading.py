"""The checks that change nothing: they ask the mount and the storage system.

A check returns what it found and its figures. What it raises is a result, too (`examiner`).
"""

import os
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from api.cli.configuration import ERROR, option_findings
from api.cli.doctor import own_scope
from api.cli.doctor.results import Figures, NotAvailable, Wrong
from backends.base import (
    Backend,
    Capacity,
    HardwareInfo,
    HardwareStatus,
    HasFastCapacity,
    HasMetric,
    HasQuota,
    HasSnapshots,
    Mount,
    MountedBackend,
    QuotaUsage,
    possible_capabilities,
)
from backends.fs import layout, linux, mount_table
from backends.volumes import create_backend
from core.errors import QuotaScopeNotFound
from core.names import QuotaScope, ScopeKind, counted, size_text
from core.settings import Settings

Found = tuple[str, Figures]

#: A question is asked so often, but for no longer than this (seconds).
_QUESTIONS, _QUESTIONS_SECONDS = 5, 5.0
#: A volume with less free space than this share of its size is nearly full.
_FREE_SHARE = 0.02
NEEDS_WRITE = "Only a change shows it: run again with --write."


@dataclass
class Examined:
    """The volume that is examined."""

    settings: Settings
    name: str
    #: Nothing is changed.
    read_only: bool = True
    #: How much the check of speed writes.
    big_bytes: int = 0

    @cached_property
    def backend(self) -> Backend:
        """The backend of the volume.

        Raises:
            ConfigurationError: its options are wrong, or there is none of this name.
        """
        table = self.settings.volume[self.name]
        path = self.settings.volume_path(table)
        mount = Mount(self.name, path, table.backend_options, read_only=self.read_only)
        return create_backend(table.backend, mount)

    @property
    def mounted(self) -> MountedBackend:
        """Return the volume as a mounted directory.

        Raises:
            NotAvailable: it is none.
        """
        found = self.backend.skill(MountedBackend)
        if found is None:
            raise NotAvailable("The backend serves no mounted directory.")
        return found

    @cached_property
    def lacking(self) -> frozenset[str]:
        """The capabilities that the backend has, and the volume lacks."""
        return self.backend.lacking()

    @cached_property
    def health(self) -> tuple[HardwareInfo, Figures]:
        """What the storage system says of itself, and how long it takes."""
        return timed_calls(self.backend.hardware)


def timed_calls(call: Callable[[], HardwareInfo]) -> tuple[HardwareInfo, Figures]:
    """Make a call some times; return its last result, and its median time."""
    times: list[float] = []
    began = time.perf_counter()
    while True:
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
        if len(times) >= _QUESTIONS or time.perf_counter() - began > _QUESTIONS_SECONDS:
            break
    return result, {
        "calls": len(times),
        "median_milliseconds": milliseconds(statistics.median(times)),
    }


def milliseconds(seconds: float) -> float:
    """Return a time as a figure."""
    return round(seconds * 1000, 2)


def configuration(examined: Examined) -> Found:
    """Check the options of the volume, and what they name."""
    findings = list(option_findings(examined.settings, examined.name))
    texts = [f"{one.key} {one.text}" for one in findings]
    if any(one.level == ERROR for one in findings):
        raise Wrong(" ".join(texts), f"Correct [volume.{examined.name}] in the configuration.")
    skills = ", ".join(possible_capabilities(examined.backend))
    known = f"The backend {examined.backend.name} can do: {skills}."
    return " ".join([known, *texts]), {}


def mount(examined: Examined) -> Found:
    """Check what is mounted: it opens, lists, takes writes, and belongs to the backend."""
    with examined.mounted.root() as root:
        entry = mount_table.mount_of(root)
        began = time.perf_counter()
        names = os.listdir(root)
        listed = time.perf_counter() - began
        read_only = bool(os.fstatvfs(root).f_flag & os.ST_RDONLY)
        is_top = linux.is_mount_root(root)
    path = examined.mounted.mount.path
    if examined.settings.vfolder.mounts.requires(examined.name) and not is_top:
        raise Wrong(f"{path} is no mount point.", f"Mount the volume at {path}.")
    if read_only:
        raise Wrong(f"{path} is mounted read-only.", f"Mount {path} with `rw`.")
    figures: Figures = {"entries": len(names), "list_milliseconds": milliseconds(listed)}
    what = f"{path} is"
    if not is_top:
        what += " a directory of a file system"
    if entry is not None:
        what += f" {entry.kind} of {entry.source}, mounted at {entry.point}"
        figures |= {"file_system": entry.kind, "source": entry.source, "mount_point": entry.point}
    return f"{what}.", figures


def volume(examined: Examined) -> Found:
    """Let the backend prove that the mount is its volume, ready for use."""
    began = time.perf_counter()
    examined.backend.probe()
    seconds = time.perf_counter() - began
    return "The backend takes what is mounted for its volume.", {
        "milliseconds": milliseconds(seconds)
    }


def credentials(examined: Examined) -> Found:
    """Check that the storage system answers this service."""
    info, figures = examined.health
    if info.status is HardwareStatus.UNAVAILABLE:
        raise Wrong(
            info.status_info or "The storage system does not answer.",
            f"Check the address, the certificate and the login in [volume.{examined.name}.options]"
            ", the rights of that user, and the way from this node to the storage system.",
        )
    if info.status is HardwareStatus.OFFLINE:
        raise NotAvailable(f"It is not known: {info.status_info or 'the volume is offline.'}")
    return f"The storage system answers in {figures['median_milliseconds']} ms.", figures


def health(examined: Examined) -> Found:
    """Report the health that the storage system reports of itself."""
    info, _ = examined.health
    figures: Figures = {f"{name}": value for name, value in info.metadata.items()}
    if info.status not in (HardwareStatus.HEALTHY, HardwareStatus.DEGRADED):
        raise NotAvailable("The storage system could not be asked.")
    if info.status is HardwareStatus.DEGRADED:
        raise Wrong(
            info.status_info or f"The storage system is {info.status}.",
            "Mend this at the storage system; its own log says more.",
        )
    facts = ", ".join(f"{name} {value}" for name, value in info.metadata.items())
    return f"Healthy{f': {facts}' if facts else ''}.", figures


def capacity(examined: Examined) -> Found:
    """Report size and usage, by the storage system where it has figures of its own."""
    array = examined.backend.skill(HasFastCapacity)
    if array is not None and "fast-fs-size" not in examined.lacking:
        began = time.perf_counter()
        found, source = array.array_capacity(), "storage system"
    else:
        began = time.perf_counter()
        found, source = examined.backend.capacity(), "mount"
    figures: Figures = {"milliseconds": milliseconds(time.perf_counter() - began)}
    size, used = found.capacity_bytes, found.used_bytes
    if size is None or used is None:
        raise NotAvailable(f"The {source} does not report size and usage.")
    figures |= {"capacity_bytes": size, "used_bytes": used, "source": source}
    _check_free(found, size, used)
    return f"{size_text(used)} of {size_text(size)} are used, says the {source}.", figures


def _check_free(found: Capacity, size: int, used: int) -> None:
    if size - used < size * _FREE_SHARE:
        raise Wrong(
            f"Only {size_text(max(0, size - used))} of {size_text(size)} are free.",
            "Remove data, or make the volume larger.",
        )
    if found.inodes and found.used_inodes is not None:
        free = found.inodes - found.used_inodes
        if free < found.inodes * _FREE_SHARE:
            raise Wrong(
                f"Only {counted(free, 'inode')} of {found.inodes:,} are free.",
                "Remove files, or give the volume more inodes.",
            )


def rates(examined: Examined) -> Found:
    """Report the rates of the storage system."""
    metric = examined.backend.skill(HasMetric)
    if metric is None:
        raise NotAvailable("The storage system reports no rates; the service counts at the mount.")
    began = time.perf_counter()
    found = metric.performance()
    figures: Figures = {
        "milliseconds": milliseconds(time.perf_counter() - began),
        "reads_per_second": found.iops_read,
        "writes_per_second": found.iops_write,
        "read_bytes_per_second": found.io_bytes_read,
        "written_bytes_per_second": found.io_bytes_write,
    }
    now = f"{found.iops_read:,} reads and {found.iops_write:,} writes per second now"
    return f"The storage system reports {now}.", figures


def rights(examined: Examined) -> Found:
    """Read the limit of a quota scope that exists."""
    began = time.perf_counter()
    described = _described(examined)
    if described is None:
        raise NotAvailable(f"No quota scope exists that could be read. {NEEDS_WRITE}")
    figures: Figures = {"milliseconds": milliseconds(time.perf_counter() - began)}
    return f"The figures of quota scope {described[0]} can be read. {NEEDS_WRITE}", figures


def _described(examined: Examined) -> tuple[str, QuotaUsage] | None:
    with examined.mounted.root() as root:
        names = [name for name in layout.scopes(root) if name != "."]
    for name in names:
        scope = QuotaScope(ScopeKind.USER, UUID(name))
        with suppress(QuotaScopeNotFound):  # it was removed meanwhile
            return name, examined.backend.describe_scope(scope)
    return None


def quota(examined: Examined) -> Found:
    """Ask whether limits are enforced."""
    limits = examined.backend.skill(HasQuota)
    if limits is None:
        raise NotAvailable(
            "The storage system has no limits for directories; this service enforces them itself."
        )
    began = time.perf_counter()
    enforced = limits.enforces_quota()
    figures: Figures = {"milliseconds": milliseconds(time.perf_counter() - began)}
    if not enforced:
        raise NotAvailable(f"It is not known that limits are enforced. {NEEDS_WRITE}")
    return "The storage system enforces limits, by its own words.", figures


def snapshot(examined: Examined) -> Found:
    """Ask for the snapshots of a vfolder that does not exist."""
    snapshots = examined.backend.skill(HasSnapshots)
    if snapshots is None:
        raise NotAvailable("This backend makes no snapshots.")
    if "snapshot" in examined.lacking:
        raise NotAvailable(f"It is not known that snapshots can be made. {NEEDS_WRITE}")
    began = time.perf_counter()
    snapshots.list_snapshots(own_scope.VFOLDER)
    figures: Figures = {"milliseconds": milliseconds(time.perf_counter() - began)}
    return f"Snapshots can be listed. {NEEDS_WRITE}", figures


def needs_write(examined: Examined) -> Found:
    """Stand for a check that only a change can make.

    Raises:
        NotAvailable: always.
    """
    del examined
    raise NotAvailable(NEEDS_WRITE)


def leftovers(examined: Examined) -> Found:
    """Look for what a killed run left."""
    if not own_scope.is_left(examined.mounted):
        return "No earlier run left anything.", {}
    raise Wrong(
        f"An earlier run was killed, or another one works: quota scope {own_scope.SCOPE} exists.",
        f"Run `vfolder doctor {examined.name} --write`, which removes it.",
    )
