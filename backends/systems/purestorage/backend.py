"""purestorage: the backend."""

import errno
import os
from typing import ClassVar
from uuid import uuid4

from backends.base import (
    Capacity,
    HardwareInfo,
    HardwareStatus,
    Mount,
    PerformanceMetric,
    TreeUsage,
)
from backends.fs import descriptors
from backends.mounted import ArrayBackend
from backends.mounted.rest import options_of
from backends.systems.purestorage.api import Alert, ArraySpace, Blade, PureApi, PureOptions
from backends.systems.purestorage.rapidfile import RapidFile
from core.errors import BackendFailed
from core.names import VFolderId

#: The array removes everything that is moved into this directory at the file system's top.
FAST_REMOVE = ".fast-remove"
#: The array does not offer it here: it is switched off, or this is another mount.
_NOT_TAKEN = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EXDEV, errno.EACCES, errno.EPERM})
_CRITICAL, _WARNING = "critical", "warning"
_WELL = frozenset({"healthy", "unused", "evacuating"})


class PureStorageBackend(ArrayBackend):
    """FlashBlade: capacity and rates of the file system; the array itself deletes trees."""

    name: ClassVar[str] = "purestorage"

    def __init__(self, mount: Mount) -> None:
        options = options_of(mount, PureOptions)
        super().__init__(mount, options.deadline_seconds)
        self._api = PureApi(options)
        self._rapidfile = RapidFile(options.rapidfile_dir)
        self._fast_remove = options.use_fast_remove

    def lacking(self) -> frozenset[str]:
        """See `Backend.lacking`: `fast-size` where the RapidFile Toolkit is not installed."""
        try:
            found = self._rapidfile.found()
        except BackendFailed:
            found = False
        return frozenset() if found else frozenset({"fast-size"})

    def array_capacity(self) -> Capacity:
        """See `HasFastCapacity.array_capacity`: as provisioned.

        Without a provisioned size, that of the array. Both are counted before data reduction.
        """
        with self._within_deadline():
            found = self._api.file_system()
            total = found.limit
            if total is None:
                whole = next(self._api.items("arrays/space", ArraySpace), ArraySpace())
                total = whole.capacity
        used = found.space.virtual
        return Capacity(total if total is None else max(total, used or 0), used)

    def performance(self) -> PerformanceMetric:
        """See `HasMetric.performance`; of the file system, by NFS."""
        with self._within_deadline():
            rates = self._api.rates()
        return PerformanceMetric(
            iops_read=round(rates.reads_per_sec),
            iops_write=round(rates.writes_per_sec),
            io_bytes_read=round(rates.read_bytes_per_sec),
            io_bytes_write=round(rates.write_bytes_per_sec),
            io_usec_read=rates.usec_per_read_op,
            io_usec_write=rates.usec_per_write_op,
        )

    def fast_usage(self, vfolder: VFolderId) -> TreeUsage:
        """See `HasFastUsage.fast_usage`: by RapidFile's `pdu`.

        Costs a walk by many threads of that program, 30 seconds at most.
        """
        with self.open_vfolder(vfolder):
            if not self._rapidfile.found():
                return TreeUsage(file_count=0, used_bytes=0, complete=False)
            return self._rapidfile.count(self.vfolder_path(vfolder))

    def before_purge(self, parent: int, name: str, vfolder: VFolderId | None = None) -> None:
        """See `MountedBackend.before_purge`: the array removes the tree, where it offers that."""
        del vfolder
        if not self._fast_remove:
            return
        try:
            with self.root() as root, descriptors.opened(FAST_REMOVE, root) as bin_:
                os.rename(name, f"{name}-{uuid4().hex}", src_dir_fd=parent, dst_dir_fd=bin_)
        except OSError as error:
            if error.errno not in _NOT_TAKEN:
                raise

    def _health(self) -> HardwareInfo:
        alerts = list(self._api.items("alerts", Alert, filter="state='open'"))
        blades = list(self._api.items("blades", Blade))
        severe = sum(alert.severity == _CRITICAL for alert in alerts)
        mild = sum(alert.severity == _WARNING for alert in alerts)
        ill = sorted(blade.name for blade in blades if blade.status not in _WELL)
        metadata = {"blades": str(len(blades)), "alerts": str(len(alerts))}
        if not (severe or mild or ill):
            return HardwareInfo(HardwareStatus.HEALTHY, None, metadata)
        info = f"{severe} critical and {mild} other warnings; blades not well: {', '.join(ill)}"
        return HardwareInfo(HardwareStatus.DEGRADED, info.removesuffix(": "), metadata)
