"""Routes of the snapshots of a vfolder. The storage system keeps them; jobs do the work."""

from dataclasses import replace
from typing import Any

from flask import Response

from api.doors.client import downloads, tickets
from api.doors.people import places
from api.doors.people.content import CONTENT
from api.doors.people.copies import ACCEPTED, SUBMITTED, submitted
from api.doors.people.documents import entry_document
from api.doors.people.entries import PAGE_DEFAULT, PAGE_MAX, limit_of, path_of, query
from api.http import answer
from api.jobs import pointer
from api.routes import (
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    current_door,
    job_answers,
    needs,
    parameters,
)
from api.schemas import people_jobs as shapes
from api.schemas.people import EntryRows
from backends.archives import ZIP
from backends.retention import SnapshotExists, SnapshotNotFound, check_name
from backends.volumes import snapshot_content
from core.access import records
from core.errors import (
    EntryNotFound,
    EntryRefused,
    KeyReused,
    Locked,
    PathEscape,
    Unsupported,
    VFolderExists,
)
from core.jobs import State

blueprint = PeopleResource("snapshots", __name__, description="Snapshots of a vfolder.")

#: A list waits for its job for so long (seconds): one call of the storage system.
LIST_SECONDS = 10.0
_BROWSED = (Unsupported, SnapshotNotFound, EntryNotFound, EntryRefused, PathEscape)
_PATH = parameters.in_query("path", "The path in the snapshot; its root when absent.")
_LIMIT = parameters.in_query(
    "limit", "The most entries of the page.", type="integer", minimum=1, maximum=PAGE_MAX
)
_CURSOR = parameters.in_query("cursor", "`next` of the page before.")
_CONTENT_PARAMETERS = tuple(one for one in CONTENT.parameters if one.name != "tail")
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
    "GET",
    f"{_ONE}/entries",
    Route(
        gives={200: RouteAnswer("One page.", EntryRows)},
        parameters=(_PATH, _LIMIT, _CURSOR),
        refuses=_BROWSED,
    ),
)
@needs("snapshots.read")
def list_snapshot_entries(asked: PersonRequest) -> Response:
    """List a directory of a snapshot in the order of names, page by page."""
    given = query(("path", "limit", "cursor"))
    path, limit = path_of(given), limit_of(given, PAGE_DEFAULT, PAGE_MAX)
    place = asked.vfolder
    page = current_door().volume_access.on_volume(
        place.volume,
        snapshot_content.list_snapshot,
        place.vfolder,
        _name(asked),
        path,
        limit=limit,
        after=given.get("cursor"),
    )
    response = answer({"entries": [entry_document(one) for one in page.items], "next": page.next})
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.operation(
    "GET",
    f"{_ONE}/content",
    replace(CONTENT, parameters=_CONTENT_PARAMETERS, refuses=_BROWSED),
)
@needs("snapshots.read")
def get_snapshot_content(asked: PersonRequest) -> Response:
    """Send a file of a snapshot, or with `format` a directory as an archive; see `…/content`."""
    given = query(("path", "format"))
    name, path, form = _name(asked), path_of(given), downloads.requested_format(given)
    place, door = asked.vfolder, current_door()
    if not door.volume_access.is_here(place.volume):
        raise tickets.OnOtherNode(door.volume_access.node_of(place.volume).client_url)
    source = replace(downloads.source_of(place.volume, place.vfolder), snapshot=name)
    wanted = downloads.WantedFile(
        place.volume, source, path, or_directory=form is not None, caching="no-store"
    )
    return asked.keep_deciding(downloads.entry_answer(wanted, form or ZIP))


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
    """Restore a snapshot to a new vfolder of the same volume, or over this one, by a job.

    `request.target` of the job has the id of the new vfolder. The present vfolder stays unchanged.
    With `over` the snapshot takes the place of this vfolder, and its owner alone may; what was
    there is in the trash of its entries, by the id of the job.
    """
    snapshot = _name(asked)
    if body.over:
        if body.name is not None or body.owner is not None:
            raise pointer("over", "makes no new vfolder, so it takes no name and no owner")
        more = {"name": snapshot, "over": True, "keep_seconds": body.keep_seconds}
        request = _request(asked, "restore", **more)
        asked.decide_job(request)
        return submitted(asked, request)
    if body.keep_seconds is not None:
        raise pointer("keep_seconds", "is for `over`")
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
