"""Routes that copy, unpack and count, by jobs: clone, transfer, extract, usage."""

from typing import Any

from flask import Response

from api.doors.people import places
from api.doors.people.entries import KEEP_SECONDS, query
from api.routes import (
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    job_answers,
    needs,
    parameters,
)
from api.schemas import JobDocument
from api.schemas import people_jobs as shapes
from core.access import records
from core.errors import (
    EntryExists,
    EntryRefused,
    KeyReused,
    Locked,
    NoCommonNode,
    PathEscape,
    VFolderExists,
)

blueprint = PeopleResource("copies", __name__, description="Copies of vfolders.")

ACCEPTED = {
    202: RouteAnswer(
        "Accepted; the body is the job.", JobDocument, headers=("Location", "Retry-After", "ETag")
    )
}
#: What a request for a job may send beside its body.
SUBMITTED: tuple[parameters.Parameter, ...] = (job_answers.IDEMPOTENCY_KEY, job_answers.PREFER)


def submitted(asked: PersonRequest, request: dict[str, Any], name: str | None = None) -> Response:
    """Return the job of a request that was decided; `name` is that of the vfolder it makes."""
    key = job_answers.idempotency_key()
    job = asked.service.submit(asked.caller, request, key, new_name=name or "")
    return job_answers.accepted(job)


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/clone",
    Route(
        takes=shapes.CloneOrderBody,
        gives=ACCEPTED,
        parameters=SUBMITTED,
        refuses=(VFolderExists, Locked, KeyReused, NoCommonNode),
    ),
)
@needs("jobs.clone")
def clone_vfolder(body: shapes.CloneOrder, asked: PersonRequest) -> Response:
    """Copy a vfolder to a new one of the caller, or of a group that it is an admin of, by a job.

    `request.target` of the job has the id of the new vfolder. It has no grants and no links.
    """
    source = asked.vfolder
    name = records.checked_name(body.name) if body.name is not None else None
    volume = asked.service.volume_for(asked.caller, body.volume or source.volume)
    owner = places.owner_of(asked, body.owner)
    scope = places.scope_of(owner)
    target = places.new_id(asked, scope, volume)
    request = {
        "verb": "clone",
        "volume": source.volume,
        "source": str(source.vfolder),
        "target": str(target),
        "target_volume": volume,
        "verify": body.verify,
    }
    asked.decide_job(request)
    if name is not None:
        places.check_name(asked, owner, volume, target, name)
    return submitted(asked, request, name)


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/transfer",
    Route(
        takes=shapes.TransferOrderBody,
        gives=ACCEPTED,
        parameters=SUBMITTED,
        refuses=(Locked, KeyReused, NoCommonNode),
    ),
)
@needs("jobs.transfer")
def transfer_entries(body: shapes.TransferOrder, asked: PersonRequest) -> Response:
    """Copy a vfolder, or a path in it, into another vfolder that exists, by a job.

    To write over entries of the target (`on_conflict` is `replace` or `newer`), and to remove
    others (`delete_extra`), needs the permission to remove entries there. To move
    (`remove_source`) needs it in the source; less than a day of `keep_seconds` that of its owner.
    """
    source, target = asked.vfolder, asked.other_end(body.to)
    terms = body.terms
    if terms["remove_source"] and terms["keep_seconds"] is None:
        terms = {**terms, "keep_seconds": KEEP_SECONDS}
    if terms["remove_source"]:
        asked.decide_keeping(terms["keep_seconds"])
    request = {
        "verb": "transfer",
        "volume": source.volume,
        "source": str(source.vfolder),
        "target": str(target.vfolder),
        "target_volume": target.volume,
        **terms,
    }
    asked.decide_job(request)
    return submitted(asked, request)


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/extract",
    Route(
        takes=shapes.ExtractOrderBody,
        gives=ACCEPTED,
        parameters=SUBMITTED,
        refuses=(EntryExists, EntryRefused, PathEscape, Locked, KeyReused),
    ),
)
@needs("jobs.extract")
def extract_archive(body: shapes.ExtractOrder, asked: PersonRequest) -> Response:
    """Unpack an archive of a vfolder into a new directory of it, by a job.

    The directory appears when it is complete, or not at all.
    """
    place = asked.vfolder
    request = {
        "verb": "extract",
        "volume": place.volume,
        "vfolder": str(place.vfolder),
        "source": str(body.source),
        "target": str(body.target),
        "archive": body.archive,
    }
    asked.decide_job(request)
    return submitted(asked, request)


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/usage",
    Route(gives=ACCEPTED, parameters=SUBMITTED, refuses=(Locked,)),
)
@needs("jobs.usage")
def count_vfolder(asked: PersonRequest) -> Response:
    """Count what a vfolder holds, by a job; its figures are then in the vfolder's `usage`."""
    query(())
    place = asked.vfolder
    request = {"verb": "usage", "volume": place.volume, "vfolder": str(place.vfolder)}
    return submitted(asked, request)
