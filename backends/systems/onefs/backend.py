"""dellemc-onefs: the backend. The volume is mounted; OneFS answers what the mount cannot."""

import errno
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import ClassVar

from msgspec import Struct

from backends.base import Capacity, HardwareInfo, Mount, PerformanceMetric
from backends.fs import descriptors
from backends.mounted import ArrayUsage
from backends.mounted.rest import options_of
from backends.retention import ArraySnapshot, ArraySnapshots
from backends.systems.onefs import figures
from backends.systems.onefs.connection import OneFsOptions, Platform
from backends.systems.onefs.jobs import remove_tree
from backends.systems.onefs.quotas import OneFsQuotas
from backends.systems.onefs.snapshots import DIRECTORY, OneFsSnapshots
from core.errors import ConfigurationError, StorageError
from core.names import QuotaScope, VFolderId

#: OneFS enforces limits to the byte.
GRANULE_BYTES = 1
#: What rmdir(2) of a directory with a quota may fail with.
_HELD_BY_QUOTA = frozenset({errno.EPERM, errno.EACCES, errno.EBUSY})


class _Zone(Struct):
    path: str = "/ifs"


class _Zones(Struct):
    zones: list[_Zone]


class OneFsBackend(ArraySnapshots):
    """PowerScale: directory quotas, snapshots, capacity and rates of the cluster."""

    name: ClassVar[str] = "dellemc-onefs"
    doubtful: ClassVar[tuple[str, ...]] = ("snapshot",)

    def __init__(self, mount: Mount) -> None:
        options = options_of(mount, OneFsOptions)
        super().__init__(mount, options.deadline_seconds)
        self._base = options.base
        self._tree_delete = options.dell_tree_delete
        self._platform = Platform(options)
        self._quotas = OneFsQuotas(self._platform)
        self._snapshots = OneFsSnapshots(self._platform)

    def array_capacity(self) -> Capacity:
        """See `HasFastCapacity.array_capacity`; of the complete cluster."""
        with self._within_deadline():
            return figures.capacity(self._platform)

    def performance(self) -> PerformanceMetric:
        """See `HasMetric.performance`; of NFS over the complete cluster, now."""
        with self._within_deadline():
            return figures.performance(self._platform)

    def before_purge(self, parent: int, name: str, vfolder: VFolderId | None = None) -> None:
        """See `MountedBackend.before_purge`: snapshots go; OneFS removes the tree, if allowed.

        Its job has the time of one operation; the service removes what remains then.
        """
        super().before_purge(parent, name, vfolder)
        if self._tree_delete:
            self._remove_by_array(
                parent, name, lambda path: remove_tree(self._platform, self._array_path(path))
            )

    def _prepare(self) -> None:
        """Check the access zone: OneFS takes paths of another zone for missing ones."""
        zone = self._platform.zone
        if zone is None:
            return
        path = self._platform.path(f"zones/{zone}", 1)
        base = next(iter(self._platform.client.get(path, _Zones).zones), _Zone()).path
        if f"{self._base}/".startswith(f"{base.rstrip('/')}/"):
            return
        raise ConfigurationError(f"dell_ifs_path is not in the access zone {zone}, at {base}.")

    def _health(self) -> HardwareInfo:
        return figures.health(self._platform)

    def _available(self) -> Mapping[str, bool]:
        return {"quota": self._quotas.available(), "snapshot": self._shows_snapshots()}

    def _shows_snapshots(self) -> bool:
        """Return whether snapshots are licensed, and the mount shows them: an export may not."""
        with self.root() as root:
            shown = descriptors.exists(PurePosixPath(DIRECTORY), root)
        return shown and self._platform.licensed("snapshot") is not False

    def _has_directory(self, path: str) -> bool:
        return self._platform.has_directory(self._array_path(path))

    def _limit_unit(self) -> int:
        return GRANULE_BYTES

    def _usage(self, name: str) -> ArrayUsage:
        return self._quotas.held(self._array_path(name))

    def _apply_limit(self, name: str, limit_bytes: int | None) -> None:
        self._quotas.hold(self._array_path(name), limit_bytes)

    def _remove_objects(self, name: str) -> bool:
        return self._quotas.drop(self._array_path(name))

    def _remove_scope(self, scope: QuotaScope, root: int) -> None:
        """Remove the directory; where its quota forbids that, first the quota, then both."""
        try:
            super()._remove_scope(scope, root)
        except OSError as error:
            if error.errno not in _HELD_BY_QUOTA:
                raise
            path = self._array_path(scope.directory)
            limit = self._quotas.held(path).limit_bytes
            if not self._quotas.drop(path):
                raise
            try:
                super()._remove_scope(scope, root)
            except (OSError, StorageError):  # a vfolder was made meanwhile
                self._quotas.hold(path, limit)
                raise

    def _array_path(self, path: str) -> str:
        return f"{self._base}/{path}"

    def _list_snapshots(self, vfolder: VFolderId, prefix: str) -> list[ArraySnapshot]:
        del vfolder
        return self._snapshots.all(prefix)

    def _make_snapshot(self, vfolder: VFolderId, name: str) -> ArraySnapshot:
        return self._snapshots.make(self._array_path(str(vfolder.directory)), name)

    def _drop_snapshot(self, vfolder: VFolderId, snapshot: ArraySnapshot) -> None:
        del vfolder
        self._snapshots.drop(snapshot.number)

    def _snapshot_place(self, vfolder: VFolderId, name: str) -> PurePosixPath:
        return PurePosixPath(vfolder.directory) / DIRECTORY / name
