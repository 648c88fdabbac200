"""hammerspace: the backends. The share is mounted; the Anvil answers what the mount cannot."""

import errno
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import ClassVar

from msgspec import Struct

from backends.base import Capacity, Enforcement, HardwareInfo, HardwareStatus, Mount
from backends.fs import descriptors, layout, linux
from backends.mounted import ArrayUsage, PosixBackend, await_directory
from backends.mounted.rest import ArrayRefused, Reason, options_of
from backends.retention import ArraySnapshot, ArraySnapshots
from backends.systems.hammerspace.anvil import STATE, HammerspaceOptions, connect
from backends.systems.hammerspace.shares import PUBLISHED, HammerShare, Shares, number
from backends.systems.hammerspace.snapshots import DIRECTORY, ShareSnapshots
from core.errors import Conflict, QuotaScopeNotEmpty, Unsupported
from core.names import QuotaScope, VFolderId

#: Hammerspace enforces limits to the byte.
GRANULE_BYTES = 1
#: Another mount holds the directory, or the server has replaced it.
_MOUNTED = frozenset({errno.EBUSY, errno.ESTALE, errno.EXDEV})
_MANAGED, _UP, _OK = "MANAGED", "UP", "OK"


class _Sizes(Struct):
    total: str | int | None = None
    used: str | int | None = None


class _AnvilCluster(Struct):
    name: str = "unknown"
    capacity: _Sizes | None = None


class _AnvilNode(Struct):
    name: str = ""
    nodeState: str | None = None  # noqa: N815 - the Anvil's name


class _StorageVolume(Struct):
    name: str = ""
    operState: str | None = None  # noqa: N815 - the Anvil's name
    storageVolumeState: str | None = None  # noqa: N815 - the Anvil's name

    @property
    def complaint(self) -> str | None:
        """Return what is wrong with it; None when nothing is."""
        states = (self.operState or _UP, self.storageVolumeState or _OK)
        return None if states == (_UP, _OK) else f"volume {self.name} is {'/'.join(states)}"


class HammerspaceBaseBackend(PosixBackend):
    """A mounted share without the Anvil's interface: everything is as with `vfs`."""

    name: ClassVar[str] = "hammerspace-base"


class HammerspaceBackend(ArraySnapshots):
    """Hammerspace: a share per quota scope, its size limit, snapshots, capacity and health."""

    name: ClassVar[str] = "hammerspace"
    doubtful: ClassVar[tuple[str, ...]] = ("snapshot",)
    not_content: ClassVar[frozenset[str]] = frozenset({DIRECTORY})

    def __init__(self, mount: Mount) -> None:
        options = options_of(mount, HammerspaceOptions)
        super().__init__(mount, options.deadline_seconds)
        self.making_seconds = options.making_seconds
        self._anvil = connect(options)
        self._quota_shares = Shares(self._anvil, options)
        self._snapshots = ShareSnapshots(self._anvil, self._quota_shares)

    def array_capacity(self) -> Capacity:
        """See `HasFastCapacity.array_capacity`; of the complete cluster."""
        with self._within_deadline():
            found: _AnvilCluster = self._anvil.get(STATE, _AnvilCluster)
        sizes = found.capacity or _Sizes()
        return Capacity(number(sizes.total), number(sizes.used))

    def _available(self) -> Mapping[str, bool]:
        self._quota_shares.find(layout.HIDDEN)  # there is none; who may not read shares is refused
        return {"quota": True, "snapshot": True}

    def _health(self) -> HardwareInfo:
        """Return the health by the cluster's nodes and its storage volumes."""
        try:
            nodes: list[_AnvilNode] = self._anvil.get("/nodes", list[_AnvilNode])
            volumes: list[_StorageVolume] = self._anvil.get(
                "/storage-volumes", list[_StorageVolume]
            )
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.DENIED:
                raise
            self._anvil.get(STATE, _AnvilCluster)
            return HardwareInfo(HardwareStatus.HEALTHY, None, {"nodes": "unknown"})
        ill = [f"node {n.name} is {n.nodeState}" for n in nodes if _is_ill(n)]
        ill += [complaint for volume in volumes if (complaint := volume.complaint)]
        metadata = {"nodes": str(len(nodes)), "volumes": str(len(volumes))}
        if not ill:
            return HardwareInfo(HardwareStatus.HEALTHY, None, metadata)
        return HardwareInfo(HardwareStatus.DEGRADED, f"{'; '.join(ill)}.", metadata)

    def _has_directory(self, path: str) -> bool:
        return self._quota_shares.file(path) is not None

    def _limit_unit(self) -> int:
        return GRANULE_BYTES

    def _make_directory(self, root: int, name: str) -> None:
        self._make_limited(root, name, None)

    def _make_limited(self, root: int, name: str, limit_bytes: int | None) -> None:
        share = self._quota_shares.make(name, limit_bytes)
        await_directory(root, name, self.making_seconds)
        descriptors.inherit_owner(name, root)
        if share.limit != limit_bytes:  # it is older than this request
            self._quota_shares.limit(name, limit_bytes)

    def _usage(self, name: str) -> ArrayUsage:
        share = self._quota_shares.find(name)
        if share is None:
            return ArrayUsage()
        enforced: Enforcement = "hard" if share.shareState == PUBLISHED else "unknown"
        return ArrayUsage(share.used, share.limit, enforced)

    def _apply_limit(self, name: str, limit_bytes: int | None) -> None:
        """Limit the share of a directory; one that another tool made gets its share first."""
        if self._quota_shares.find(name) is not None:
            self._quota_shares.limit(name, limit_bytes)
        elif limit_bytes is not None:
            with self.root() as root:
                self._make_limited(root, name, limit_bytes)

    def _remove_scope(self, scope: QuotaScope, root: int) -> None:
        """Remove the share, then its directory by rmdir(2), which decides whether it is empty.

        The Anvil could remove both at once. Whether it then removes what was written meanwhile, its
        documents do not agree on.
        """
        share = self._quota_shares.find(scope.directory)
        if share is not None:
            if self._holds_files(scope.directory):
                raise QuotaScopeNotEmpty(f"Hammerspace still has files in quota scope {scope}.")
            self._quota_shares.remove(share)
        try:
            self._remove_directory(scope, root)
        except QuotaScopeNotEmpty:
            self._put_back(scope.directory, share)
            raise

    def _remove_directory(self, scope: QuotaScope, root: int) -> None:
        """Remove the directory; a mount of the removed share on it is taken away first."""
        try:
            super()._remove_scope(scope, root)
        except OSError as error:
            if error.errno not in _MOUNTED:
                raise
            try:
                linux.detach_mount(root, scope.directory)
            except OSError:
                raise Conflict(
                    f"The share of quota scope {scope} is removed, and this node still has it "
                    "mounted. Unmount it, then delete the quota scope again.",
                ) from None
            super()._remove_scope(scope, root)

    def _put_back(self, directory: str, share: HammerShare | None) -> None:
        if share is not None:
            self._quota_shares.make(directory, share.limit)

    def _check_gone(self, name: str) -> None:
        """See `ArrayQuotaBackend._check_gone`; an empty directory of the Anvil is fine."""
        if self._holds_files(name):
            raise Conflict(
                "The mount does not show this quota scope, and Hammerspace has files in it. Is "
                "this the share that is mounted?",
            )

    def _remove_objects(self, name: str) -> bool:
        share = self._quota_shares.find(name)
        if share is not None:
            self._quota_shares.remove(share)
        return share is not None

    def _holds_files(self, name: str) -> bool:
        """Ask the Anvil whether a directory has an entry, beside its snapshots."""
        found = self._quota_shares.file(name)
        children = (found and found.children) or []
        return any(child.name not in self.not_content for child in children)

    def _array_path(self, path: str) -> str:
        return self._quota_shares.path(path)

    def _list_snapshots(self, vfolder: VFolderId, prefix: str) -> list[ArraySnapshot]:
        if vfolder.scope is None:
            return []
        return self._snapshots.known(vfolder.scope.directory, prefix)

    def _make_snapshot(self, vfolder: VFolderId, name: str) -> ArraySnapshot:
        share = self._quota_shares.find(vfolder.scope.directory) if vfolder.scope else None
        if vfolder.scope is None or share is None:
            raise Unsupported(
                "Only a vfolder in a quota scope that is a share can be kept; this one is in a "
                "plain directory.",
            )
        with self.open_scope(vfolder.scope) as directory:
            linux.sync_file_system(directory)
        self._snapshots.make(share, name)
        return self._snapshots.known(vfolder.scope.directory, name)[0]

    def _drop_snapshot(self, vfolder: VFolderId, snapshot: ArraySnapshot) -> None:
        if vfolder.scope is not None:
            self._snapshots.drop(vfolder.scope.directory, snapshot.name)

    def _snapshot_place(self, vfolder: VFolderId, name: str) -> PurePosixPath:
        directory = PurePosixPath(vfolder.directory)
        if vfolder.scope is None:
            return PurePosixPath(DIRECTORY, name) / directory
        scope = vfolder.scope.directory
        return PurePosixPath(scope, DIRECTORY, name) / directory.relative_to(scope)


def _is_ill(node: _AnvilNode) -> bool:
    return node.nodeState not in (None, _MANAGED)
