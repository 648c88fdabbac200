"""What needs an operator: a pure function from figures to a list, the worst first."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from core.names import counted

#: Shares of a volume's space and inodes from which it is said, and is bad.
FULL_WARN, FULL_BAD = 0.90, 0.97
#: A job that waits longer is said (seconds).
WAIT_WARN_SECONDS = 600.0
#: What is later than this was missed by more than one sweep (seconds).
OVERDUE_SECONDS = 3600.0
#: A node that is silent for longer was probably taken away, and is no news (seconds).
GONE_SECONDS = 3600.0
_ORDER = {"bad": 0, "warn": 1, "info": 2}


@dataclass(frozen=True, slots=True)
class Attention:
    """One thing that needs an operator."""

    severity: str
    kind: str
    target: str
    text: str
    act: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the list is made of: the documents of the other pages."""

    nodes: list[dict[str, Any]]
    volumes: list[dict[str, Any]]
    #: By error code, jobs that failed in the last hour.
    failures: dict[str, int]
    #: By volume, quota scopes at 90 % of their limit or more.
    full_scopes: dict[str, int]
    unpublished: int
    #: Connections that the store has and may have; None is unknown.
    connections: tuple[int, int] | None = None


def attention(figures: Figures) -> list[Attention]:
    """Return what needs an operator, the worst first."""
    found = [
        *_of_nodes(figures.nodes),
        *(one for volume in figures.volumes for one in _of_volume(volume)),
        *_of_jobs(figures.failures),
        *_of_scopes(figures.full_scopes),
        *_of_store(figures),
    ]
    return sorted(found, key=lambda one: _ORDER[one.severity])


def health(found: Iterable[Attention]) -> dict[str, str]:
    """Return the health of the cluster as one word and one sentence."""
    listed = list(found)
    bad = sum(one.severity == "bad" for one in listed)
    warn = sum(one.severity == "warn" for one in listed)
    if bad:
        return {"state": "bad", "text": f"{counted(bad, 'thing')} must be mended now."}
    if warn:
        return {"state": "warn", "text": f"{counted(warn, 'thing')} should be looked at."}
    return {"state": "ok", "text": "All nodes and volumes are ready."}


def _of_nodes(nodes: list[dict[str, Any]]) -> Iterator[Attention]:
    versions = sorted({one["version"] for one in nodes if one["alive"]})
    for node in nodes:
        name, target = node["id"], f"node:{node['id']}"
        silent = node["silent_seconds"]
        if not node["alive"] and silent is not None and silent < GONE_SECONDS:
            text = f"Node {name} is silent for {_time(silent)}. Its jobs go to other nodes."
            yield Attention("bad", "node-silent", target, text, None, {"silent_seconds": silent})
        elif node["alive"] and node["draining"]:
            left = f"; {counted(node['running'], 'job')} still run" if node["running"] else ""
            text = f"Node {name} is drained and takes no jobs{left}."
            yield Attention(
                "info", "node-draining", target, text, "undrain", {"running": node["running"]}
            )
    if len(versions) > 1:
        text = f"The nodes run different versions: {', '.join(versions)}."
        yield Attention("info", "versions-differ", "nodes", text, None, {"versions": versions})


def _of_volume(volume: dict[str, Any]) -> Iterator[Attention]:
    name, target = volume["name"], f"volume:{volume['name']}"
    state, reason = volume["state"], volume["state_reason"] or "no reason is known"
    if state == "away":
        text = f"No node can serve volume {name}: {reason.rstrip('.')}."
        yield Attention("bad", "volume-away", target, text, None, {"reason": reason})
    elif state == "partly":
        lacking = [one["id"] for one in volume["nodes"] if one["alive"] and not one["proven"]]
        text = f"Volume {name} is not ready on {', '.join(lacking)}: {reason.rstrip('.')}."
        yield Attention("warn", "volume-partly", target, text, None, {"nodes": lacking})
    if volume["paused"]:
        note = (volume["pause"] or {}).get("reason")
        text = f"The jobs of volume {name} are paused" + (f": {note}" if note else ".")
        yield Attention("warn", "volume-paused", target, text, "resume", {"reason": note})
    yield from _of_space(volume)
    yield from _of_lanes(volume)
    yield from _of_hidden(volume)


def _of_space(volume: dict[str, Any]) -> Iterator[Attention]:
    name, target = volume["name"], f"volume:{volume['name']}"
    capacity = volume["capacity"] or {}
    for kind, used, size in (
        ("space", capacity.get("used_bytes"), capacity.get("capacity_bytes")),
        ("inodes", capacity.get("used_inodes"), capacity.get("inodes")),
    ):
        if used is None or not size or used / size < FULL_WARN:
            continue
        share = used / size
        severity = "bad" if share >= FULL_BAD else "warn"
        text = f"Volume {name} has {share:.0%} of its {kind} in use."
        facts = {"of": kind, "share": round(share, 4)}
        yield Attention(severity, "volume-full", target, text, None, facts)


def _of_lanes(volume: dict[str, Any]) -> Iterator[Attention]:
    for lane in volume["lanes"]:
        oldest = lane["oldest_seconds"] or 0.0
        if oldest < WAIT_WARN_SECONDS or volume["paused"]:
            continue
        waiting = "jobs" if lane["waiting"] is None else counted(lane["waiting"], "job")
        text = (
            f"{waiting} of volume {volume['name']} wait in the lane {lane['lane']}, the oldest for "
            f"{_time(oldest)}."
        )
        facts = {"lane": lane["lane"], "oldest_seconds": round(oldest, 1)}
        yield Attention("warn", "queue-slow", f"volume:{volume['name']}", text, None, facts)


def _of_hidden(volume: dict[str, Any]) -> Iterator[Attention]:
    hidden = volume["hidden"] or {}
    for kind, name in (("trash", "deleted vfolder"), ("staging", "left-over")):
        late = hidden.get(f"{kind}_overdue_seconds")
        if late is not None and late >= OVERDUE_SECONDS:
            text = (
                f"A {name} of volume {volume['name']} should have been removed {_time(late)} ago."
            )
            facts = {"of": kind, "overdue_seconds": late}
            yield Attention("warn", "sweep-late", f"volume:{volume['name']}", text, None, facts)


def _of_jobs(failures: dict[str, int]) -> Iterator[Attention]:
    total = sum(failures.values())
    if total:
        codes = sorted(failures.items(), key=lambda pair: (-pair[1], pair[0]))
        listed = ", ".join(f"{count} of {code}" for code, count in codes[:3])
        text = f"{counted(total, 'job')} failed in the last hour ({listed})."
        yield Attention("warn", "jobs-failed", "jobs", text, None, {"jobs": total})


def _of_scopes(full: dict[str, int]) -> Iterator[Attention]:
    for volume, count in sorted(full.items()):
        if count:
            verb = "is" if count == 1 else "are"
            text = (
                f"{counted(count, 'quota scope')} of volume {volume} {verb} at 90 % of the limit "
                "or more."
            )
            yield Attention("warn", "quota-near", f"quota:{volume}", text, None, {"scopes": count})


def _of_store(figures: Figures) -> Iterator[Attention]:
    if figures.unpublished:
        text = f"{counted(figures.unpublished, 'end')} of jobs are not published to the manager."
        facts = {"jobs": figures.unpublished}
        yield Attention("warn", "ends-unpublished", "events", text, None, facts)
    used, most = figures.connections or (0, 0)
    if most and used > most * FULL_WARN:
        text = f"The store has {used} of {most} connections in use."
        facts = {"used": used, "most": most}
        yield Attention("bad", "store-connections", "store", text, None, facts)


def _time(seconds: float) -> str:
    """Return a duration as one number with its unit."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
