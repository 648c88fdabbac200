"""Purges of volumes: the rate that the running ones share, and how fast they are.

A job that purges asks for its share when it begins to purge, and with each heartbeat after that.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import redis

from core.jobs.store.loading import script_texts
from core.jobs.store.messages import PREFIX
from core.redis import ScriptCall, json

_RATES = PREFIX + "purge-rates"
#: The phase in which a job purges.
PURGE_PHASE = "purge"
_RUNNING = ("running", "cancelling")


@dataclass(frozen=True, slots=True)
class RunningPurges:
    """The jobs that purge on a volume now; rates are entries per second, None is unknown."""

    #: What they share; None where the volume has no rate.
    entries_per_second: int | None = None
    purges: int = 0
    #: The sum of those that removed something lately.
    observed_entries_per_second: float | None = None
    #: The oldest report in that sum (seconds of the epoch).
    as_of: float | None = None


class PurgeRates:
    """The purge rates in Redis. Every method raises `redis.RedisError` when it does not answer."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        self._share = ScriptCall(client, dict(script_texts())["purge_share"])

    def set(self, volume: str, entries_per_second: int | None) -> None:
        """Set the rate that the purges of a volume share; None removes it."""
        if entries_per_second is None:
            self._redis.hdel(_RATES, volume)
        else:
            self._redis.hset(_RATES, volume, str(entries_per_second))

    def share(self, job: str, volume: str, lease_seconds: float) -> float | None:
        """Count a job as one that purges, and return its share; None where there is no rate.

        It counts until it ends, and for a lease when it asks no more. Costs one round trip.
        """
        keys = [_purging(volume), _RATES]
        answer = self._share(keys, [job, volume, str(round(lease_seconds * 1000))])
        return float(answer) if answer else None

    def running(self, volumes: Iterable[str]) -> dict[str, RunningPurges]:
        """Return the rate of each volume and its running purges; costs two round trips."""
        names = list(volumes)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(_RATES)
            for name in names:
                pipe.smembers(_purging(name))
            rates, *members = pipe.execute()
        ids = [job for jobs in members for job in jobs]
        with self._redis.pipeline(transaction=False) as pipe:
            for job in ids:
                pipe.hmget(f"{PREFIX}job:{job}", "state", "progress", "updated_at")
            records = dict(zip(ids, pipe.execute(), strict=True))
        return {
            name: _summed(rates.get(name), [records[job] for job in jobs])
            for name, jobs in zip(names, members, strict=True)
        }


def _purging(volume: str) -> str:
    return f"{PREFIX}purging:{volume}"


def _summed(rate: str | None, records: list[list[str | None]]) -> RunningPurges:
    found = [
        (_speed(json.loads(progress or "{}")), int(updated or 0) / 1000)
        for state, progress, updated in records
        if state in _RUNNING
    ]
    known = [(speed, at) for speed, at in found if speed is not None]
    return RunningPurges(
        entries_per_second=None if rate is None else int(rate),
        purges=len(found),
        observed_entries_per_second=sum(speed for speed, _ in known) if known else None,
        as_of=min((at for _, at in known), default=None),
    )


def _speed(progress: dict[str, Any]) -> float | None:
    """Return how fast a job removes entries; None while it does other work."""
    phases = progress.get("phases") or [{}]
    if phases[-1].get("name") != PURGE_PHASE:
        return None
    return cast("float | None", progress.get("items_per_second"))
