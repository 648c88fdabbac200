"""The speed of volumes, as last observed: kept for seconds, where the manager reads it too.

storage:volume_stats:<volume>     JSON in database 0; expires after `[storage-proxy.volume-stats]
                                  cache-ttl`
vf:counters:<volume>/<node>       JSON: the kernel's counters of a node at its last observation
"""

import time
from typing import Any, cast

from core.jobs.store import PREFIX
from core.names import reference_moment
from core.redis import Database, connect, json
from core.settings import Settings

#: The prefix of the keys, as the manager reads them.
STATS_KEY = "storage:volume_stats:"


class PerformanceStore:
    """The speeds in Redis. Every method raises `redis.RedisError` when it does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings, Database.LIVE)
        self._table = settings.storage_proxy.volume_stats
        self._node = settings.storage_proxy.node_id

    def last(self, volume: str) -> dict[str, Any] | None:
        """Return the rates (`metric`) and `observed_at`; None when they have expired.

        Another service writes these records, too: one that cannot be read counts as expired.
        """
        text = cast("str | None", self._redis.get(STATS_KEY + volume))
        if text is None:
            return None
        try:
            known = json.loads(text)
            observed_at = known.pop("observed_at")
            known.pop("volume_name")
        except (ValueError, AttributeError, TypeError, KeyError):
            return None
        return {"metric": known, "observed_at": observed_at}

    def keep(self, volume: str, rates: dict[str, Any]) -> dict[str, Any]:
        """Keep rates observed now; return what `last` will return."""
        observed_at = reference_moment(time.time())
        document = {"volume_name": volume, **rates, "observed_at": observed_at}
        milliseconds = int(self._table.cache_ttl * 1000)
        self._redis.set(STATS_KEY + volume, json.dumps(document), px=milliseconds)
        return {"metric": rates, "observed_at": observed_at}

    def last_counters(self, volume: str) -> list[float] | None:
        """Return the counters of this node's last observation; None when they have expired."""
        text = cast("str | None", self._redis.get(self._counters(volume)))
        counters: list[float] | None = None if text is None else json.loads(text)
        return counters

    def keep_counters(self, volume: str, values: tuple[float, ...]) -> None:
        """Keep the present counters of this node."""
        milliseconds = int(self._table.cache_ttl * 1000)
        self._redis.set(self._counters(volume), json.dumps(values), px=milliseconds)

    def _counters(self, volume: str) -> str:
        return f"{PREFIX}counters:{volume}/{self._node}"
