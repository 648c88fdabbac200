"""What the store knows of quotas at a moment, to see that something changed; no file is read."""

from collections.abc import Iterable, Sequence
from typing import Any

import redis

from core.jobs.store import PREFIX
from core.quota.ledger import figures_keys
from core.quota.notices import newest_key
from core.quota.thresholds import thresholds_key
from core.quota.totals import TOTALS
from core.telemetry import logger

#: How often a limit of a scope was set, by the scope's directory; nothing depends on it.
_LIMITS = f"{PREFIX}quota-limits-set"
_log = logger(__name__)


def note_limit(client: "redis.Redis", scope: str) -> None:
    """Note that a limit of a scope was set, for those who follow it; a failure is logged."""
    try:
        client.hincrby(_LIMITS, scope, 1)
    except redis.RedisError as error:
        _log.info("limit not noted", reason=type(error).__name__)


def scope_figures(
    client: "redis.Redis", scopes: Sequence[str], volumes: Iterable[str]
) -> dict[str, list[Any]]:
    """Return by directory of a scope its usage on the volumes, thresholds, limits, newest notice.

    Two values that differ say that something changed, and nothing else. Costs one round trip.
    """
    names = sorted(volumes)
    with client.pipeline(transaction=False) as pipe:
        for scope in scopes:
            for volume in names:
                figures, held = figures_keys(volume, scope)
                pipe.hget(figures, "used")
                pipe.get(held)
                pipe.hget(thresholds_key(volume), scope)
            pipe.hget(_LIMITS, scope)
            pipe.hget(TOTALS, scope)
            pipe.hget(thresholds_key(""), scope)
            pipe.xrevrange(newest_key(scope), count=1)
        found = pipe.execute()
    each = len(found) // max(1, len(scopes))
    return {scope: found[at * each : (at + 1) * each] for at, scope in enumerate(scopes)}
