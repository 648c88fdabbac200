"""What a volume may move, and who shares it: running jobs, and streams of the client doors."""

from dataclasses import dataclass

import redis

from core.jobs.store import PREFIX, script_texts

_BUDGETS = PREFIX + "bandwidth"


@dataclass(frozen=True, slots=True)
class Share:
    """The budget of a volume, and who has a part of it beside the asker."""

    bytes_per_second: int
    jobs: int
    streams: int


class BandwidthStore:
    """The budgets in the store. Every call raises `redis.RedisError` when it is away."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        self._share = client.register_script(dict(script_texts())["share"])

    def set(self, volume: str, bytes_per_second: int | None) -> None:
        """What the running jobs and the streams of a volume may move together, from now on."""
        if bytes_per_second is None:
            self._redis.hdel(_BUDGETS, volume)
        else:
            self._redis.hset(_BUDGETS, volume, str(bytes_per_second))

    def set_default(self, volume: str, bytes_per_second: int) -> None:
        """As `set`, where nobody has set one."""
        self._redis.hsetnx(_BUDGETS, volume, str(bytes_per_second))

    def report(self, process: str, streams: dict[str, int]) -> dict[str, Share]:
        """Tell of a process's streams per volume, and hear who else shares the budgets.

        Volumes without a budget are left out. What was told is forgotten after some seconds. Costs
        one round trip, and a short list per volume that has a budget.
        """
        told = [part for volume, count in streams.items() for part in (volume, count)]
        flat = self._share(args=[process, *told])
        return {
            flat[at]: Share(*(int(number) for number in flat[at + 1 : at + 4]))
            for at in range(0, len(flat), 4)
        }

    def shares(self) -> dict[str, Share]:
        """The budgets and all who share them, without telling anything."""
        return self.report("", {})
