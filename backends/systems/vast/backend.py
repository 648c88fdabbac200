"""vast: the backend."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import ClassVar

from backends.base import Capacity, HardwareInfo, HardwareStatus, Mount, PerformanceMetric
from backends.fs import layout, linux
from backends.mounted import (
    ArrayInodeLimits,
    ArraySoftLimits,
    ArrayUsage,
    await_directory,
    await_limit,
)
from backends.mounted.rest import options_of
from backends.retention import ArraySnapshot, ArraySnapshots
from backends.systems.vast.api import VastApi, VastOptions, VastQuota
from backends.systems.vast.clones import VastClones
from backends.systems.vast.snapshots import DIRECTORY, VastSnapshots
from core.errors import InvalidParameters, Unavailable, Unsupported
from core.names import QuotaScope, VFolderId

#: VAST enforces limits to the byte.
GRANULE_BYTES = 1
#: The reference keeps the number of a scope's quota in this file.
_MARKER = ".vast-quota-id"
_STATUS = {"ONLINE": HardwareStatus.HEALTHY, "OFFLINE": HardwareStatus.OFFLINE}


class VastBackend(ArraySnapshots, ArrayInodeLimits, ArraySoftLimits):
    """VAST: quotas on paths, snapshots, the trash folder, capacity and rates of the cluster."""

    name: ClassVar[str] = "vast"
    doubtful: ClassVar[tuple[str, ...]] = ("snapshot", "inode-limit", "soft-limit")
    not_content: ClassVar[frozenset[str]] = frozenset({_MARKER})
    hidden_advice: ClassVar[str] = f"Let the view policy of the mounted view show {DIRECTORY}."

    def __init__(self, mount: Mount) -> None:
        options = options_of(mount, VastOptions)
        super().__init__(mount, options.deadline_seconds)
        self._base = "/" + options.vast_storage_base_dir.strip("/")
        self._api = VastApi(options)
        self._snapshots = VastSnapshots(self._api)

    def array_capacity(self) -> Capacity:
        """See `HasFastCapacity.array_capacity`; of the complete cluster."""
        with self._within_deadline():
            found = self._api.cluster()
        total = found.usable_capacity_bytes or found.physical_space
        return Capacity(total, found.physical_space_in_use)

    def performance(self) -> PerformanceMetric:
        """See `HasMetric.performance`; of the complete cluster, now."""
        with self._within_deadline():
            found = self._api.cluster()
        if found.rd_iops is None or found.wr_iops is None:
            raise Unavailable("VAST has no sample of the cluster's speed now.")
        return PerformanceMetric(
            iops_read=round(found.rd_iops),
            iops_write=round(found.wr_iops),
            io_bytes_read=round(found.rd_bw or 0),
            io_bytes_write=round(found.wr_bw or 0),
            io_usec_read=float(found.rd_latency or 0),
            io_usec_write=float(found.wr_latency or 0),
        )

    def before_purge(self, parent: int, name: str, vfolder: VFolderId | None = None) -> None:
        """See `MountedBackend.before_purge`: snapshots go; VAST removes the tree, if it may."""
        super().before_purge(parent, name, vfolder)
        self._remove_by_array(parent, name, lambda path: self._api.trash(self._array_path(path)))

    def _health(self) -> HardwareInfo:
        found = self._api.cluster()
        status = _STATUS.get(found.state, HardwareStatus.DEGRADED)
        healthy = status is HardwareStatus.HEALTHY
        info = None if healthy else f"The cluster's state is {found.state}."
        return HardwareInfo(status, info, {"state": found.state})

    def _available(self) -> Mapping[str, bool]:
        up = _STATUS.get(self._api.cluster().state) is not HardwareStatus.OFFLINE
        limits = dict.fromkeys(("quota", "inode-limit", "soft-limit"), up)
        return {**limits, "snapshot": self._snapshots.readable()}

    def _has_directory(self, path: str) -> bool | None:
        return self._api.knows(self._array_path(path))

    def _limit_unit(self) -> int:
        return GRANULE_BYTES

    def _usage(self, name: str) -> ArrayUsage:
        quota = self._api.find(self._array_path(name))
        if quota is None:
            return ArrayUsage()
        return ArrayUsage(
            quota.used_effective_capacity if quota.counted else None,
            quota.hard_limit or None,
            "hard" if quota.counted else None,
            soft_limit_bytes=quota.soft_limit or None,
            used_inodes=quota.used_inodes if quota.counted else None,
            limit_inodes=quota.hard_limit_inodes or None,
            exceeded=quota.exceeded,
        )

    # -- Limits --------------------------------------------------------------------------------
    def _apply_limit(self, name: str, limit_bytes: int | None) -> None:
        """Set the limit of bytes; a soft limit stays, unless it is above."""
        self._hold(name, "hard_limit", limit_bytes)

    def _apply_soft_limit(self, name: str, limit_bytes: int | None) -> None:
        quota = self._api.find(self._array_path(name))
        hard = quota.hard_limit if quota else None
        if limit_bytes is not None and hard and limit_bytes > hard:
            raise InvalidParameters(f"The soft limit is above the limit of {hard} bytes.")
        self._hold(name, "soft_limit", limit_bytes)

    def _apply_inode_limit(self, name: str, limit_inodes: int | None) -> None:
        self._hold(name, "hard_limit_inodes", limit_inodes)

    def _hold(self, name: str, kind: str, limit: int | None) -> None:
        """Set a limit of a scope's quota by its name in VAST; wait until it is in force."""
        path = self._array_path(name)
        quota = self._api.find(path)
        if quota is None:
            if limit is None and (kind != "hard_limit" or not self._is_empty(name)):
                return
            self._api.make(name, path, {kind: limit})
        elif _limit(quota, kind) == limit:
            return
        else:
            self._api.change(quota, _change(quota, kind, limit))

        def counted() -> bool | None:
            now = self._api.find(path)
            if now is None:
                return None
            if _limit(now, kind) != limit:  # another process made it at the same time
                self._api.change(now, _change(now, kind, limit))
                return None
            return now.counted

        await_limit(counted)

    def _remove_scope(self, scope: QuotaScope, root: int) -> None:
        """Remove the directory; the reference's file in it goes first."""
        with suppress(FileNotFoundError), self.open_scope(scope) as directory:
            if set(os.listdir(directory)) <= {_MARKER, layout.HIDDEN}:
                os.unlink(_MARKER, dir_fd=directory)
        super()._remove_scope(scope, root)

    def _remove_objects(self, name: str) -> bool:
        quota = self._api.find(self._array_path(name))
        if quota is not None:
            self._api.delete(quota)
        return quota is not None

    def _array_path(self, path: str) -> str:
        return f"{self._base.rstrip('/')}/{path}"

    # -- Snapshots -----------------------------------------------------------------------------
    def _list_snapshots(self, vfolder: VFolderId, prefix: str) -> list[ArraySnapshot]:
        return self._snapshots.named(prefix, self._array_path(str(vfolder.directory)))

    def _drop_all(self, vfolder: VFolderId) -> None:
        """See `ArraySnapshots._drop_all`: wherever VAST says that the directory was moved to."""
        for one in self._snapshots.named(self._prefix(vfolder)):
            self._snapshots.drop(one)

    def _make_snapshot(self, vfolder: VFolderId, name: str) -> ArraySnapshot:
        with self.open_vfolder(vfolder) as top:
            linux.sync_file_system(top)
        return self._snapshots.make(self._array_path(str(vfolder.directory)), name).known

    def _drop_snapshot(self, vfolder: VFolderId, snapshot: ArraySnapshot) -> None:
        del vfolder
        self._snapshots.drop(snapshot)

    def _snapshot_place(self, vfolder: VFolderId, name: str) -> PurePosixPath:
        return PurePosixPath(vfolder.directory) / DIRECTORY / name


class VastCloningBackend(VastBackend):
    """VAST that clones whole vfolders by itself."""

    doubtful: ClassVar[tuple[str, ...]] = (*VastBackend.doubtful, "instant-clone")

    def __init__(self, mount: Mount) -> None:
        super().__init__(mount)
        seconds = options_of(mount, VastOptions).vast_clone_seconds
        self._clones = VastClones(self._api, self._snapshots, seconds)

    def clone_tree(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """See `HasTreeClone.clone_tree`: a snapshot, and a stream that makes the target of it."""
        with self._within_deadline(), self.root() as root:
            self._prove(root)
            if not self._certain:
                raise Unsupported("This release of VAST cannot prove that it serves the mount.")
            linux.sync_file_system(root)
        places = (PurePosixPath(self._array_path(str(path))) for path in (source, target))
        self._clones.make(*places)
        with self._within_deadline(), self.root() as root:
            await_directory(root, str(target), self._deadline_seconds / 2)

    def _available(self) -> Mapping[str, bool]:
        found = super()._available()
        return {**found, "instant-clone": found["snapshot"]}


def vast(mount: Mount) -> VastBackend:
    """Make the backend that the options of the volume ask for."""
    clones = options_of(mount, VastOptions).vast_clones
    return VastCloningBackend(mount) if clones else VastBackend(mount)


def _limit(quota: VastQuota, kind: str) -> int | None:
    found: int | None = getattr(quota, kind)
    return found or None


def _change(quota: VastQuota, kind: str, limit: int | None) -> dict[str, int | None]:
    """Return the change of one limit; a soft limit above the new hard one is removed."""
    if kind == "hard_limit" and limit is not None and (quota.soft_limit or 0) > limit:
        return {kind: limit, "soft_limit": None}
    return {kind: limit}
