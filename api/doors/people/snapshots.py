"""Routes of the snapshots of a vfolder. The storage system keeps them; jobs do the work."""

from typing import Any

from flask import Response

from api.doors.people import places
from api.doors.people.copies import ACCEPTED, SUBMITTED, submitted
from api.doors.people.entries import query
from api.http import answer
from api.routes import (
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    job_answers,
    needs,
)
from api.schemas import people_jobs as shapes
from backends.retention import SnapshotExists, SnapshotNotFound, check_name
from core.access import records
from core.errors import KeyReused, Locked, Unsupported, VFolderExists
from core.jobs import State

blueprint = PeopleResource("snapshots", __name__, description="Snapshots of a vfolder.")

#: A list waits for its job for so long (seconds): one call of the storage system.
LIST_SECONDS = 10.0
_ONE = "/v1/vfolders/<vfolder_id>/snapshots/<snapshot_name>"


def _request(asked: PersonRequest, action: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - members of the request
    place = asked.vfolder
    where = {"volume": place.volume, "vfolder": str(place.vfolder)}
    return {"verb": "snapshot", "action": action, **where, **more}


@blueprint.operation(
    "GET",
    "/v1/vfolders/<vfolder_id>/snapshots",
    Route(
        gives={200: RouteAnswer("The snapshots.", shapes.SnapshotList), **ACCEPTED},
        refuses=(Unsupported,),
    ),
)
@needs("snapshots.read")
def list_snapshots(asked: PersonRequest) -> Response:
    """List the snapshots of a vfolder, oldest first.

    Where the storage system takes longer, the answer is 202 with the job that lists them.
    """
    query(())
    job = asked.service.submit(asked.caller, _request(asked, "list"))
    job = job_answers.ended_within(job, LIST_SECONDS)
    if job.state is not State.SUCCEEDED:
        return job_answers.accepted(job)
    response = answer({"snapshots": job.document()["result"]["snapshots"]})
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/snapshots",
    Route(
        takes=shapes.SnapshotOrderBody,
        gives=ACCEPTED,
        parameters=SUBMITTED,
        refuses=(Unsupported, SnapshotExists, Locked, KeyReused),
    ),
)
@needs("snapshots.create")
def create_snapshot(body: shapes.SnapshotOrder, asked: PersonRequest) -> Response:
    """Create a snapshot of a vfolder, by a job."""
    check_name(body.name)
    more = {"name": body.name, "keep_seconds": body.keep_seconds}
    return submitted(asked, _request(asked, "create", **more))


@blueprint.operation(
    "DELETE",
    _ONE,
    Route(gives=ACCEPTED, parameters=SUBMITTED, refuses=(Unsupported, SnapshotNotFound, Locked)),
)
@needs("snapshots.manage")
def delete_snapshot(asked: PersonRequest) -> Response:
    """Delete a snapshot, by a job; one that is not there makes the job `partial`."""
    query(())
    return submitted(asked, _request(asked, "delete", name=_name(asked)))


@blueprint.operation(
    "POST",
    f"{_ONE}/restore",
    Route(
        takes=shapes.SnapshotRestoreBody,
        gives=ACCEPTED,
        parameters=SUBMITTED,
        refuses=(Unsupported, SnapshotNotFound, VFolderExists, Locked, KeyReused),
    ),
)
@needs("snapshots.copy")
def restore_snapshot(body: shapes.SnapshotRestoreOrder, asked: PersonRequest) -> Response:
    """Restore a snapshot to a new vfolder of the same volume, by a job.

    `request.target` of the job has the id of the new vfolder. The present vfolder stays unchanged.
    """
    snapshot = _name(asked)
    name = records.checked_name(body.name) if body.name is not None else None
    owner = places.owner_of(asked, body.owner)
    scope = places.scope_of(owner)
    target = places.new_id(asked, scope, asked.vfolder.volume)
    request = _request(asked, "restore", name=snapshot, target=str(target))
    asked.decide_job(request)
    if name is not None:
        places.check_name(asked, owner, asked.vfolder.volume, target, name)
    return submitted(asked, request, name)


def _name(asked: PersonRequest) -> str:
    """Return the snapshot that the path names.

    Raises:
        InvalidName: no snapshot can have this name.
    """
    name = asked.path["snapshot_name"]
    check_name(name)
    return name
