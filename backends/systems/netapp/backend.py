"""netapp: the backend. The volume is mounted; ONTAP answers what the mount cannot."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import ClassVar

from backends.base import Capacity, HardwareInfo, Mount, PerformanceMetric, TreeUsage
from backends.fs import descriptors
from backends.mounted import (
    ArrayInodeLimits,
    ArraySoftLimits,
    ArrayUsage,
    await_directory,
    await_entry,
    scope_lock,
)
from backends.mounted.rest import ArrayRefused, Reason, options_of
from backends.retention import (
    PREFIX_LENGTH,
    ArraySnapshots,
    VolumeSnapshotSkill,
    read_plain,
    spelled_plainly,
)
from backends.systems.netapp.api import OntapApi
from backends.systems.netapp.options import NetAppOptions
from backends.systems.netapp.quota import OntapQuota
from backends.systems.netapp.snapshots import DIRECTORY, NAME_MAX, OntapSnapshots
from backends.systems.netapp.volume import OntapVolume, refuse_offline
from core.errors import StorageError, Unsupported
from core.names import VFolderId

#: Limits are multiples of this many bytes.
GRANULE_BYTES = 1024
#: The lock for changes of a volume's limits: ONTAP does one at a time.
_LIMITS_LOCK = 0


class NetAppBackend(ArrayInodeLimits, ArraySoftLimits, VolumeSnapshotSkill, ArraySnapshots):
    """ONTAP: qtrees, tree quotas, snapshots, File System Analytics, performance samples."""

    name: ClassVar[str] = "netapp"
    doubtful: ClassVar[tuple[str, ...]] = (
        "fast-size",
        "file-clone",
        "inode-limit",
        "snapshot",
        "soft-limit",
    )

    def __init__(self, mount: Mount) -> None:
        options = options_of(mount, NetAppOptions)
        super().__init__(mount, options.deadline_seconds)
        api = OntapApi(options)
        self.making_seconds = options.netapp_attribute_seconds
        self._async_delete = options.netapp_async_delete
        self._volume = OntapVolume(api, options.netapp_volume_name, options.netapp_svm)
        self._quota = OntapQuota(
            self._volume,
            reinitialise=options.netapp_quota_reinit == "auto",
            export_policy=options.netapp_export_policy,
            security_style=options.netapp_security_style,
        )
        self._clones_refused = False
        self._snapshots = OntapSnapshots(self._volume)

    def array_capacity(self) -> Capacity:
        """See `HasFastCapacity.array_capacity`: less the snapshot reserve, as clients see it."""
        with self._within_deadline():
            return self._volume.capacity()

    def performance(self) -> PerformanceMetric:
        """See `HasMetric.performance`: over 15 seconds, of the volume."""
        with self._within_deadline():
            return self._volume.performance()

    def fast_usage(self, vfolder: VFolderId) -> TreeUsage:
        """See `HasFastUsage.fast_usage`: by File System Analytics; bytes are those on disk."""
        with self._within_deadline(), self.open_vfolder(vfolder):
            return self._volume.usage_of(str(PurePosixPath(vfolder.directory)))

    def before_purge(self, parent: int, name: str, vfolder: VFolderId | None = None) -> None:
        """See `MountedBackend.before_purge`: snapshots go; ONTAP removes the tree, if allowed.

        It has the time of one operation; the service removes what remains then.
        """
        super().before_purge(parent, name, vfolder)
        if self._async_delete:
            self._remove_by_array(parent, name, self._volume.remove_tree)

    def export_path(self) -> PurePosixPath | None:
        """See `backends.transfer.xcp.exports`: the junction of the volume; one request."""
        try:
            with self._within_deadline():
                return self._volume.junction()
        except StorageError:
            return None

    def clone_file(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """See `HasFileClone.clone_file`: ONTAP's file clone.

        Where the user has no right to it, or the licence is missing, this process asks no more.
        """
        with self._within_deadline():
            try:
                self._volume.clone_file(str(source), str(target))
            except ArrayRefused as refusal:
                if refusal.reason not in (Reason.DENIED, Reason.INVALID):
                    raise
                self._clones_refused = True
                raise Unsupported(f"ONTAP clones no files here: {refusal.detail}") from None
            with self.root() as root:
                await_entry(root, str(target), self.making_seconds)

    def _prepare(self) -> None:
        """Switch quota on where it is off; ONTAP enforces no limit otherwise."""
        states = self._volume.states()
        refuse_offline(states)
        if states.quota_off and not self.mount.read_only:
            self._volume.enable_quota()

    def _available(self) -> Mapping[str, bool]:
        states = self._volume.states()
        held = states.holds_limits
        return {
            "quota": held,
            "inode-limit": held,
            "soft-limit": held,
            "snapshot": self._shows_snapshots(),
            "fast-size": states.analysed,
            "file-clone": states.clones_files and not self._clones_refused,
        }

    def _shows_snapshots(self) -> bool:
        """Return whether the mount shows snapshots: a volume may hide them."""
        with self.root() as root:
            return descriptors.exists(PurePosixPath(DIRECTORY), root)

    def _has_directory(self, path: str) -> bool:
        return self._volume.has_entry(path)

    def _health(self) -> HardwareInfo:
        return self._volume.health()

    def _limit_unit(self) -> int:
        return GRANULE_BYTES

    def _make_directory(self, root: int, name: str) -> None:
        self._quota.make_qtree(name)
        await_directory(root, name, self.making_seconds)
        descriptors.inherit_owner(name, root)

    def _usage(self, name: str) -> ArrayUsage:
        return self._quota.held(name)

    def _apply_limit(self, name: str, limit_bytes: int | None) -> None:
        with self._changing_limits():
            self._quota.hold(name, limit_bytes)

    def _apply_soft_limit(self, name: str, limit_bytes: int | None) -> None:
        with self._changing_limits():
            self._quota.hold_softly(name, limit_bytes)

    def _apply_inode_limit(self, name: str, limit_inodes: int | None) -> None:
        with self._changing_limits():
            self._quota.hold_inodes(name, limit_inodes)

    def _remove_objects(self, name: str) -> bool:
        with self._changing_limits():
            return self._quota.drop(name)

    def _array_path(self, path: str) -> str:
        return f"{self._volume.name}/{path}"

    def _spell_name(self, name: str) -> str:
        """See `ArraySnapshotSkill._spell_name`: ONTAP is strict about names of snapshots."""
        return spelled_plainly(name, NAME_MAX - PREFIX_LENGTH)

    def _read_name(self, spelled: str) -> str:
        return read_plain(spelled)

    def _snapshot_place(self, vfolder: VFolderId, name: str) -> PurePosixPath:
        return PurePosixPath(DIRECTORY, name) / vfolder.directory

    @contextmanager
    def _changing_limits(self) -> Iterator[None]:
        """Hold the lock of all limits of the volume over all nodes."""
        what = f"Quota of volume {self.mount.volume}"
        with self.root() as root, scope_lock.alone(root, _LIMITS_LOCK, what):
            yield
