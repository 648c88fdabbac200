"""Routes that give a vfolder to another owner: the owner offers it, and the next one accepts."""

import time

from flask import Response
from msgspec import structs

from api.access import RevisionChanged, check_unchanged
from api.doors.people.entries import query
from api.doors.people.places import check_name, owner_of
from api.doors.people.vfolders import vfolder_seen
from api.jobs import pointer
from api.routes import PeopleResource, PersonRequest, Route, RouteAnswer, needs, parameters
from api.schemas import people as vfolder_shapes
from api.schemas import people_jobs as shapes
from core.access import records
from core.errors import NoSpace, QuotaExceeded, VFolderExists

blueprint = PeopleResource("ownership", __name__, description="Who owns a vfolder.")

_VFOLDER = {200: RouteAnswer("The vfolder.", vfolder_shapes.VFolderDocument, headers=("ETag",))}
_WRITES = (RevisionChanged, NoSpace, QuotaExceeded)


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/owner",
    Route(
        takes=shapes.OwnerOfferBody,
        gives=_VFOLDER,
        parameters=(parameters.IF_MATCH,),
        refuses=_WRITES,
    ),
)
@needs("owner.offer")
def offer_vfolder(body: shapes.OwnerOffer, asked: PersonRequest) -> Response:
    """Offer a vfolder to another user or group; null takes an offer back.

    Nothing changes until the next owner accepts: a user itself, or an admin of the group.
    """
    found = asked.vfolder
    check_unchanged(found.record)
    word = "" if body.to is None else owner_of(asked, body.to).word
    if word == found.record.owner.word:
        raise pointer("to", "owns the vfolder already")
    changed = asked.service.changed(found, lambda record: structs.replace(record, next_owner=word))
    return vfolder_seen(asked, changed)


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/owner/accept",
    Route(gives=_VFOLDER, parameters=(parameters.IF_MATCH,), refuses=(VFolderExists, *_WRITES)),
)
@needs("owner.accept")
def accept_vfolder(asked: PersonRequest) -> Response:
    """Accept a vfolder that was offered to the caller, or to a group that it is an admin of.

    The former owner keeps nothing: its links end, and it has no grant. Grants to others stay. The
    bytes count for the quota scope in which they are. Where the next owner has a vfolder of the
    name, the answer is 409: rename one of them.
    """
    query(())
    found = asked.vfolder
    check_unchanged(found.record)
    owner = owner_of(asked, found.record.next_owner)
    if found.record.name is not None:
        check_name(asked, owner, found.volume, found.vfolder, found.record.name)
    changed = asked.service.changed(
        found, lambda record: records.given_to(record, owner, time.time())
    )
    return vfolder_seen(asked, changed)
