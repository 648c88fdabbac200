"""Which node serves which volume, and whether it is alive.

A worker writes its node's record every few seconds; a record that is not renewed has an end. The
bindings that Celery keeps in the broker outlive workers, so they prove nothing.
"""

import time
from typing import Any

import redis
from msgspec import Struct, convert, to_builtins

from core.jobs.store import PREFIX
from core.redis import json

#: How often a node tells that it lives.
BEAT_SECONDS = 2.0
#: A node that was silent this long is not alive: two beats missed.
SILENCE_SECONDS = 5.0
#: Nodes that were silent for a day are forgotten.
FORGET_SECONDS = 86_400.0

_NODES = PREFIX + "nodes"
_SEEN = PREFIX + "nodes:seen"
_DRAINING = PREFIX + "nodes:draining"
#: The nodes that everybody was told of as being there.
_TOLD = PREFIX + "nodes:told"


class NodeVolume(Struct, frozen=True, kw_only=True):
    """A volume as one node sees it."""

    proven: bool
    fsid: str | None = None
    reason: str | None = None
    #: What the list of volumes tells of it.
    backend: str = ""
    path: str = ""
    fsprefix: str = "."
    capabilities: list[str] = []


class Node(Struct, frozen=True, kw_only=True):
    """What a node tells of itself."""

    id: str
    version: str
    volumes: dict[str, NodeVolume]
    lanes: list[str]
    slots: int
    running: int
    load: float
    started_at: float
    client_url: str = ""
    #: Where the doors of other nodes find its manager door; empty where they cannot reach one.
    manager_url: str = ""


class NodeStore:
    """The records of all nodes."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def _now(self) -> float:
        seconds, micros = self._redis.time()
        return seconds + micros / 1e6

    def renew(self, node: Node) -> bool:
        """Renew a node's record; returns whether somebody asked the node to drain."""
        text = json.dumps(to_builtins(node))
        now = self._now()
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(_NODES, node.id, text)
            pipe.zadd(_SEEN, {node.id: now})
            pipe.sismember(_DRAINING, node.id)
            return bool(pipe.execute()[2])

    def deregister(self, node: str) -> bool:
        """Say that a node is going down on purpose; whether nobody told so before."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(_SEEN, node)
            pipe.srem(_TOLD, node)
            return bool(pipe.execute()[1])

    def claim_arrival(self, node: str) -> bool:
        """Whether a node that just told that it lives is to be announced: true for one asker."""
        return bool(self._redis.sadd(_TOLD, node))

    def claim_losses(self) -> list[str]:
        """The announced nodes that fell silent; each is given to one asker only."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.smembers(_TOLD)
            pipe.zrangebyscore(_SEEN, self._now() - SILENCE_SECONDS, "+inf")
            told, seen = pipe.execute()
        return [name for name in sorted(set(told) - set(seen)) if self._redis.srem(_TOLD, name)]

    def drain(self, node: str, *, undo: bool = False) -> None:
        """Ask a node to finish politely and take nothing new, or to come back."""
        if undo:
            self._redis.srem(_DRAINING, node)
        else:
            self._redis.sadd(_DRAINING, node)

    def all(self) -> list[dict[str, Any]]:
        """Every known node, with `alive`, `silent_seconds` and `draining`."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hgetall(_NODES)
            pipe.zrange(_SEEN, 0, -1, withscores=True)
            pipe.smembers(_DRAINING)
            (seconds, micros), records, scores, draining = pipe.execute()
        now, seen = seconds + micros / 1e6, dict(scores)
        return [
            json.loads(text)
            | {
                "alive": name in seen and now - seen[name] < SILENCE_SECONDS,
                "silent_seconds": round(now - seen[name], 1) if name in seen else None,
                "draining": name in draining,
            }
            for name, text in sorted(records.items())
            if now - seen.get(name, now) < FORGET_SECONDS
        ]

    def serving(self, volume: str) -> list[Node]:
        """The live, undrained nodes that proved a volume."""
        found = []
        for record in self.all():
            if record["alive"] and not record["draining"]:
                node = convert(record, Node)
                if volume in node.volumes and node.volumes[volume].proven:
                    found.append(node)
        return found


def load_average() -> float:
    """The machine's load over the last minute."""
    with open("/proc/loadavg", encoding="ascii") as text:
        return float(text.read().split()[0])


def boot_clock() -> float:
    """Seconds since boot, standing still never (CLOCK_BOOTTIME): for leases and deadlines."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
