"""The nodes: which volumes each serves, and whether it is alive.

A worker renews the record of its node every few seconds; without renewal the node counts as lost.
Celery's own bindings in the broker outlive the workers, so they are no sign of life.
"""

import time
from typing import Any

import redis
from msgspec import Struct, ValidationError, convert, to_builtins

from core.jobs.store import PREFIX
from core.redis import json
from core.telemetry import logger

#: A node renews its record this often.
BEAT_SECONDS = 2.0
#: A node that is silent for this long is not alive: it missed two renewals.
SILENCE_SECONDS = 5.0
#: A node that is silent for a day is left out of lists, and its record is removed.
FORGET_SECONDS = 86_400.0

#: The id of the node that a request means: an address may lead to another one (a loopback).
NODE_HEADER = "X-VFolder-Node"
#: The secret of the manager doors, which all nodes share.
SECRET_HEADER = "X-BackendAI-Storage-Auth-Token"  # noqa: S105 - a name
#: The route of the manager door that answers questions of other nodes about trees.
TREES_PATH = "/v1/node/trees"

_log = logger(__name__)

_NODES = PREFIX + "nodes"
_SEEN = PREFIX + "nodes:seen"
_DRAINING = PREFIX + "nodes:draining"
#: Per node: the volumes that it last reported as not proven.
_UNPROVEN = PREFIX + "unproven:"
#: The nodes whose arrival was published.
_ANNOUNCED = PREFIX + "nodes:told"
#: When nodes went on purpose.
_LEFT = PREFIX + "nodes:left"
#: Most records that one call forgets.
_FORGET_MAX = 100

#: KEYS: records, seen, left, announced. ARGV: seconds, the most records. Returns forgotten names.
_FORGET = """
local t = redis.call('TIME')
local at = t[1] + t[2] / 1000000
-- A node of an earlier version that went on purpose has neither time.
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if not redis.call('ZSCORE', KEYS[2], name) and not redis.call('ZSCORE', KEYS[3], name) then
    redis.call('ZADD', KEYS[3], at, name)
  end
end
local gone = {}
for number = 2, 3 do
  local old = redis.call('ZRANGEBYSCORE', KEYS[number], '-inf', at - ARGV[1], 'LIMIT', 0, ARGV[2])
  for _, name in ipairs(old) do
    local other = redis.call('ZSCORE', KEYS[5 - number], name)
    redis.call('ZREM', KEYS[number], name)
    if not other or tonumber(other) <= at - ARGV[1] then
      redis.call('HDEL', KEYS[1], name)
      redis.call('SREM', KEYS[4], name)
      table.insert(gone, name)
    end
  end
end
return gone
"""


class NodeVolume(Struct, frozen=True, kw_only=True):
    """A volume as one node sees it."""

    proven: bool
    fsid: str | None = None
    reason: str | None = None
    #: For the list of volumes at the manager door.
    backend: str = ""
    path: str = ""
    fsprefix: str = "."
    capabilities: list[str] = []


class Node(Struct, frozen=True, kw_only=True):
    """The record of a node, as the node writes it."""

    id: str
    version: str
    volumes: dict[str, NodeVolume]
    lanes: list[str]
    slots: int
    running: int
    load: float
    started_at: float
    client_url: str = ""
    #: Queues of its artifact storages and registries, as jobs have them in place of a volume.
    queues: list[str] = []
    #: Where the doors of other nodes find its manager door; empty where they cannot reach one.
    manager_url: str = ""
    #: Whether its worker answers questions of other nodes about trees; earlier versions do not.
    answers: bool = False
    #: Bytes through its doors since they were started; earlier versions report none.
    received_bytes: int | None = None
    sent_bytes: int | None = None


class NodeStore:
    """The records of all nodes in Redis."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        #: Nodes whose records were logged as unreadable.
        self._unreadable: set[str] = set()
        self._forget = client.register_script(_FORGET)

    def _now(self) -> float:
        seconds, micros = self._redis.time()
        return seconds + micros / 1e6

    def renew(self, node: Node) -> bool:
        """Renew a node's record; return whether a drain of the node was requested."""
        text = json.dumps(to_builtins(node))
        now = self._now()
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(_NODES, node.id, text)
            pipe.zadd(_SEEN, {node.id: now})
            pipe.zrem(_LEFT, node.id)
            # The script that claims a job asks this set: it does not read the record.
            pipe.delete(_UNPROVEN + node.id)
            if unproven := [name for name, volume in node.volumes.items() if not volume.proven]:
                pipe.sadd(_UNPROVEN + node.id, *unproven)
                pipe.expire(_UNPROVEN + node.id, round(FORGET_SECONDS))
            pipe.sismember(_DRAINING, node.id)
            return bool(pipe.execute()[-1])

    def deregister(self, node: str) -> bool:
        """Mark a node as gone on purpose; return whether the caller must publish that it left."""
        now = self._now()
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(_LEFT, {node: now})
            pipe.zrem(_SEEN, node)
            pipe.srem(_ANNOUNCED, node)
            return bool(pipe.execute()[2])

    def forget_old(self) -> int:
        """Remove the records of nodes that left or fell silent a day ago; return how many.

        The request of an operator to drain a node stays. Costs a look at each known node: call it
        once a minute, by one node.
        """
        keys = [_NODES, _SEEN, _LEFT, _ANNOUNCED]
        names = self._forget(keys=keys, args=[FORGET_SECONDS, _FORGET_MAX])
        if names:
            self._redis.delete(*(_UNPROVEN + name for name in names))
        return len(names)

    def claim_arrival(self, node: str) -> bool:
        """Return whether the caller must publish a node's arrival: true for one caller only."""
        return bool(self._redis.sadd(_ANNOUNCED, node))

    def claim_losses(self) -> list[str]:
        """Return the published nodes that fell silent; each is returned to one caller only."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.smembers(_ANNOUNCED)
            pipe.zrangebyscore(_SEEN, self._now() - SILENCE_SECONDS, "+inf")
            announced, seen = pipe.execute()
        return [
            name
            for name in sorted(set(announced) - set(seen))
            if self._redis.srem(_ANNOUNCED, name)
        ]

    def drain(self, node: str, *, undo: bool = False) -> None:
        """Request the drain of a node: it takes no new jobs; `undo` takes the request back."""
        if undo:
            self._redis.srem(_DRAINING, node)
        else:
            self._redis.sadd(_DRAINING, node)

    def all(self) -> list[dict[str, Any]]:
        """Return every known node, with `alive`, `silent_seconds` and `draining`."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hgetall(_NODES)
            pipe.zrange(_SEEN, 0, -1, withscores=True)
            pipe.smembers(_DRAINING)
            (seconds, micros), records, scores, draining = pipe.execute()
        now, seen = seconds + micros / 1e6, dict(scores)
        known = {name: self._parsed(name, text) for name, text in records.items()}
        return [
            record
            | {
                "alive": name in seen and now - seen[name] < SILENCE_SECONDS,
                "silent_seconds": round(now - seen[name], 1) if name in seen else None,
                "draining": name in draining,
            }
            for name, record in sorted(known.items())
            if record and now - seen.get(name, now) < FORGET_SECONDS
        ]

    def _parsed(self, name: str, text: str) -> dict[str, Any]:
        """Return a record; empty when this version cannot read it, which is logged once."""
        try:
            record: dict[str, Any] = json.loads(text)
            convert(record, Node)
        except (ValueError, ValidationError) as error:
            if name not in self._unreadable:
                self._unreadable.add(name)
                _log.warning("record of node not read", node=name, reason=str(error))
            return {}
        return record

    def serving(self, volume: str) -> list[Node]:
        """Return the live nodes that proved a volume, or have this queue, and do not drain."""
        nodes = []
        for record in self.all():
            if record["alive"] and not record["draining"]:
                node = convert(record, Node)
                known = node.volumes.get(volume)
                if volume in node.queues or (known is not None and known.proven):
                    nodes.append(node)
        return nodes

    def reachable(self, volume: str) -> list[Node]:
        """Return the live nodes that proved a volume and have a manager door that others reach.

        Nodes that drain are among them: their doors serve.
        """
        found = [convert(record, Node) for record in self.all() if record["alive"]]
        return [
            node
            for node in found
            if node.answers
            and node.manager_url
            and volume in node.volumes
            and node.volumes[volume].proven
        ]


def load_average() -> float:
    """Return the load average of the machine over the last minute."""
    with open("/proc/loadavg", encoding="ascii") as text:
        return float(text.read().split()[0])


def boot_clock() -> float:
    """Return the seconds since boot, also those of suspension (CLOCK_BOOTTIME): for leases."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
