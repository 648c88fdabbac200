"""The wire's own names for long work: they submit the very same jobs as `/v1/jobs`."""

from flask import Response

from api.doors.manager.jobs import accepted
from api.routes import Resource, Route, RouteAnswer, current_door
from api.schemas import (
    CloneVFolder,
    CloneVFolderBody,
    DeleteEntries,
    DeleteEntriesBody,
    JobDocument,
    VFolderBody,
    VFolderOfRequest,
)
from core.errors import Locked, VFolderExists, VFolderNotFound

blueprint = Resource("bgtasks", __name__, description="Long work by its older names.")
_ACCEPTED = RouteAnswer(
    "Accepted; `bgtask_id` names the job.", JobDocument, headers=("Location", "Retry-After")
)


@blueprint.operation(
    "POST", "/folder/delete", Route(takes=VFolderBody, gives={202: _ACCEPTED}, refuses=(Locked,))
)
def delete_vfolder(body: VFolderOfRequest) -> Response:
    """Take a vfolder away: gone at once, its bytes removed afterwards; an absent one is success."""
    request = {"verb": "delete", "volume": body.volume, "vfolder": str(body.vfolder)}
    return accepted(current_door().jobs.submit(request))


@blueprint.operation(
    "POST",
    "/folder/clone",
    Route(
        takes=CloneVFolderBody,
        gives={202: _ACCEPTED},
        refuses=(VFolderNotFound, VFolderExists, Locked),
    ),
)
def clone_vfolder(body: CloneVFolder) -> Response:
    """Make a vfolder that equals another; the source must exist, the target must not."""
    request = {
        "verb": "clone",
        "volume": body.volume,
        "source": str(body.source),
        "target": str(body.target),
        "target_volume": body.target_volume,
    }
    return accepted(current_door().jobs.submit(request))


@blueprint.operation(
    "POST",
    "/folder/file/delete-async",
    Route(takes=DeleteEntriesBody, gives={202: _ACCEPTED}, refuses=(VFolderNotFound,)),
)
def delete_entries_later(body: DeleteEntries) -> Response:
    """Remove entries of a vfolder in a job; absent ones are skipped."""
    request = {
        "verb": "delete-files",
        "volume": body.volume,
        "vfolder": str(body.vfolder),
        "paths": [str(path) for path in body.paths],
        "recursive": body.recursive,
    }
    return accepted(current_door().jobs.submit(request))
