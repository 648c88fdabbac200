"""The last hour of the cluster as numbers, one point every five seconds, for charts.

vf:series     list of JSON, the newest first; bounded. The leader writes it.

A rate is the difference of counters that the nodes keep anyway. A value that is not known is null:
the first point of a leader, a node that has just joined or whose doors were started again.
"""

from collections.abc import Iterable
from typing import Any, cast

import redis
from msgspec import Struct, convert, to_builtins

from core.jobs.store import PREFIX, Queues
from core.redis import json

#: Time between two points, and how long they are kept (seconds).
SERIES_SECONDS = 5.0
SERIES_KEEP_SECONDS = 3600.0
SERIES_POINTS = int(SERIES_KEEP_SECONDS / SERIES_SECONDS)
_KEY = PREFIX + "series"


class SeriesPoint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One moment of the cluster; None is unknown."""

    #: Seconds of the epoch, by the store's clock.
    at: float
    #: Bytes per second through the doors of all nodes.
    received: float | None = None
    sent: float | None = None
    running: int = 0
    waiting: int = 0
    #: The age of the oldest waiting job (seconds).
    oldest: float = 0.0
    #: Bytes per second read from and written to each volume, as it was last observed.
    volumes: dict[str, tuple[float, float]] = {}


class SeriesStore:
    """The points in Redis. Every method raises `redis.RedisError` when it does not answer."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def add(self, point: SeriesPoint) -> None:
        """Add a point; the oldest one beyond the bound goes."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.lpush(_KEY, json.dumps(to_builtins(point)))
            pipe.ltrim(_KEY, 0, SERIES_POINTS - 1)
            pipe.execute()

    def last(self, count: int = SERIES_POINTS) -> list[SeriesPoint]:
        """Return the newest points, oldest first. Costs one round trip."""
        lines = cast("list[str]", self._redis.lrange(_KEY, 0, count - 1))
        return [convert(json.loads(line), SeriesPoint) for line in reversed(lines)]


class Throughput:
    """Rates of the doors of all nodes, from the totals that the nodes report."""

    def __init__(self) -> None:
        self._at = 0.0
        self._totals: dict[str, tuple[int, int]] = {}

    def rates(
        self, at: float, nodes: Iterable[dict[str, Any]]
    ) -> tuple[float | None, float | None]:
        """Return the bytes per second that came in and went out since the call before.

        None where that is not known of a node: it is new, it reports none, or its doors were
        started again.
        """
        totals = {one["id"]: _total(one) for one in nodes if one["alive"]}
        known = {name: total for name, total in totals.items() if total is not None}
        before, seconds = self._totals, at - self._at
        self._at, self._totals = at, known
        if not totals or known.keys() != totals.keys() or not known.keys() <= before.keys():
            return None, None
        changes = [
            [now - then for now, then in zip(known[name], before[name], strict=True)]
            for name in known
        ]
        if seconds <= 0 or any(change < 0 for pair in changes for change in pair):
            return None, None
        received, sent = (sum(column) / seconds for column in zip(*changes, strict=True))
        return received, sent


def _total(node: dict[str, Any]) -> tuple[int, int] | None:
    received, sent = node.get("received_bytes"), node.get("sent_bytes")
    return None if received is None or sent is None else (received, sent)


def point_of(
    queues: Queues,
    rates: tuple[float | None, float | None],
    volumes: dict[str, tuple[float, float]],
) -> SeriesPoint:
    """Return the point of a moment."""
    return SeriesPoint(
        at=queues.at,
        received=rates[0],
        sent=rates[1],
        running=len(queues.running),
        waiting=queues.waiting,
        oldest=queues.oldest_seconds,
        volumes=volumes,
    )
