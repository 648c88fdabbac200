"""How fast volumes are: asked from the backend, kept for a while where the manager also looks."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, cast

import orjson
from redis import RedisError

from api.doors import Door
from backends.base import HasMetric
from core.errors import Unsupported
from core.telemetry import logger

#: Where the speed of a volume is kept, as the manager knows it.
KEY = "storage:volume_stats:"
_log = logger(__name__)


class NoMetric(Unsupported):
    """The volume's backend does not know its speed."""

    error_code = "vfolder_request_not-implemented"


def performance(door: Door, volume: str) -> dict[str, Any]:
    """The rates of a volume and the moment they were observed, at most the cache's age old.

    Raises:
        NoMetric: the backend does not know.
    """
    backend = door.volumes.get(volume)
    if not isinstance(backend, HasMetric):
        raise NoMetric(f"The backend of volume {volume} does not know its speed.")
    if known := _cached(door, volume):
        return known
    rates = asdict(door.deadlines.call(volume, backend.performance))
    observed_at = datetime.now(UTC).isoformat()
    _keep(door, volume, {"volume_name": volume, **rates, "observed_at": observed_at})
    return {"metric": rates, "observed_at": observed_at}


def _cached(door: Door, volume: str) -> dict[str, Any] | None:
    try:
        text = cast("str | None", door.volume_stats.get(KEY + volume))
    except RedisError as error:
        _log.warning("volume speed not cached", volume=volume, reason=type(error).__name__)
        return None
    if text is None:
        return None
    known = orjson.loads(text)
    observed_at = known.pop("observed_at")
    known.pop("volume_name")
    return {"metric": known, "observed_at": observed_at}


def _keep(door: Door, volume: str, document: dict[str, Any]) -> None:
    seconds = door.settings.storage_proxy.volume_stats.cache_ttl
    try:
        door.volume_stats.set(KEY + volume, orjson.dumps(document), px=int(seconds * 1000))
    except RedisError as error:
        _log.warning("volume speed not cached", volume=volume, reason=type(error).__name__)
