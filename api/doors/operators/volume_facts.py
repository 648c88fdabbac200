"""What is known of each volume, as documents: from records that are kept anyway.

Nothing here calls a storage system: a volume that hangs must not delay the page about all of them.
"""

import time
from dataclasses import asdict
from typing import Any

from redis import RedisError

from api.routes import Door
from backends.volumes import MountState
from core.cluster import PauseNote
from core.jobs import Lane
from core.jobs.store import Queues, read_queues
from core.names import moment, moment_or_none
from core.quota import HiddenUsage, HiddenUsageStore
from core.telemetry import logger

_log = logger(__name__)


class VolumeFacts:
    """The volumes of the cluster, as one door knows them at one moment."""

    def __init__(self, door: Door) -> None:
        door.health.start()  # its probes find the capacity
        self._door = door
        self._client = door.jobs.redis
        self.nodes = door.jobs.nodes.all()
        self.queues: Queues = read_queues(self._client)
        self._paused = set(door.jobs.lists.paused_volumes())
        self._notes = door.jobs.notes.all()
        self._shares = door.bandwidth.shares()
        self._states = door.mounts.states()

    @property
    def names(self) -> list[str]:
        """Return the names of all volumes: of this node, and those that a node reported."""
        reported = {name for node in self.nodes if node["alive"] for name in node["volumes"]}
        return sorted({*self._door.settings.volume, *reported})

    def all(self) -> list[dict[str, Any]]:
        """Return the document of each volume, for operators."""
        return [self.document(name) for name in self.names]

    def document(self, name: str) -> dict[str, Any]:
        """Return all that is known of a volume, for operators."""
        records = self._records(name)
        serving = [one for one in records if one["alive"]]
        proven = [one for one in serving if one["proven"]]
        reasons = [one["reason"] for one in serving if not one["proven"] and one["reason"]]
        known = next(
            (node["volumes"][name] for node in self.nodes if name in node["volumes"]), None
        )
        table = self._door.settings.volume.get(name)
        share = self._shares.get(name)
        return self.summary(name) | {
            "state": _state(len(proven), len(serving)),
            "state_reason": reasons[0] if reasons else (None if proven else "no node serves it"),
            "backend": table.backend if table is not None else (known or {}).get("backend"),
            "path": (known or {}).get("path"),
            "nodes": records,
            "lanes": [self._lane(name, lane) for lane in Lane],
            "bandwidth": None if share is None else asdict(share),
            "speed": self._speed(name),
            "proof": _proof(self._states.get(name)),
            "hidden": self._hidden(name),
        }

    def summary(self, name: str) -> dict[str, Any]:
        """Return what every user of a volume may know of it."""
        return {
            "name": name,
            "capabilities": self._door.capabilities_of(name),
            "paused": name in self._paused,
            "pause": _pause(self._notes.get(name)) if name in self._paused else None,
            "capacity": _capacity(self._states.get(name)),
        }

    def _records(self, name: str) -> list[dict[str, Any]]:
        return [
            {
                "id": node["id"],
                "alive": node["alive"],
                "proven": node["volumes"][name]["proven"],
                "reason": node["volumes"][name].get("reason"),
            }
            for node in self.nodes
            if name in node["volumes"]
        ]

    def _lane(self, name: str, lane: Lane) -> dict[str, Any]:
        queues = self.queues
        waits = next((w for w in queues.lanes if (w.volume, w.lane) == (name, lane)), None)
        known = 0 if queues.all_read else None
        return {
            "lane": lane.value,
            "running": sum((one.volume, one.lane) == (name, lane) for one in queues.running),
            "slots": queues.slots.get(f"{name}:{lane.value}"),
            "waiting": (waits.jobs if waits else 0) if queues.all_read else None,
            "oldest_seconds": round(waits.oldest_seconds, 1) if waits else known,
        }

    def _speed(self, name: str) -> dict[str, Any] | None:
        """Return the rates of a volume as last observed; None where they are not known."""
        try:
            known = self._door.performance_store.last(name)
            if known is None:
                return None
            metric = known["metric"]
            return {
                "read_bytes_per_second": float(metric["io_bytes_read"]),
                "written_bytes_per_second": float(metric["io_bytes_write"]),
                "read_usec": float(metric["io_usec_read"]),
                "write_usec": float(metric["io_usec_write"]),
                "as_of": known["observed_at"],
            }
        except (RedisError, KeyError, TypeError, ValueError) as error:  # others write it, too
            _log.warning("volume speed not read", volume=name, reason=type(error).__name__)
            return None

    def _hidden(self, name: str) -> dict[str, Any] | None:
        usage = HiddenUsageStore(self._client).last(name)
        return None if usage is None else hidden_document(usage, time.time())


def hidden_document(usage: HiddenUsage, now: float) -> dict[str, Any]:
    """Return what the last sweep of a volume found; nothing is late where a moment is None."""
    return {
        "staging_bytes": usage.staging_bytes,
        "trash_bytes": usage.trash_bytes,
        "trash_overdue_seconds": max(0.0, now - (usage.trash_due_at or now)),
        "staging_overdue_seconds": max(0.0, now - (usage.staging_due_at or now)),
        "as_of": moment(usage.swept_at),
    }


def _state(proven: int, serving: int) -> str:
    if not proven:
        return "away"
    return "ready" if proven == serving else "partly"


def _pause(note: PauseNote | None) -> dict[str, Any]:
    if note is None:
        return {"reason": None, "by": None, "at": None}
    return {"reason": note.reason, "by": note.by, "at": moment(note.at)}


def _capacity(state: MountState | None) -> dict[str, Any] | None:
    """Return the capacity as the last proof on this node found it; None where it is not known."""
    if state is None or state.capacity is None:
        return None
    return {**asdict(state.capacity), "as_of": moment_or_none(state.at)}


def _proof(state: MountState | None) -> dict[str, Any] | None:
    if state is None or not state.known:
        return None
    return {"at": moment_or_none(state.at), "seconds": state.seconds}
