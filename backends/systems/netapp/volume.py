"""One ONTAP volume: identity, state and measurements."""

from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import quote

from msgspec import Struct, field

from backends.base import Capacity, HardwareInfo, HardwareStatus, PerformanceMetric, TreeUsage
from backends.mounted.rest import ArrayRefused, Reason
from backends.systems.netapp.api import OntapApi
from core.errors import BackendFailed, ConfigurationError, Unavailable

VOLUMES = "/api/storage/volumes"
_EVENTS = "/api/support/ems/events"
#: An event has no end, so that only those of this time count (seconds).
EVENT_SECONDS = 3600
_EVENTS_SHOWN = 5
R = TypeVar("R")
#: How long the UUID of the volume's name is trusted (seconds).
IDENTITY_SECONDS = 60.0
_CLONES = "/api/storage/file/clone"
_FLEXVOL = "flexvol"
_OFF, _ON, _CORRUPT = "off", "on", "corrupt"
#: ONTAP enforces limits in these states; `mixed` and `initializing` become one of them.
_HELD_STATES = frozenset({_ON, "resizing"})


class Svm(Struct):
    """A storage virtual machine: volume names repeat across them."""

    uuid: str = ""
    name: str = ""


class VolumeIdentity(Struct):
    """The identity of a volume."""

    uuid: str
    svm: Svm = field(default_factory=Svm)


class _VolumeState(Struct):
    state: str | None = None


class States(Struct):
    """The states of a volume; None where ONTAP reports none."""

    state: str | None = None
    style: str | None = None
    quota: _VolumeState = field(default_factory=_VolumeState)
    analytics: _VolumeState = field(default_factory=_VolumeState)

    @property
    def holds_limits(self) -> bool:
        """Return whether ONTAP enforces limits now."""
        return self.quota.state in _HELD_STATES

    @property
    def quota_off(self) -> bool:
        """Return whether quota is off."""
        return self.quota.state == _OFF

    @property
    def clones_files(self) -> bool:
        """Return whether files can be cloned: ONTAP does so in a FlexVol."""
        return self.style == _FLEXVOL

    @property
    def analysed(self) -> bool:
        """Return whether File System Analytics has scanned every directory."""
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


class _Message(Struct):
    name: str = ""


class _EmsEvent(Struct):
    message: _Message = field(default_factory=_Message)


class _Nas(Struct):
    path: str | None = None


class _Joined(Struct):
    nas: _Nas = field(default_factory=_Nas)


class _Entry(Struct):
    type: str = ""


class _Analytics(Struct):
    bytes_used: int | None = None
    file_count: int | None = None
    incomplete_data: bool = False


class _Directory(Struct):
    analytics: _Analytics | None = None


class OntapVolume:
    """The volume that the options name; its SVM distinguishes it from namesakes."""

    def __init__(self, api: OntapApi, name: str, svm: str | None) -> None:
        self.api = api
        self.name = name
        self._svm = svm
        self._identity: VolumeIdentity | None = None
        self._found_at = 0.0

    @property
    def identity(self) -> VolumeIdentity:
        """Which volume it is; one request a minute.

        A volume that was deleted and made again under its name has another UUID. Lists of the old
        one are empty then, which would look like a scope without a limit.

        Raises:
            ConfigurationError: no volume has this name, or several SVMs have one.
        """
        if self._identity is None or monotonic() - self._found_at > IDENTITY_SECONDS:
            self._identity, self._found_at = self._find(), monotonic()
        return self._identity

    @property
    def path(self) -> str:
        """Return the path of the volume in the REST interface."""
        return f"{VOLUMES}/{self.identity.uuid}"

    def states(self) -> States:
        """Return its current states; one request."""
        found: States = self._ask(States, "state,style,quota.state,analytics.state")
        return found

    def enable_quota(self, *, on: bool = True) -> None:
        """Switch quota on or off; no error when it is so already."""
        wanted = {"quota": {"enabled": on}}

        def reached() -> bool:
            return self.states().quota_off is not on

        self.api.change("PATCH", self.path, wanted, reached)

    def capacity(self) -> Capacity:
        """Return the capacity that clients see: the size less the snapshot reserve."""
        space = self._ask(_Sized, "space.size,space.used,space.afs_total").space
        total = space.size if space.afs_total is None else space.afs_total
        if total is None or space.used is None:
            return Capacity(total, space.used)
        return Capacity(max(total, space.used), space.used)

    def performance(self) -> PerformanceMetric:
        """Return the rates over the last 15 seconds, as ONTAP sampled them.

        Raises:
            Unavailable: there is no complete sample at the moment.
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
        """Return the health of nodes, of the volume, and severe events; four requests."""
        states = self.states()
        nodes = self._visible("/api/cluster/nodes", _Node, fields="name,state") or []
        events = self._severe_events()
        down = sorted(node.name for node in nodes if node.state != "up")
        metadata = {"nodes": str(len(nodes)) if nodes else "unknown"}
        metadata |= {"volume": states.state or "unknown", "quota": states.quota.state or "unknown"}
        metadata["events"] = "unknown" if events is None else str(len(events))
        if states.state not in (None, "online"):
            info = f"The volume is {states.state}."
            return HardwareInfo(HardwareStatus.OFFLINE, info, metadata)
        if states.quota.state == _CORRUPT:
            return HardwareInfo(HardwareStatus.DEGRADED, "Quota is corrupt.", metadata)
        if down:
            info = f"Not up: {', '.join(down)}."
            return HardwareInfo(HardwareStatus.DEGRADED, info, metadata)
        if events:
            names = ", ".join(sorted(set(events))[:_EVENTS_SHOWN])
            info = f"Severe events in the last hour: {names}."
            return HardwareInfo(HardwareStatus.DEGRADED, info, metadata)
        return HardwareInfo(HardwareStatus.HEALTHY, None, metadata)

    def junction(self) -> PurePosixPath | None:
        """Return where the volume is in the namespace of its SVM; None where it is nowhere."""
        path = self._ask(_Joined, "nas.path").nas.path
        return PurePosixPath(path) if path else None

    def _severe_events(self) -> list[str] | None:
        """Return the names of the alerts and emergencies of the last hour; None when unknown."""
        since = datetime.now(UTC) - timedelta(seconds=EVENT_SECONDS)
        rows = self._visible(
            _EVENTS,
            _EmsEvent,
            **{"message.severity": "emergency|alert", "time": f">{since:%Y-%m-%dT%H:%M:%SZ}"},
            fields="message.name",
        )
        return None if rows is None else [row.message.name for row in rows]

    def _visible(self, path: str, row: type[R], **query: Any) -> list[R] | None:  # noqa: ANN401 - JSON values
        """Return a list of the cluster; None where the user may not see it."""
        try:
            return list(self.api.records(path, row, **query))
        except ArrayRefused as refusal:
            if refusal.reason not in (Reason.DENIED, Reason.NOT_FOUND):
                raise
            return None

    def usage_of(self, path: str) -> TreeUsage:
        """Return the figures of File System Analytics for a directory, by its path in the volume.

        `used_bytes` is the space on disk, `file_count` counts every entry below. `complete` is
        false while analytics is off or still scans.
        """
        url = f"{self.path}/files/{escaped(path)}"
        found = self.api.first(url, _Directory, return_metadata=True, fields="analytics")
        known = found.analytics if found else None
        if known is None or known.bytes_used is None or known.file_count is None:
            return TreeUsage(file_count=0, used_bytes=0, complete=False)
        return TreeUsage(known.file_count, known.bytes_used, complete=not known.incomplete_data)

    def has_entry(self, path: str) -> bool:
        """Return whether a directory or a file exists at that path of the volume."""
        url = f"{self.path}/files/{escaped(path)}"
        try:
            return self.api.first(url, _Entry, return_metadata=True, fields="type") is not None
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            return False

    def remove_tree(self, path: str) -> None:
        """Let ONTAP remove a directory tree; wait for its job until the deadline.

        Raises:
            ArrayRefused, Busy, Lost, DeadlineExceeded: it is unknown whether the tree is gone; the
            job continues.
        """
        url = f"{self.path}/files/{escaped(path)}?recurse=true&return_timeout=0"
        self.api.change("DELETE", url, None, lambda: not self.has_entry(path))

    def clone_file(self, source: str, target: str) -> None:
        """Make a file that shares the blocks of another one; a target that exists stays.

        Raises:
            ArrayRefused: ONTAP refused.
        """
        body = {
            "volume": {"uuid": self.identity.uuid, "name": self.name},
            "source_path": source,
            "destination_path": target,
        }
        self.api.make(_CLONES, body, lambda: self.has_entry(target))

    def _ask(self, shape: type[Any], fields: str) -> Any:  # noqa: ANN401 - an instance of `shape`
        """Ask for facts of the volume; one that is gone is looked up once more."""
        try:
            return self.api.client.get(self.path, shape, fields=fields)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            self._identity = None
            return self.api.client.get(self.path, shape, fields=fields)

    def _find(self) -> VolumeIdentity:
        query = {"name": self.name, "svm.name": self._svm, "fields": "uuid,svm.uuid,svm.name"}
        found = list(self.api.records(VOLUMES, VolumeIdentity, **query))
        if not found:
            raise ConfigurationError(f"ONTAP knows no volume {self.name!r} that we may see.")
        if len(found) > 1:
            svms = ", ".join(sorted(one.svm.name for one in found))
            raise ConfigurationError(
                f"ONTAP has a volume {self.name!r} in several SVMs ({svms}); name one in "
                "`netapp_svm`.",
            )
        return found[0]


def escaped(path: str) -> str:
    """Return a path as ONTAP needs it in a URL: separators and dots are escaped too."""
    return quote(path, safe="").replace(".", "%2E")


def refuse_offline(states: States) -> None:
    """Raise when a volume is offline.

    Raises:
        BackendFailed: the volume is offline.
    """
    if states.state not in (None, "online"):
        raise BackendFailed(f"ONTAP says that the volume is {states.state}.")
