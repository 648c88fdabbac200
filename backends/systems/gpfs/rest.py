"""One file system of a Storage Scale cluster by the management API (v2)."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from msgspec import Struct, field

from backends.base import Capacity, HardwareInfo, HardwareStatus, PerformanceMetric
from backends.mounted.rest import ArrayRefused, ArrayRequest, Reason
from backends.systems.gpfs import rates
from backends.systems.gpfs.gui import API, Gui, Paging, failure
from backends.systems.gpfs.interface import (
    FilesetNotEmpty,
    FilesetQuota,
    FullScaleInterface,
    LimitKind,
    LimitPair,
    ScaleFileset,
    ScaleFileSystem,
    ScaleSnapshot,
    exceeded,
)
from backends.systems.gpfs.options import GpfsOptions
from core.errors import ConfigurationError

_KIB = 1024
#: The refreshes of the GUI's database.
_FILESETS, _QUOTAS, _SNAPSHOTS = "FILESETS", "QUOTA", "SNAPSHOTS"
_FILESET_QUOTA = "FILESET"
#: Paths of a fileset that is not linked.
_NOT_LINKED = ("", "--")
#: What a failed deletion says of a fileset with content.
NOT_EMPTY = "not empty"
#: The states of a snapshot that is not there any more.
_DELETING = frozenset({"deleting", "deleted", "deleterequired"})
_PERMISSIONS = "755"
#: The setting that makes fileset quotas bind root; without a value it is off.
ROOT_SETTING = "enforceFilesetQuotaOnRoot"
_WELL = frozenset({"HEALTHY", "TIPS"})
_ALL = ":all:"


class _GuiQuotaState(Struct, rename="camel"):
    quotas_enforced: str | None = None
    perfileset_quotas: bool | None = None


class _GuiMount(Struct, rename="camel"):
    mount_point: str = ""


class _GuiBlock(Struct, rename="camel"):
    block_size: int | None = None


class _GuiFileSystem(Struct):
    name: str = ""
    block: _GuiBlock = field(default_factory=_GuiBlock)
    mount: _GuiMount = field(default_factory=_GuiMount)
    quota: _GuiQuotaState = field(default_factory=_GuiQuotaState)


class _GuiFileSystems(Struct):
    filesystems: list[_GuiFileSystem]


class _GuiFilesetConfig(Struct):
    path: str | None = None


class _GuiFileset(Struct, rename="camel"):
    fileset_name: str
    config: _GuiFilesetConfig = field(default_factory=_GuiFilesetConfig)

    @property
    def known(self) -> ScaleFileset:
        """Return it as the backend knows it."""
        path = self.config.path
        return ScaleFileset(self.fileset_name, None if path in _NOT_LINKED else path)


class _GuiFilesets(Struct):
    filesets: list[_GuiFileset]
    paging: Paging | None = None


class _GuiQuota(Struct, rename="camel"):
    object_name: str = ""
    quota_type: str = ""
    block_usage: int | None = None
    block_quota: int | None = None
    block_limit: int | None = None
    block_grace: str | None = None
    files_usage: int | None = None
    files_quota: int | None = None
    files_limit: int | None = None
    files_grace: str | None = None
    is_default_quota: bool = False

    @property
    def known(self) -> FilesetQuota:
        """Return it as the backend knows it."""
        return FilesetQuota(
            used_bytes=None if self.block_usage is None else self.block_usage * _KIB,
            block=LimitPair(
                (self.block_quota or 0) * _KIB or None, (self.block_limit or 0) * _KIB or None
            ),
            by_default=self.is_default_quota,
            used_inodes=self.files_usage,
            files=LimitPair(self.files_quota or None, self.files_limit or None),
            exceeded=exceeded(self.block_grace or "", self.files_grace or ""),
        )


class _GuiQuotas(Struct):
    quotas: list[_GuiQuota]
    paging: Paging | None = None


class _GuiSnapshot(Struct, rename={"name": "snapshotName", "number": "snapshotID"}):
    name: str
    number: int | str = 0
    status: str = ""


class _GuiSnapshots(Struct):
    snapshots: list[_GuiSnapshot]
    paging: Paging | None = None


class _GuiPool(Struct, rename={"name": "storagePoolName", "total": "totalDataInKB"}):
    name: str
    total: int | None = None
    free: int | None = field(default=None, name="freeDataInKB")


class _GuiPools(Struct, rename="camel"):
    storage_pools: list[_GuiPool]


class _GuiNodeStatus(Struct, rename="camel"):
    node_state: str | None = None
    gpfs_state: str | None = None


class _GuiNode(Struct, rename="camel"):
    admin_node_name: str = ""
    status: _GuiNodeStatus = field(default_factory=_GuiNodeStatus)


class _GuiNodes(Struct):
    nodes: list[_GuiNode]
    paging: Paging | None = None


class _GuiState(Struct):
    component: str = ""
    state: str = ""


class _GuiStates(Struct):
    states: list[_GuiState]
    paging: Paging | None = None


class RestInterface(FullScaleInterface):
    """The management API (v2)."""

    def __init__(self, options: GpfsOptions) -> None:
        self._options = options
        self._gui = Gui(options)
        self._fs = f"/filesystems/{quote(options.gpfs_fs_name, safe='')}"

    def file_system(self) -> ScaleFileSystem:
        """See `ScaleInterface.file_system`; two requests."""
        found = self._gui.client.find(API + self._fs, _GuiFileSystems, fields=_ALL)
        one = found.filesystems[0] if found and found.filesystems else _GuiFileSystem()
        if one.block.block_size is None:
            name = self._options.gpfs_fs_name
            raise ConfigurationError(f"Storage Scale has no file system {name!r} that we may see.")
        return ScaleFileSystem(
            mount_point=one.mount.mount_point,
            block_bytes=one.block.block_size,
            enforced="fileset" in (one.quota.quotas_enforced or "").lower(),
            per_fileset=bool(one.quota.perfileset_quotas),
            holds_root=self._holds_root(),
        )

    def _holds_root(self) -> bool | None:
        try:
            found = self._gui.client.get(f"{API}/config", dict[str, Any], fields=_ALL)
        except ArrayRefused:
            return None
        return holds_root(found.get("config"))

    def fileset(self, name: str) -> ScaleFileset | None:
        """See `ScaleInterface.fileset`."""
        found = self._gui.client.find(API + self._of(name), _GuiFilesets, fields=_ALL)
        filesets = found.filesets if found else []
        return next((one.known for one in filesets if one.fileset_name == name), None)

    def linked_at(self, path: str) -> ScaleFileset | None:
        """See `ScaleInterface.linked_at`."""
        rows: Iterator[_GuiFileset] = self._gui.rows(
            f"{self._fs}/filesets",
            _GuiFilesets,
            lambda page: (page.filesets, page.paging),
            fields=_ALL,
        )
        return next((row.known for row in rows if row.known.path == path), None)

    def create(self, name: str, path: str, owner: str) -> None:
        """See `ScaleInterface.create`."""
        options = self._options
        body: dict[str, Any] = {
            "filesetName": name,
            "path": path,
            "owner": owner,
            "permissions": _PERMISSIONS,
            "inodeSpace": options.gpfs_inode_space,
        }
        if options.gpfs_max_inodes is not None:
            body["maxNumInodes"] = str(options.gpfs_max_inodes)
        if options.gpfs_alloc_inodes is not None:
            body["allocInodes"] = str(options.gpfs_alloc_inodes)
        request = ArrayRequest("POST", f"{self._fs}/filesets", body=body)
        self._gui.change(request, lambda: self.fileset(name) is not None, _FILESETS)

    def link(self, name: str, path: str) -> None:
        """See `ScaleInterface.link`."""
        request = ArrayRequest("POST", f"{self._of(name)}/link", body={"path": path})
        self._gui.change(request, lambda: self._path_of(name) == path, _FILESETS)

    def unlink(self, name: str) -> None:
        """See `ScaleInterface.unlink`."""
        request = ArrayRequest("DELETE", f"{self._of(name)}/link")
        self._gui.change(request, lambda: self._path_of(name) is None, _FILESETS)

    def delete(self, name: str) -> None:
        """See `ScaleInterface.delete`."""
        request = ArrayRequest("DELETE", self._of(name))
        try:
            self._gui.change(request, lambda: self.fileset(name) is None, _FILESETS)
        except ArrayRefused as refusal:
            if refusal.reason is Reason.NOT_FOUND:
                return
            if NOT_EMPTY in refusal.detail.lower():
                raise FilesetNotEmpty(refusal.detail) from None
            raise

    def quota(self, name: str) -> FilesetQuota:
        """See `ScaleInterface.quota`."""
        query = {"filter": f"objectName={name},quotaType={_FILESET_QUOTA}"}
        rows: Iterator[_GuiQuota] = self._gui.rows(
            f"{self._fs}/quotas", _GuiQuotas, lambda page: (page.quotas, page.paging), **query
        )
        for row in rows:
            if (row.object_name, row.quota_type.upper()) == (name, _FILESET_QUOTA):
                return row.known
        return FilesetQuota()

    def set_limits(
        self, name: str, kind: LimitKind, limits: LimitPair, *, per_fileset: bool
    ) -> None:
        """See `ScaleInterface.set_limits`; the interface takes strings, of bytes with a unit."""
        soft, hard = (_spelled(kind, limit) for limit in (limits.soft, limits.hard))
        body = {
            "operationType": "setQuota",
            "quotaType": "fileset",
            "objectName": name,
            f"{kind}SoftLimit": soft,
            f"{kind}HardLimit": hard,
        }
        path = f"{self._of(name)}/quotas" if per_fileset else f"{self._fs}/quotas"
        request = ArrayRequest("POST", path, body=body)
        self._gui.change(request, lambda: getattr(self.quota(name), kind) == limits, _QUOTAS)

    def snapshots(self, fileset: str) -> list[ScaleSnapshot]:
        """See `ScaleInterface.snapshots`."""
        rows: Iterator[_GuiSnapshot] = self._gui.rows(
            f"{self._of(fileset)}/snapshots",
            _GuiSnapshots,
            lambda page: (page.snapshots, page.paging),
            fields=_ALL,
        )
        try:
            found = [row for row in rows if row.status.lower() not in _DELETING]
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            return []
        return [ScaleSnapshot(row.name, int(row.number)) for row in found]

    def create_snapshot(self, fileset: str, name: str) -> None:
        """See `ScaleInterface.create_snapshot`."""
        path, body = f"{self._of(fileset)}/snapshots", {"snapshotName": name}
        request = ArrayRequest("POST", path, body=body)
        self._gui.change(request, lambda: self._has_snapshot(fileset, name), _SNAPSHOTS)

    def delete_snapshot(self, fileset: str, name: str) -> None:
        """See `ScaleInterface.delete_snapshot`."""
        path = f"{self._of(fileset)}/snapshots/{quote(name, safe='')}"
        request = ArrayRequest("DELETE", path)
        try:
            self._gui.change(request, lambda: not self._has_snapshot(fileset, name), _SNAPSHOTS)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise

    def has_directory(self, mount_point: str, path: str) -> bool:
        """See `ScaleInterface.has_directory`; a job of the cluster."""
        del mount_point
        try:
            job = self._gui.answer_of(f"{self._fs}/directory/{quote(path, safe='')}")
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            return False
        if job.status == "COMPLETED":
            return True
        failed = failure(job)
        if failed.reason is not Reason.NOT_FOUND:
            raise failed
        return False

    def capacity(self) -> Capacity:
        """See `ScaleInterface.capacity`: the sum of the pools; a request for each."""
        names = self._gui.client.get(f"{API}{self._fs}/pools", _GuiPools).storage_pools
        total = used = 0
        for one in names:
            path = f"{API}{self._fs}/pools/{quote(one.name, safe='')}"
            pool = self._gui.client.get(path, _GuiPools, fields=_ALL).storage_pools[0]
            if pool.total is None or pool.free is None:
                continue  # a pool of metadata only
            total += pool.total * _KIB
            used += (pool.total - pool.free) * _KIB
        return Capacity(total, used) if total else Capacity(None, None)

    def performance(self) -> PerformanceMetric:
        """Return the rates of the file system over the last minute."""
        query = rates.query(self._options.gpfs_fs_name)
        found = self._gui.client.get(f"{API}/perfmon/data", rates.PerfMon, query=query)
        return rates.metric(found.performance_data)

    def health(self) -> HardwareInfo:
        """See `ScaleInterface.health`; a request more for each node that is not well."""
        nodes: list[_GuiNode] = list(
            self._gui.rows("/nodes", _GuiNodes, lambda page: (page.nodes, page.paging), fields=_ALL)
        )
        ill = [node for node in nodes if not _is_well(node)]
        metadata = {"nodes": str(len(nodes)), "nodes_not_healthy": str(len(ill))}
        if not ill:
            return HardwareInfo(HardwareStatus.HEALTHY, None, metadata)
        words = [self._complaint(node) for node in ill]
        return HardwareInfo(HardwareStatus.DEGRADED, f"{'; '.join(words)}.", metadata)

    def _complaint(self, node: _GuiNode) -> str:
        path = f"/nodes/{quote(node.admin_node_name, safe='')}/health/states"
        rows: Iterator[_GuiState] = self._gui.rows(
            path, _GuiStates, lambda page: (page.states, page.paging), fields=_ALL
        )
        found = sorted(f"{row.component} {row.state}" for row in rows if row.state not in _WELL)
        state = node.status.node_state or node.status.gpfs_state or "UNKNOWN"
        return f"node {node.admin_node_name} is {state} ({', '.join(found) or 'no component'})"

    def _has_snapshot(self, fileset: str, name: str) -> bool:
        return any(one.name == name for one in self.snapshots(fileset))

    def _path_of(self, name: str) -> str | None:
        found = self.fileset(name)
        return found.path if found else None

    def _of(self, name: str) -> str:
        return f"{self._fs}/filesets/{quote(name, safe='')}"


def _spelled(kind: LimitKind, limit: int | None) -> str:
    return f"{(limit or 0) // _KIB}K" if kind == "block" else str(limit or 0)


def _is_well(node: _GuiNode) -> bool:
    states = (node.status.node_state, node.status.gpfs_state)
    return all(state in _WELL for state in states if state is not None) and any(states)


def holds_root(config: object) -> bool | None:
    """Return whether root keeps to fileset quotas, from a cluster's settings; None: no settings.

    The setting is off where the cluster lists no value of it.
    """
    if not isinstance(config, dict) or not config:
        return None
    for key, value in config.items():
        if key == ROOT_SETTING:
            return str(value).lower() in ("yes", "true", "1")
        if isinstance(value, dict) and value and (found := holds_root(value)):
            return found
    return False
