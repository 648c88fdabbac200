"""The older routes for long work. They submit the same jobs as `POST /v1/jobs`."""

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

blueprint = Resource("bgtasks", __name__, description="Older routes for long work.")
_ACCEPTED = RouteAnswer(
    "Accepted; `bgtask_id` names the job.", JobDocument, headers=("Location", "Retry-After")
)


@blueprint.operation(
    "POST", "/folder/delete", Route(takes=VFolderBody, gives={202: _ACCEPTED}, refuses=(Locked,))
)
def delete_vfolder(body: VFolderOfRequest) -> Response:
    """Delete a vfolder.

    It disappears at once, and its bytes are removed afterwards. An absent one is a success.
    """
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
    """Copy a vfolder to a new one; the source must exist, the target must not."""
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
