"""Bandwidth budgets of volumes, and their sharers: running jobs and streams of client doors."""

from dataclasses import dataclass

import redis

from core.jobs.store import PREFIX, script_texts

_BUDGETS = PREFIX + "bandwidth"


@dataclass(frozen=True, slots=True)
class Share:
    """The budget of a volume, and its sharers besides the calling process."""

    bytes_per_second: int
    jobs: int
    streams: int


class BandwidthStore:
    """The budgets in Redis. Every method raises `redis.RedisError` when it does not answer."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        self._share = client.register_script(dict(script_texts())["share"])

    def set(self, volume: str, bytes_per_second: int | None) -> None:
        """Set the budget that the jobs and streams of a volume share; None removes it."""
        if bytes_per_second is None:
            self._redis.hdel(_BUDGETS, volume)
        else:
            self._redis.hset(_BUDGETS, volume, str(bytes_per_second))

    def set_default(self, volume: str, bytes_per_second: int) -> None:
        """Set the budget of a volume that has none."""
        self._redis.hsetnx(_BUDGETS, volume, str(bytes_per_second))

    def report(self, process: str, streams: dict[str, int]) -> dict[str, Share]:
        """Report the streams of a process per volume; return the budgets with their other sharers.

        Volumes without a budget are left out. A report expires after some seconds. Costs one round
        trip, and a short list per volume that has a budget.
        """
        counts = [part for volume, count in streams.items() for part in (volume, count)]
        flat = self._share(args=[process, *counts])
        return {
            flat[at]: Share(*(int(number) for number in flat[at + 1 : at + 4]))
            for at in range(0, len(flat), 4)
        }

    def shares(self) -> dict[str, Share]:
        """Return the budgets with all their sharers, without a report."""
        return self.report("", {})
