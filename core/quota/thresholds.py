"""Thresholds of limits: reaching 80, 90, 95 or 100 % of a limit is published once.

    vf:thresholds:<volume>   hash  account -> the threshold it is at or above

An account is a quota scope, or a vfolder with a limit. When it rises to a threshold, this publishes
an event, counts it, logs it, and keeps a notice for its owner. When it falls, only the record
changes, so that the next rise is published again. Record and notice are one step: a process that
dies loses none. It falls when it is 5 % of the limit below: what
goes up and down at a threshold is published once. Every process that reads a usage checks it. The
script decides which of several processes publishes.
"""

from typing import Any, cast

import redis

from core.events import Bus, Event
from core.jobs.store import PREFIX
from core.quota.notices import KEEP, keep_keys, report_full
from core.redis import Database, connect, json
from core.settings import Settings
from core.telemetry import logger, metrics

#: Shares of a limit, in percent.
PERCENTS = (80, 90, 95, 100)
#: A scope falls from a threshold when it is so far below (percent of its limit).
HYSTERESIS_PERCENT = 5
EVENT = "quota_threshold_reached"
#: The directory of vfolders without a scope; no subject owns it.
TOP = "."

_log = logger(__name__)
#: KEYS: thresholds, then those of `KEEP`. ARGV: account, level, level with slack, subject ('' for
#: no notice), facts, posted. Returns whether it rose, and whether the notice is as it should be.
_MOVE = (
    KEEP
    + """
local before = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
local level, kept = tonumber(ARGV[2]), tonumber(ARGV[3])
local after = math.max(level, math.min(before, kept))
if after == before then return {0, 1} end
local whole = after < before or ARGV[4] == '' or keep(1, ARGV[4], ARGV[5], ARGV[6])
if after == 0 then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], after) end
return {after > before and 1 or 0, whole and 1 or 0}
"""
)


def level(used_bytes: int, limit_bytes: int, slack_percent: int = 0) -> int:
    """Return the highest threshold that the usage has reached; 0 is below all.

    With `slack_percent` it may be so far below the threshold.
    """
    reached = [p for p in PERCENTS if used_bytes * 100 >= limit_bytes * (p - slack_percent)]
    return max(reached, default=0)


class Thresholds:
    """Checks figures and publishes. Safe for threads; made after the fork."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings, Database.JOBS)
        self._events = connect(settings, Database.EVENTS)
        self._bus = Bus(self._events)
        self._move = self._redis.register_script(_MOVE)
        self._posted = bool(settings.vfolder.notices.url)
        #: Without readers no notice is kept.
        self._kept = self._posted or settings.vfolder.access is not None

    def check(
        self,
        volume: str,
        account: str,
        used_bytes: int | None,
        limit_bytes: int | None,
        *,
        owner: str = "",
    ) -> bool:
        """Record the threshold of an account; return whether it rose, which is published then.

        `account` is a name of the ledger: the directory of a scope, or that and a vfolder. An empty
        volume stands for all: a total. `owner`
        gets the notice (32 digits); the user or group of the scope when empty. A failure of the
        store or of the events' server is only logged.
        """
        reached = kept = 0
        if used_bytes is not None and limit_bytes is not None:
            reached = level(used_bytes, limit_bytes)
            kept = level(used_bytes, limit_bytes, HYSTERESIS_PERCENT)
        scope, _, vfolder = account.partition("/")
        facts = {
            "volume": volume or None,
            "scope": scope,
            "percent": reached,
            "used_bytes": used_bytes,
            "limit_bytes": limit_bytes,
            "view": "vfolder" if vfolder else "scope" if volume else "total",
            "vfolder": vfolder or None,
        }
        subject = owner or scope
        reader = subject if self._kept and subject != TOP else ""
        notice = [reader, json.dumps({"kind": "quota", **facts}), "1" if self._posted else ""]
        try:
            rose, whole = self._move(
                keys=[thresholds_key(volume), *keep_keys(subject)],
                args=[account, reached, kept, *notice],
            )
        except redis.RedisError as error:
            _log.warning("threshold not recorded", volume=volume, reason=type(error).__name__)
            return False
        if rose:
            self._publish(facts)
        if not whole:
            report_full(subject)
        return bool(rose)

    def close(self) -> None:
        """Close the connections; a later check opens new ones."""
        self._redis.close()
        self._events.close()

    def _publish(self, facts: dict[str, Any]) -> None:
        volume = facts["volume"] or ""
        _log.warning("quota threshold reached", **facts)
        counter = metrics.VFOLDER_THRESHOLDS if facts["vfolder"] else metrics.THRESHOLDS
        counter.labels(volume, str(facts["percent"])).inc()
        try:
            self._bus.broadcast(Event(EVENT, facts))
        except redis.RedisError as error:
            _log.warning("threshold not published", volume=volume, reason=type(error).__name__)


def scopes_at_thresholds(client: "redis.Redis", volume: str) -> dict[int, int]:
    """Return the number of a volume's scopes at each threshold, and not at a higher one."""
    found = accounts_at_thresholds(client, volume)
    levels = [reached for account, reached in found.items() if "/" not in account]
    return {percent: levels.count(percent) for percent in PERCENTS}


def accounts_at_thresholds(client: "redis.Redis", volume: str) -> dict[str, int]:
    """Return the highest threshold that each account of a volume has reached (percent)."""
    found = cast("dict[str, str]", client.hgetall(thresholds_key(volume)))
    return {account: int(reached) for account, reached in found.items()}


def thresholds_key(volume: str) -> str:
    """Return the key of the thresholds of a volume; empty for those of totals."""
    return f"{PREFIX}thresholds:{volume}"
