"""The queues as numbers: how many jobs run and wait, per lane of a volume, and since when.

It reads records of live jobs, and of the oldest waiting ones only. So its cost does not grow with a
long queue.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import redis

from core.jobs.store.messages import PREFIX

#: The most waiting jobs that are read, oldest first. Beyond it, a lane without one has no age.
OLDEST_MAX = 1000


@dataclass(frozen=True, slots=True)
class RunningJob:
    """What the numbers need of a running job."""

    verb: str
    volume: str
    lane: str
    #: Its last heartbeat (seconds of the store's clock).
    beat_at: float


@dataclass(frozen=True, slots=True)
class WaitingLane:
    """The waiting jobs of one lane of a volume."""

    volume: str
    lane: str
    jobs: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Queues:
    """All queues at one moment."""

    #: The store's clock (seconds of the epoch).
    at: float
    running: list[RunningJob]
    #: All waiting jobs, of every lane.
    waiting: int
    #: The lanes among the `OLDEST_MAX` oldest waiting jobs.
    lanes: list[WaitingLane]
    #: All waiting jobs were read, so a lane that is not in `lanes` has none.
    all_read: bool
    #: How many jobs may run at once, by `VOLUME:LANE`.
    slots: dict[str, int]

    @property
    def oldest_seconds(self) -> float:
        """Return the age of the oldest waiting job; 0 where none waits."""
        return max((one.oldest_seconds for one in self.lanes), default=0.0)


def read_queues(client: "redis.Redis") -> Queues:
    """Return the queues. Costs three round trips.

    Raises:
        redis.RedisError: the store does not answer.
    """
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        for state in ("running", "cancelling"):
            pipe.zrange(f"{PREFIX}ix:state:{state}", 0, -1)
        pipe.zrange(f"{PREFIX}ix:state:queued", 0, OLDEST_MAX - 1)
        pipe.zcard(f"{PREFIX}ix:state:queued")
        pipe.hgetall(f"{PREFIX}limits")
        (seconds, micros), running, cancelling, queued, waiting, limits = pipe.execute()
    at = seconds + micros / 1e6
    live = _fields(client, [*running, *cancelling], "verb", "volume", "lane", "updated_at")
    jobs = [RunningJob(verb, volume, lane, int(ms) / 1000) for verb, volume, lane, ms in live]
    lanes = list(_lanes(client, queued, at))
    slots = {lane: int(number) for lane, number in limits.items()}
    return Queues(at, jobs, waiting, lanes, len(queued) < OLDEST_MAX, slots)


def _lanes(client: "redis.Redis", ids: list[str], at: float) -> Iterator[WaitingLane]:
    ages: dict[tuple[str, str], list[float]] = {}
    for volume, lane, created in _fields(client, ids, "volume", "lane", "created_at"):
        ages.setdefault((volume, lane), []).append(at - int(created) / 1000)
    for (volume, lane), found in sorted(ages.items()):
        yield WaitingLane(volume, lane, len(found), max(0.0, *found))


def _fields(client: "redis.Redis", ids: list[str], *names: str) -> list[tuple[str, ...]]:
    """Return fields of many jobs in one round trip; jobs deleted meanwhile are left out."""
    if not ids:
        return []
    with client.pipeline(transaction=False) as pipe:
        for job in ids:
            pipe.hmget(f"{PREFIX}job:{job}", list(names))
        found = cast("list[list[str | None]]", pipe.execute())
    return [tuple(cast("list[str]", values)) for values in found if None not in values]
