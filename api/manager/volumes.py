"""Volumes of this node."""

from dataclasses import asdict

from flask import Response

from api.doors import current_door
from api.encoding import answer
from api.resources import Act, Answer, Resource
from api.schemas.volumes import (
    FileSystemUsage,
    Hardware,
    OneVolume,
    VolumeBody,
    VolumeList,
)
from backends.base import capabilities

blueprint = Resource("volumes", __name__, description="Places to keep data.")


@blueprint.act("GET", "/volumes", Act(gives={200: Answer("All volumes.", VolumeList)}))
def list_volumes() -> Response:
    """List the volumes of this node.

    The path is where the volume is mounted on this node and on the agents.
    """
    door = current_door()
    return answer(
        {
            "volumes": [
                {
                    "name": name,
                    "backend": table.backend,
                    "path": str(door.settings.volume_path(table)),
                    "fsprefix": table.fsprefix,
                    "capabilities": capabilities(door.volumes.get(name)),
                }
                for name, table in door.settings.volume.items()
            ],
        },
    )


@blueprint.act(
    "GET",
    "/volume/hwinfo",
    Act(takes=VolumeBody, gives={200: Answer("Its health, asked just now.", Hardware)}),
)
def get_hardware_info(body: OneVolume) -> Response:
    """Ask the storage system of a volume how it is."""
    return answer(asdict(current_door().on_volume(body.volume, lambda b: b.hardware())))


@blueprint.act(
    "GET",
    "/folder/fs-usage",
    Act(takes=VolumeBody, gives={200: Answer("How full it is.", FileSystemUsage)}),
)
def get_file_system_usage(body: OneVolume) -> Response:
    """Tell how big and how full a volume is, counted as df does."""
    return answer(asdict(current_door().on_volume(body.volume, lambda b: b.capacity())))
