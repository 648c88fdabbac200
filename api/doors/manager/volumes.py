"""Volumes of this node."""

from dataclasses import asdict

from flask import Response

from api.http import answer, ready
from api.routes import NoMetric, Resource, Route, RouteAnswer, current_door
from api.routes.performance import performance
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


class QuotaMoved(Unsupported):
    """Limits per vfolder are gone; the manager still asks."""

    error_code = "vfolder_request_not-implemented"
    title = "Quotas are per quota scope"


blueprint = Resource("volumes", __name__, description="Places to keep data.")


@blueprint.operation("GET", "/volumes", Route(gives={200: RouteAnswer("All volumes.", VolumeList)}))
def list_volumes() -> Response:
    """List the volumes of this node, and those that other nodes serve now.

    The path is where the volume is mounted, on its nodes and on the agents.
    """
    return ready(current_door().volume_list())


@blueprint.operation(
    "GET",
    "/volume/hwinfo",
    Route(takes=VolumeBody, gives={200: RouteAnswer("Its health, asked just now.", Hardware)}),
)
def get_hardware_info(body: OneVolume) -> Response:
    """Ask the storage system of a volume how it is."""
    return answer(asdict(current_door().volume_access.on_volume(body.volume, operations.hardware)))


@blueprint.operation(
    "GET",
    "/folder/fs-usage",
    Route(takes=VolumeBody, gives={200: RouteAnswer("How full it is.", FileSystemUsage)}),
)
def get_file_system_usage(body: OneVolume) -> Response:
    """Tell how big and how full a volume is, counted as df does."""
    return answer(asdict(current_door().volume_access.on_volume(body.volume, operations.capacity)))


@blueprint.operation(
    "GET",
    "/volume/performance-metric",
    Route(
        takes=VolumeBody,
        gives={200: RouteAnswer("Its speed, at most seconds old.", Performance)},
        refuses=(NoMetric,),
    ),
)
def get_performance_metric(body: OneVolume) -> Response:
    """Tell how fast a volume is right now, if its backend knows."""
    return answer(performance(current_door(), body.volume))


@blueprint.operation(
    "GET", "/volume/quota", Route(takes=OldQuotaBody, gives={}, refuses=(QuotaMoved,))
)
def get_old_quota(_: OldQuota) -> Response:
    """Refuse: quotas belong to quota scopes now."""
    raise QuotaMoved("Quotas belong to quota scopes; ask /quota-scope.")


@blueprint.operation(
    "PATCH", "/volume/quota", Route(takes=SetOldQuotaBody, gives={}, refuses=(QuotaMoved,))
)
def set_old_quota(_: OldQuota) -> Response:
    """Refuse: quotas belong to quota scopes now."""
    raise QuotaMoved("Quotas belong to quota scopes; ask /quota-scope.")
