"""How fast volumes are: what the observers of the cluster kept, else asked now."""

import time
from dataclasses import asdict
from typing import Any

from redis import RedisError

from api.routes.door import Door
from backends.volumes import operations
from core.errors import Unsupported
from core.names import reference_moment
from core.telemetry import logger

_log = logger(__name__)


class NoMetric(Unsupported):
    """Nobody knows the volume's speed."""

    error_code = "vfolder_request_not-implemented"


def performance(door: Door, volume: str) -> dict[str, Any]:
    """The rates of a volume and the moment they were observed, at most the cache's age old.

    Raises:
        UnknownVolume: no such volume.
        NoMetric: neither its backend nor the kernel counts.
    """
    door.volume_access.check_known(volume)
    try:
        if known := door.performance_store.last(volume):
            return known
    except RedisError as error:
        _log.warning("volume speed not read", volume=volume, reason=type(error).__name__)
    found = door.volume_access.on_volume(volume, operations.performance)
    if found is None:
        raise NoMetric(f"The storage of volume {volume} does not tell its speed.")
    try:
        return door.performance_store.keep(volume, asdict(found))
    except RedisError as error:
        _log.warning("volume speed not kept", volume=volume, reason=type(error).__name__)
        return {"metric": asdict(found), "observed_at": reference_moment(time.time())}
