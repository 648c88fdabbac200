"""What OneFS reports about the complete cluster: capacity, rates of NFS, health."""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from backends.base import Capacity, HardwareInfo, HardwareStatus, PerformanceMetric
from backends.mounted.rest import ArrayRefused, Reason
from backends.systems.onefs.connection import Platform

_TOTAL, _USED = "ifs.bytes.total", "ifs.bytes.used"
_READ, _WRITE = "read", "write"
#: The versions of the interface where these resources came; later ones have them too.
_STATISTICS, _SUMMARY, _HARDWARE = 1, 3, 3
_SEVERE = ("critical", "emergency")
_MILD = "warning"
#: Severities beyond this number are not read: the status is known by then.
_EVENTS_MAX = 1000


class _Statistic(Struct):
    key: str = ""
    value: float | str | None = None


class _Current(Struct):
    stats: list[_Statistic]


class _PoolUsage(Struct):
    usable_bytes: str | int | None = None
    used_bytes: str | int | None = None
    virtual_hot_spare_bytes: str | int | None = None


class _Pool(Struct):
    usage: _PoolUsage = field(default_factory=_PoolUsage)


class _Pools(Struct):
    storagepools: list[_Pool]
    resume: str | None = None


class _Operation(Struct, rename={"bytes_in": "in", "bytes_out": "out"}):
    kind: str = field(default="", name="class")
    operation_rate: float | None = None
    bytes_in: float | None = None
    bytes_out: float | None = None
    time_avg: float | None = None


class _Summary(Struct):
    protocol: list[_Operation]


class _Smartfail(Struct):
    dead: bool | None = None
    down: bool | None = None
    smartfailed: bool | None = None


class _ReadOnly(Struct):
    enabled: bool | None = None


class _NodeState(Struct):
    smartfail: _Smartfail | None = None
    readonly: _ReadOnly | None = None


class _ClusterNode(Struct):
    lnn: int | None = None
    state: _NodeState | None = None
    error: str | None = None

    @property
    def complaint(self) -> str | None:
        """Return what is wrong with the node; None when nothing is."""
        state = self.state or _NodeState()
        smartfail = state.smartfail or _Smartfail()
        words = {
            "dead": smartfail.dead,
            "down": smartfail.down or bool(self.error),
            "smartfailed": smartfail.smartfailed,
            "read-only": state.readonly and state.readonly.enabled,
        }
        return next((f"node {self.lnn} is {word}" for word, so in words.items() if so), None)


class _Nodes(Struct):
    nodes: list[_ClusterNode]
    resume: str | None = None


class _Event(Struct):
    severity: str = ""
    resolved: bool = False
    ignore: bool = False


class _Events(Struct):
    eventgroups: list[_Event] | None = None
    #: The name in releases before 9.
    occurrences: list[_Event] | None = field(default=None, name="eventgroup-occurrences")


def capacity(platform: Platform) -> Capacity:
    """Return the size and the usage of the cluster, from its statistics or else its pools."""
    path = platform.path("statistics/current", _STATISTICS)
    found = platform.client.get(path, _Current, keys=f"{_TOTAL},{_USED}").stats
    known = {one.key: _number(one.value) for one in found}
    if known.get(_TOTAL) is None:
        return _of_pools(platform)
    return Capacity(known[_TOTAL], known.get(_USED))


def _of_pools(platform: Platform) -> Capacity:
    path = platform.path("storagepool/storagepools", _SUMMARY)
    pools = list(platform.rows(path, _Pools, lambda page: (page.storagepools, page.resume)))
    total = used = 0
    for pool in pools:
        size, held = _number(pool.usage.usable_bytes), _number(pool.usage.used_bytes)
        if size is None or held is None:
            return Capacity(None, None)
        total += size - (_number(pool.usage.virtual_hot_spare_bytes) or 0)
        used += held
    return Capacity(total, used) if pools else Capacity(None, None)


def _number(text: float | str | None) -> int | None:
    """Return a number of bytes; pools write it as a string."""
    try:
        return None if text in (None, "") else int(text)
    except ValueError:
        return None


def performance(platform: Platform) -> PerformanceMetric:
    """Return the rates of NFS over the cluster; an idle cluster has no rows."""
    path = platform.path("statistics/summary/protocol", _SUMMARY)
    query = {"protocols": "nfs3,nfs4", "classes": f"{_READ},{_WRITE}"}
    rows = platform.client.get(path, _Summary, **query).protocol
    reads = [row for row in rows if row.kind == _READ]
    writes = [row for row in rows if row.kind == _WRITE]
    return PerformanceMetric(
        iops_read=round(_sum(row.operation_rate for row in reads)),
        iops_write=round(_sum(row.operation_rate for row in writes)),
        io_bytes_read=round(_sum(row.bytes_out for row in reads)),
        io_bytes_write=round(_sum(row.bytes_in for row in writes)),
        io_usec_read=_mean(reads),
        io_usec_write=_mean(writes),
    )


def _sum(values: Iterator[float | None]) -> float:
    return sum(value or 0.0 for value in values)


def _mean(rows: list[_Operation]) -> float:
    """Return the mean time of an operation in microseconds, weighted by the rates."""
    rate = _sum(row.operation_rate for row in rows)
    spent = sum((row.operation_rate or 0.0) * (row.time_avg or 0.0) for row in rows)
    return spent / rate if rate else 0.0


def health(platform: Platform) -> HardwareInfo:
    """Return the health by the nodes and the unresolved events; two requests."""
    path = platform.path("cluster/nodes", _HARDWARE)
    nodes = list(platform.rows(path, _Nodes, lambda page: (page.nodes, page.resume)))
    complaints = [one for node in nodes if (one := node.complaint)]
    events = _unresolved(platform)
    severe = sum(event.severity in _SEVERE for event in events or [])
    mild = sum(event.severity == _MILD for event in events or [])
    metadata = {
        "nodes": str(len(nodes)),
        "events": "unknown" if events is None else str(severe + mild),
    }
    if severe or mild:
        complaints.append(f"{severe} critical events and {mild} warnings are not resolved")
    if not complaints:
        return HardwareInfo(HardwareStatus.HEALTHY, None, metadata)
    return HardwareInfo(HardwareStatus.DEGRADED, f"{'; '.join(complaints)}.", metadata)


def _unresolved(platform: Platform) -> list[_Event] | None:
    """Return the events that are open; None when this user may not read them."""
    path = platform.path("event/eventgroup-occurrences", _HARDWARE)
    query: dict[str, Any] = {"resolved": False, "ignore": False, "limit": _EVENTS_MAX}
    try:
        found = platform.client.get(path, _Events, **query)
    except ArrayRefused as refusal:
        if refusal.reason is not Reason.DENIED:
            raise
        return None
    events = found.eventgroups if found.eventgroups is not None else found.occurrences
    return [event for event in events or [] if not event.resolved and not event.ignore]
