"""Routes of removed entries: what is in the trash, and how it comes back or goes for good."""

from typing import Any

from flask import Response

from api.doors.people.copies import ACCEPTED, SUBMITTED, submitted
from api.doors.people.entries import query
from api.http import answer
from api.routes import PeopleResource, PersonRequest, Route, RouteAnswer, current_door, needs
from api.schemas import people as shapes
from backends.volumes import entry_trash
from core.errors import EntryExists, Locked, QuotaExceeded, TrashNotFound
from core.names import moment

blueprint = PeopleResource("trash", __name__, description="Removed entries that are kept.")


@blueprint.operation(
    "GET",
    "/v1/vfolders/<vfolder_id>/trash",
    Route(gives={200: RouteAnswer("The removed entries.", shapes.RemovedEntriesList)}),
)
@needs("entries.read")
def list_removed_entries(asked: PersonRequest) -> Response:
    """List the removed entries of a vfolder that can be restored, the newest removal first."""
    query(())
    place = asked.vfolder
    found = current_door().volume_access.on_volume(
        place.volume, entry_trash.removed_entries, place.vfolder
    )
    response = answer({"trash": [_row(one) for one in found]})
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/trash/<trash_id>/restore",
    Route(
        gives=ACCEPTED,
        parameters=SUBMITTED,
        refuses=(TrashNotFound, EntryExists, Locked, QuotaExceeded),
    ),
)
@needs("entries.remove")
def restore_entries(asked: PersonRequest) -> Response:
    """Restore what one job removed, by a job; directories that are gone are made again.

    Where other entries have the names now, the answer is 409 with their `paths`.
    """
    query(())
    return submitted(asked, _request(asked, "restore"))


@blueprint.operation(
    "DELETE",
    "/v1/vfolders/<vfolder_id>/trash/<trash_id>",
    Route(gives=ACCEPTED, parameters=SUBMITTED, refuses=(TrashNotFound, Locked)),
)
@needs("entries.purge")
def purge_entries(asked: PersonRequest) -> Response:
    """Remove for good what one job removed and the trash keeps, by a job."""
    query(())
    request = _request(asked, "purge")
    place = asked.vfolder
    current_door().volume_access.on_volume(
        place.volume, entry_trash.check_kept, place.vfolder, request["trash"]
    )
    return submitted(asked, request)


def _request(asked: PersonRequest, verb: str) -> dict[str, Any]:
    place = asked.vfolder
    where = {"volume": place.volume, "vfolder": str(place.vfolder)}
    return {"verb": verb, "trash": asked.path["trash_id"], "entries": True, **where}


def _row(one: entry_trash.RemovedEntries) -> dict[str, Any]:
    return {
        "id": one.id,
        "deleted_at": moment(one.deleted_at),
        "expires_at": moment(one.expires_at),
        "size_bytes": one.size_bytes,
        "count": one.count,
        "paths": one.paths,
    }
