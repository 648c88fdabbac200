"""One ONTAP volume: which one it is, what state it is in, what it measures."""

from typing import Any
from urllib.parse import quote

from msgspec import Struct, field

from backends.base import Capacity, HardwareInfo, HardwareStatus, PerformanceMetric, TreeUsage
from backends.netapp.api import OntapApi
from backends.rest import ArrayRefused, Reason
from core.errors import BackendFailed, ConfigurationError, Unavailable

VOLUMES = "/api/storage/volumes"
_OFF, _ON, _CORRUPT = "off", "on", "corrupt"
#: Limits are held in these states; `mixed` and `initializing` become one of them.
_HELD_STATES = frozenset({_ON, "resizing"})


class Svm(Struct):
    """A storage virtual machine: volume names repeat across them."""

    uuid: str = ""
    name: str = ""


class VolumeIdentity(Struct):
    """Which volume it is."""

    uuid: str
    svm: Svm = field(default_factory=Svm)


class _VolumeState(Struct):
    state: str | None = None


class States(Struct):
    """What a volume says of itself; None where it says nothing."""

    state: str | None = None
    quota: _VolumeState = field(default_factory=_VolumeState)
    analytics: _VolumeState = field(default_factory=_VolumeState)

    @property
    def holds_limits(self) -> bool:
        """Whether limits are held now."""
        return self.quota.state in _HELD_STATES

    @property
    def quota_off(self) -> bool:
        """Whether nobody counts."""
        return self.quota.state == _OFF

    @property
    def analysed(self) -> bool:
        """Whether File System Analytics knows every directory."""
        return self.analytics.state == _ON


class _Space(Struct):
    afs_total: int | None = None
    size: int | None = None
    used: int | None = None


class _Sized(Struct):
    space: _Space = field(default_factory=_Space)


class _Rate(Struct):
    read: int = 0
    write: int = 0


class _Sample(Struct):
    status: str = ""
    iops: _Rate = field(default_factory=_Rate)
    throughput: _Rate = field(default_factory=_Rate)
    latency: _Rate = field(default_factory=_Rate)


class _Measured(Struct):
    metric: _Sample | None = None


class _Node(Struct):
    name: str = ""
    state: str = ""


class _Entry(Struct):
    type: str = ""


class _Analytics(Struct):
    bytes_used: int | None = None
    file_count: int | None = None
    incomplete_data: bool = False


class _Directory(Struct):
    analytics: _Analytics | None = None


class OntapVolume:
    """The volume that the options name; found once, and told from others of its name by its SVM."""

    def __init__(self, api: OntapApi, name: str, svm: str | None) -> None:
        self.api = api
        self._name = name
        self._svm = svm
        self._identity: VolumeIdentity | None = None

    @property
    def identity(self) -> VolumeIdentity:
        """Which volume it is; one request the first time.

        Raises:
            ConfigurationError: there is none of that name, or one in several SVMs.
        """
        if self._identity is None:
            self._identity = self._find()
        return self._identity

    @property
    def path(self) -> str:
        """Where it answers."""
        return f"{VOLUMES}/{self.identity.uuid}"

    def states(self) -> States:
        """How it is now; one request."""
        found: States = self._ask(States, "state,quota.state,analytics.state")
        return found

    def enable_quota(self, *, on: bool = True) -> None:
        """Switch quota on or off; already so is fine."""
        wanted = {"quota": {"enabled": on}}

        def reached() -> bool:
            return self.states().quota_off is not on

        self.api.change("PATCH", self.path, wanted, reached)

    def capacity(self) -> Capacity:
        """What clients see: the size less the snapshot reserve."""
        space = self._ask(_Sized, "space.size,space.used,space.afs_total").space
        total = space.size if space.afs_total is None else space.afs_total
        if total is None or space.used is None:
            return Capacity(total, space.used)
        return Capacity(max(total, space.used), space.used)

    def performance(self) -> PerformanceMetric:
        """Rates over the last 15 seconds, as ONTAP sampled them.

        Raises:
            Unavailable: there is no whole sample just now.
        """
        sample = self._ask(_Measured, "metric").metric
        if sample is None or sample.status != "ok":
            raise Unavailable("ONTAP has no whole sample of the volume's speed just now.")
        return PerformanceMetric(
            iops_read=sample.iops.read,
            iops_write=sample.iops.write,
            io_bytes_read=sample.throughput.read,
            io_bytes_write=sample.throughput.write,
            io_usec_read=float(sample.latency.read),
            io_usec_write=float(sample.latency.write),
        )

    def health(self) -> HardwareInfo:
        """The nodes as far as we may see them, and the volume; three requests."""
        states = self.states()
        try:
            nodes = list(self.api.records("/api/cluster/nodes", _Node, fields="name,state"))
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.DENIED:
                raise
            nodes = []
        down = sorted(node.name for node in nodes if node.state != "up")
        metadata = {"nodes": str(len(nodes)) if nodes else "unknown"}
        metadata |= {"volume": states.state or "unknown", "quota": states.quota.state or "unknown"}
        if states.state not in (None, "online"):
            info = f"The volume is {states.state}."
            return HardwareInfo(HardwareStatus.OFFLINE, info, metadata)
        if states.quota.state == _CORRUPT:
            return HardwareInfo(HardwareStatus.DEGRADED, "Quota is corrupt.", metadata)
        if down:
            info = f"Not up: {', '.join(down)}."
            return HardwareInfo(HardwareStatus.DEGRADED, info, metadata)
        return HardwareInfo(HardwareStatus.HEALTHY, None, metadata)

    def usage_of(self, path: str) -> TreeUsage:
        """What File System Analytics knows of a directory, by its path in the volume.

        `used_bytes` is what is on disk, `file_count` every entry below; not `complete` where
        analytics is off or has not seen everything yet.
        """
        url = f"{self.path}/files/{escaped(path)}"
        found = self.api.first(url, _Directory, return_metadata=True, fields="analytics")
        known = found.analytics if found else None
        if known is None or known.bytes_used is None or known.file_count is None:
            return TreeUsage(file_count=0, used_bytes=0, complete=False)
        return TreeUsage(known.file_count, known.bytes_used, complete=not known.incomplete_data)

    def has_directory(self, path: str) -> bool:
        """Whether a directory is at that path of the volume."""
        url = f"{self.path}/files/{escaped(path)}"
        try:
            return self.api.first(url, _Entry, return_metadata=True, fields="type") is not None
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            return False

    def remove_tree(self, path: str) -> None:
        """Have a directory and all below it removed; waits for ONTAP's job until the deadline.

        Raises:
            ArrayRefused, Busy, Lost, DeadlineExceeded: it is not known to be gone; the job goes on.
        """
        url = f"{self.path}/files/{escaped(path)}?recurse=true&return_timeout=0"
        self.api.change("DELETE", url, None, lambda: not self.has_directory(path))

    def _ask(self, shape: type[Any], fields: str) -> Any:  # noqa: ANN401 - an instance of `shape`
        return self.api.client.get(self.path, shape, fields=fields)

    def _find(self) -> VolumeIdentity:
        query = {"name": self._name, "svm.name": self._svm, "fields": "uuid,svm.uuid,svm.name"}
        found = list(self.api.records(VOLUMES, VolumeIdentity, **query))
        if not found:
            raise ConfigurationError(f"ONTAP knows no volume {self._name!r} that we may see.")
        if len(found) > 1:
            svms = ", ".join(sorted(one.svm.name for one in found))
            raise ConfigurationError(
                f"ONTAP has a volume {self._name!r} in several SVMs ({svms}); name one in "
                "`netapp_svm`.",
            )
        return found[0]


def escaped(path: str) -> str:
    """A path as ONTAP wants it inside of a URL: separators and dots escaped too."""
    return quote(path, safe="").replace(".", "%2E")


def refuse_offline(states: States) -> None:
    """Say that a volume is offline.

    Raises:
        BackendFailed: it is.
    """
    if states.state not in (None, "online"):
        raise BackendFailed(f"ONTAP says that the volume is {states.state}.")
