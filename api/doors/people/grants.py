"""Routes of grants: who else may use a vfolder, and how far."""

import time
from secrets import token_hex
from typing import Any

from flask import Response
from msgspec import structs

from api.access import RevisionChanged, check_unchanged, etag_of
from api.doors.people import revocation
from api.doors.people.documents import grant_document
from api.doors.people.entries import flag, query
from api.http import answer, no_content
from api.jobs import pointer
from api.routes import PeopleResource, PersonRequest, Route, RouteAnswer, needs, parameters
from api.schemas import people as shapes
from core.access import Grant, Permission, VFolderRecord
from core.errors import AccessForbidden, Conflict, NoSpace, NotFound, QuotaExceeded

blueprint = PeopleResource("grants", __name__, description="Who shares a vfolder.")

#: The most grants of one vfolder.
GRANTS_MAX = 1000
#: Random bytes of the id of a grant.
_ID_BYTES = 10
_WRITES = (RevisionChanged, NoSpace, QuotaExceeded)


class GrantNotFound(NotFound):
    """The vfolder has no such grant, or the caller may not see it."""

    error_code = "vfolder_read_not-found"
    kind = "storage/grant/not-found"
    title = "No such grant"


_NOT_OWN = "The manager or an operator made this grant; people do not change it."
_CANCEL_JOBS = parameters.in_query(
    "cancel_jobs",
    "True also cancels the grantee's jobs that it may not do any more.",
    type="boolean",
    default=False,
)


@blueprint.operation(
    "GET",
    "/v1/vfolders/<vfolder_id>/grants",
    Route(gives={200: RouteAnswer("The grants.", shapes.GrantList, headers=("ETag",))}),
)
@needs("grants.read")
def list_grants(asked: PersonRequest) -> Response:
    """List the grants of a vfolder. Who does not own it sees the owner and its own grants only."""
    query(())
    record = asked.vfolder.record
    grants = [grant_document(one) for one in record.grants if _may_see(asked, one)]
    owner = record.owner
    named = {"kind": owner.kind, "id": str(owner.id), "name": owner.name}
    return _answer({"owner": named, "grants": grants}, record)


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/grants",
    Route(
        takes=shapes.NewGrantBody,
        gives={201: RouteAnswer("Shared.", shapes.GrantRow, headers=("ETag",))},
        parameters=(parameters.IF_MATCH,),
        refuses=_WRITES,
    ),
)
@needs("grants.manage")
def share_vfolder(body: shapes.NewGrant, asked: PersonRequest) -> Response:
    """Share a vfolder with a user or a group.

    A second grant to the same one takes the place of the first. `owner` is never granted.
    """
    record = asked.vfolder.record
    check_unchanged(record)
    if body.to == record.owner.word:
        raise pointer("to", "owns the vfolder already")
    if body.expires_at is not None and body.expires_at <= time.time():
        raise pointer("expires_at", "has passed")
    old = [one for one in record.grants if one.to == body.to and one.source == "local"]
    if len(record.grants) - len(old) >= GRANTS_MAX:
        raise Conflict(f"A vfolder has at most {GRANTS_MAX} grants; share it with a group.")
    grant = Grant(
        id=old[0].id if old else token_hex(_ID_BYTES),
        to=body.to,
        permission=body.permission,  # type: ignore[arg-type] # the schema knows the words
        expires_at=body.expires_at,
        note=body.note,
        created_at=time.time(),
        created_by=asked.caller.subject.word,
    )

    def changed(record: VFolderRecord) -> VFolderRecord:
        kept = tuple(one for one in record.grants if one.id != grant.id)
        return structs.replace(record, grants=(*kept, grant))

    found = asked.service.changed(asked.vfolder, changed)
    return _answer(grant_document(grant), found.record, 201)


@blueprint.operation(
    "PATCH",
    "/v1/vfolders/<vfolder_id>/grants/<grant_id>",
    Route(
        takes=shapes.GrantChangeBody,
        gives={200: RouteAnswer("Changed.", shapes.GrantRow, headers=("ETag",))},
        parameters=(parameters.IF_MATCH,),
        refuses=(GrantNotFound, *_WRITES),
    ),
)
@needs("grants.manage")
def change_grant(body: shapes.GrantChange, asked: PersonRequest) -> Response:
    """Change a grant; what the body does not name stays."""
    check_unchanged(asked.vfolder.record)
    grant = structs.replace(_own_grant(asked), **body.given)

    def changed(record: VFolderRecord) -> VFolderRecord:
        grants = tuple(grant if one.id == grant.id else one for one in record.grants)
        return structs.replace(record, grants=grants)

    found = asked.service.changed(asked.vfolder, changed)
    return _answer(grant_document(grant), found.record)


@blueprint.operation(
    "DELETE",
    "/v1/vfolders/<vfolder_id>/grants/<grant_id>",
    Route(
        gives={204: RouteAnswer("Revoked.")},
        parameters=(parameters.IF_MATCH, _CANCEL_JOBS),
        refuses=(GrantNotFound, *_WRITES),
    ),
)
@needs("grants.read")
def revoke_grant(asked: PersonRequest) -> Response:
    """Revoke a grant; the grantee may give back its own.

    Jobs of the grantee that run go on, unless `cancel_jobs` is true.
    """
    given = query(("cancel_jobs",))
    cancels = flag(given, "cancel_jobs")
    record = asked.vfolder.record
    check_unchanged(record)
    grant = _grant(asked)
    leaves = grant.to == asked.caller.subject.word and grant.source == "local"
    asked.decide("grants.leave" if leaves else "grants.manage")
    if grant.source != "local":
        raise AccessForbidden(_NOT_OWN)

    def changed(record: VFolderRecord) -> VFolderRecord:
        kept = tuple(one for one in record.grants if one.id != grant.id)
        return structs.replace(record, grants=kept)

    asked.service.changed(asked.vfolder, changed)
    if cancels:
        revocation.cancel_jobs(asked, grant)
    return no_content()


def _may_see(asked: PersonRequest, grant: Grant) -> bool:
    decision, subject = asked.decision, asked.caller.subject
    if decision is not None and decision.permission is Permission.OWNER:
        return True
    groups = subject.groups | subject.admin_of
    return grant.to in {subject.word, *(f"group:{group}" for group in groups)}


def _grant(asked: PersonRequest) -> Grant:
    """Return the grant that the path names.

    Raises:
        GrantNotFound: there is none, or the caller may not see it.
    """
    for grant in asked.vfolder.record.grants:
        if grant.id == asked.path["grant_id"] and _may_see(asked, grant):
            return grant
    raise GrantNotFound("The vfolder has no such grant.")


def _own_grant(asked: PersonRequest) -> Grant:
    grant = _grant(asked)
    if grant.source != "local":
        raise AccessForbidden(_NOT_OWN)
    return grant


def _answer(value: dict[str, Any], record: VFolderRecord, status: int = 200) -> Response:
    response = answer(value, status)
    response.headers["ETag"] = etag_of(record)
    response.headers["Cache-Control"] = "no-store"
    return response
