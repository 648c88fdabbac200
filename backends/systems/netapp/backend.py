"""netapp: the backend. The volume is mounted; ONTAP answers what the mount cannot."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import ClassVar, Literal

from msgspec import field

from backends.base import Capacity, HardwareInfo, Mount, PerformanceMetric, TreeUsage
from backends.fs import descriptors
from backends.mounted import (
    ArrayInodeLimits,
    ArraySoftLimits,
    ArrayUsage,
    await_directory,
    scope_lock,
)
from backends.mounted.rest import ArrayOptions, options_of
from backends.systems.netapp.api import OntapApi
from backends.systems.netapp.quota import OntapQuota
from backends.systems.netapp.volume import OntapVolume, refuse_offline
from core.names import VFolderId

#: Limits are multiples of this many bytes.
GRANULE_BYTES = 1024
#: The attribute cache of an NFS client may hide a new qtree for 30 seconds (acdirmin).
ATTRIBUTE_SECONDS = 45.0
#: The lock for changes of a volume's limits: ONTAP does one at a time.
_LIMITS_LOCK = 0


class NetAppOptions(ArrayOptions, frozen=True, kw_only=True):
    """Options of a volume on ONTAP; the prefix `netapp_` marks those of Backend.AI's proxy."""

    netapp_ontap_endpoint: str
    netapp_ontap_user: str
    netapp_ontap_password: str
    netapp_volume_name: str
    #: Required when the volume's name exists in several SVMs.
    netapp_svm: str | None = None
    #: For bulk copies, used by `backends.transfer.xcp`.
    xcp_catalog: str | None = None
    netapp_nfs_host: str | None = None
    netapp_xcp_cmd: list[str] = field(default_factory=list)
    #: `auto` allows switching quota off and on where ONTAP needs that to enforce a limit.
    netapp_quota_reinit: Literal["never", "auto"] = "never"
    #: Let ONTAP remove purged trees, as its own job.
    netapp_async_delete: bool = False
    #: How long a new quota scope may stay invisible on the mount.
    netapp_attribute_seconds: float = ATTRIBUTE_SECONDS


class NetAppBackend(ArrayInodeLimits, ArraySoftLimits):
    """ONTAP: qtrees, tree quotas, File System Analytics, performance samples."""

    name: ClassVar[str] = "netapp"
    doubtful: ClassVar[tuple[str, ...]] = ("fast-size", "inode-limit", "soft-limit")

    def __init__(self, mount: Mount) -> None:
        options = options_of(mount, NetAppOptions)
        super().__init__(mount, options.deadline_seconds)
        target = options.target(options.netapp_ontap_endpoint)
        user, password = options.netapp_ontap_user, options.netapp_ontap_password
        api = OntapApi(target, user, password, options.answer_seconds)
        self.making_seconds = options.netapp_attribute_seconds
        self._async_delete = options.netapp_async_delete
        self._volume = OntapVolume(api, options.netapp_volume_name, options.netapp_svm)
        self._quota = OntapQuota(self._volume, reinitialise=options.netapp_quota_reinit == "auto")

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
        """See `MountedBackend.before_purge`: ONTAP removes the tree, if the option is set.

        It has the time of one operation; the service removes what remains then.
        """
        del vfolder
        if self._async_delete:
            self._remove_by_array(parent, name, self._volume.remove_tree)

    def _prepare(self) -> None:
        """Switch quota on where it is off; ONTAP enforces no limit otherwise."""
        states = self._volume.states()
        refuse_offline(states)
        if states.quota_off:
            self._volume.enable_quota()

    def _available(self) -> Mapping[str, bool]:
        states = self._volume.states()
        held = states.holds_limits
        return {
            "quota": held,
            "inode-limit": held,
            "soft-limit": held,
            "fast-size": states.analysed,
        }

    def _has_directory(self, path: str) -> bool:
        return self._volume.has_directory(path)

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

    @contextmanager
    def _changing_limits(self) -> Iterator[None]:
        """Hold the lock of all limits of the volume over all nodes."""
        what = f"Quota of volume {self.mount.volume}"
        with self.root() as root, scope_lock.alone(root, _LIMITS_LOCK, what):
            yield
