"""Routes of volumes: list, health, usage, performance."""

import time
from dataclasses import asdict
from typing import Any

from flask import Response
from redis import RedisError

from api.http import answer, ready
from api.routes import Door, Resource, Route, RouteAnswer, current_door
from api.schemas import (
    FileSystemUsage,
    Hardware,
    OldQuota,
    OldQuotaBody,
    OneVolume,
    Performance,
    SetOldQuotaBody,
    VolumeBody,
    VolumeList,
)
from backends.volumes import operations
from core.errors import Unsupported
from core.names import reference_moment
from core.telemetry import logger


class NoCapacity(Unsupported):
    """The size or the usage of the volume is not known."""

    error_code = "vfolder_request_not-implemented"


class NoMetric(Unsupported):
    """The performance of the volume is not known."""

    error_code = "vfolder_request_not-implemented"


def _performance(door: Door, volume: str) -> dict[str, Any]:
    """Return the rates of a volume and when they were observed; at most the cache's age old.

    The cache has what the workers of the cluster observed. When it is empty, the volume is asked.

    Raises:
        UnknownVolume: no node serves a volume of this name.
        NoMetric: neither the backend nor the kernel counts operations of this volume.
    """
    door.volume_access.check_known(volume)
    try:
        if cached := door.performance_store.last(volume):
            return cached
    except RedisError as error:
        _log.warning("volume speed not read", volume=volume, reason=type(error).__name__)
    rates = door.volume_access.on_volume(volume, operations.performance)
    if rates is None:
        raise NoMetric(f"The storage of volume {volume} reports no performance.")
    try:
        return door.performance_store.keep(volume, asdict(rates))
    except RedisError as error:
        _log.warning("volume speed not kept", volume=volume, reason=type(error).__name__)
        return {"metric": asdict(rates), "observed_at": reference_moment(time.time())}


class QuotaMoved(Unsupported):
    """Limits per vfolder do not exist any more; the manager still requests them."""

    error_code = "vfolder_request_not-implemented"
    title = "Quotas are per quota scope"


blueprint = Resource("volumes", __name__, description="Storage volumes.")


@blueprint.operation("GET", "/volumes", Route(gives={200: RouteAnswer("All volumes.", VolumeList)}))
def list_volumes() -> Response:
    """List the volumes of this node, and those that other nodes serve now.

    `path` is the mount point of the volume, on its nodes and on the agents.
    """
    return ready(current_door().volume_list())


@blueprint.operation(
    "GET",
    "/volume/hwinfo",
    Route(takes=VolumeBody, gives={200: RouteAnswer("Its current health.", Hardware)}),
)
def get_hardware_info(body: OneVolume) -> Response:
    """Return the health that the storage system of a volume reports now."""
    return answer(asdict(current_door().volume_access.on_volume(body.volume, operations.hardware)))


@blueprint.operation(
    "GET",
    "/folder/fs-usage",
    Route(
        takes=VolumeBody,
        gives={200: RouteAnswer("Capacity and usage.", FileSystemUsage)},
        refuses=(NoCapacity,),
    ),
)
def get_file_system_usage(body: OneVolume) -> Response:
    """Return the capacity and usage of a volume, counted as df does.

    Both are numbers, because callers divide them. A storage that does not say them is refused.
    """
    found = current_door().volume_access.on_volume(body.volume, operations.capacity)
    if not found.capacity_bytes or found.used_bytes is None:
        raise NoCapacity(f"The storage of volume {body.volume} does not say how big it is.")
    return answer({"capacity_bytes": found.capacity_bytes, "used_bytes": found.used_bytes})


@blueprint.operation(
    "GET",
    "/volume/performance-metric",
    Route(
        takes=VolumeBody,
        gives={200: RouteAnswer("Its performance, at most seconds old.", Performance)},
        refuses=(NoMetric,),
    ),
)
def get_performance_metric(body: OneVolume) -> Response:
    """Return the current performance of a volume, if its backend or the kernel counts it."""
    return answer(_performance(current_door(), body.volume))


@blueprint.operation(
    "GET", "/volume/quota", Route(takes=OldQuotaBody, gives={}, refuses=(QuotaMoved,))
)
def get_old_quota(_: OldQuota) -> Response:
    """Refuse: limits belong to quota scopes."""
    raise QuotaMoved("Limits belong to quota scopes; use /quota-scope.")


@blueprint.operation(
    "PATCH", "/volume/quota", Route(takes=SetOldQuotaBody, gives={}, refuses=(QuotaMoved,))
)
def set_old_quota(_: OldQuota) -> Response:
    """Refuse: limits belong to quota scopes."""
    raise QuotaMoved("Limits belong to quota scopes; use /quota-scope.")


_log = logger(__name__)
