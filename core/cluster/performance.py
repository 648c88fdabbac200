"""How fast volumes are, as last observed: kept where the manager also looks, for seconds.

storage:volume_stats:<volume>     JSON, in database 0; gone after `[storage-proxy.volume-stats]
cache-ttl`
vf:counters:<volume>/<node>       JSON, what a node's kernel had counted at its last look
"""

import time
from typing import Any, cast

from core.jobs.store import PREFIX
from core.names import reference_moment
from core.redis import Database, connect, json
from core.settings import Settings

#: Where the speed of a volume is kept, as the manager knows it.
STATS_KEY = "storage:volume_stats:"


class PerformanceStore:
    """The kept speeds. Every call raises `redis.RedisError` when the server is away."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings, Database.LIVE)
        self._table = settings.storage_proxy.volume_stats
        self._node = settings.storage_proxy.node_id

    def last(self, volume: str) -> dict[str, Any] | None:
        """The rates (`metric`) and when they were observed; None when that is too long ago."""
        text = cast("str | None", self._redis.get(STATS_KEY + volume))
        if text is None:
            return None
        known = json.loads(text)
        observed_at = known.pop("observed_at")
        known.pop("volume_name")
        return {"metric": known, "observed_at": observed_at}

    def keep(self, volume: str, rates: dict[str, Any]) -> dict[str, Any]:
        """Keep rates observed now; returns what `last` will."""
        observed_at = reference_moment(time.time())
        document = {"volume_name": volume, **rates, "observed_at": observed_at}
        milliseconds = int(self._table.cache_ttl * 1000)
        self._redis.set(STATS_KEY + volume, json.dumps(document), px=milliseconds)
        return {"metric": rates, "observed_at": observed_at}

    def last_counters(self, volume: str) -> list[float] | None:
        """What this node had counted at its last look, if that was not long ago."""
        text = cast("str | None", self._redis.get(self._counters(volume)))
        found: list[float] | None = None if text is None else json.loads(text)
        return found

    def keep_counters(self, volume: str, values: tuple[float, ...]) -> None:
        """Note what this node counts now."""
        milliseconds = int(self._table.cache_ttl * 1000)
        self._redis.set(self._counters(volume), json.dumps(values), px=milliseconds)

    def _counters(self, volume: str) -> str:
        return f"{PREFIX}counters:{volume}/{self._node}"
