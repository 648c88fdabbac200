"""The health of a WEKA cluster: its status, its parts, and its alerts."""

import re

from msgspec import Struct, field

from backends.base import HardwareInfo, HardwareStatus
from backends.mounted.rest import ArrayRefused, Reason
from backends.systems.weka.api import WekaApi
from core.errors import ConfigurationError

_OK, _AWAY, _STARTED = "OK", "UNAVAILABLE", "STARTED"
#: Alerts of these severities say that something is broken; others are hints.
_SEVERE = frozenset({"CRITICAL", "MAJOR"})
_RELEASE = re.compile(r"(\d+)\.(\d+)")
#: The first release that finds the inode of a path.
_RESOLVES = (4, 3)
#: So many alerts are named.
_NAMED_MAX = 3


class WekaParts(Struct):
    """How many parts of a kind the cluster has, and how many of them work."""

    active: int = 0
    total: int = 0


class _WekaHosts(Struct):
    backends: WekaParts = field(default_factory=WekaParts)


class WekaCluster(Struct):
    """The status of the cluster."""

    status: str = "unknown"
    release: str = "unknown"
    io_status: str = _STARTED
    hosts: _WekaHosts = field(default_factory=_WekaHosts)
    drives: WekaParts = field(default_factory=WekaParts)
    io_nodes: WekaParts = field(default_factory=WekaParts)

    @property
    def parts(self) -> dict[str, WekaParts]:
        """Return its parts by what they are."""
        return {"backends": self.hosts.backends, "drives": self.drives, "processes": self.io_nodes}


class WekaAlert(Struct):
    """An ongoing problem; an administrator may mute it."""

    type: str = ""
    severity: str = ""
    title: str = ""
    muted: bool = False


def health(api: WekaApi) -> HardwareInfo:
    """Return the health of the cluster; two requests.

    A user who may not read the alerts gets the rest.
    """
    found = api.get("/cluster", WekaCluster)
    ill = [] if found.status == _OK else [f"The cluster's status is {found.status}."]
    if found.io_status != _STARTED:
        ill.append(f"The cluster's I/O is {found.io_status}.")
    ill += [
        f"{parts.active} of {parts.total} {kind} are active."
        for kind, parts in found.parts.items()
        if parts.active < parts.total
    ]
    alerts = _alerts(api)
    ill += _complaints(alerts or [])
    metadata = {"status": found.status, "release": found.release}
    metadata["alerts"] = "unknown" if alerts is None else str(len(alerts))
    return HardwareInfo(_status(found, ill), " ".join(ill) or None, metadata)


def refuse_old(api: WekaApi) -> None:
    """Refuse a release that resolves no paths, for which every path is missing.

    Raises:
        ConfigurationError: the release is older than 4.3.
    """
    release = api.get("/cluster", WekaCluster).release
    known = _RELEASE.match(release)
    if known and (int(known[1]), int(known[2])) < _RESOLVES:
        raise ConfigurationError(
            f'WEKA {release} resolves no paths; set weka_inode_source = "stat", which uses the '
            "inode numbers of the mount."
        )


def _status(found: WekaCluster, ill: list[str]) -> HardwareStatus:
    if found.status == _AWAY:
        return HardwareStatus.OFFLINE
    return HardwareStatus.DEGRADED if ill else HardwareStatus.HEALTHY


def _alerts(api: WekaApi) -> list[WekaAlert] | None:
    """Return the alerts that no administrator muted; None without the right to read them."""
    try:
        return [alert for alert in api.get("/alerts", list[WekaAlert]) if not alert.muted]
    except ArrayRefused as refusal:
        if refusal.reason is not Reason.DENIED:
            raise
        return None


def _complaints(alerts: list[WekaAlert]) -> list[str]:
    severe = [alert for alert in alerts if alert.severity.upper() in _SEVERE]
    named = [f"Alert: {alert.title or alert.type}." for alert in severe[:_NAMED_MAX]]
    more = len(severe) - len(named)
    return [*named, f"{more} more alerts."] if more > 0 else named
