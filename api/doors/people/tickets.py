"""Tickets for people: a signed URL for one act, for a browser or a tool that sends no header.

A ticket is good for a few minutes, and the data plane decides each request by it again.
"""

from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from api.http import answer
from api.jobs import pointer
from api.routes import (
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    current_door,
    needs,
    ticket_issue,
)
from api.schemas import people as shapes
from core.access import ArchiveTicket, CredentialFacts, DownloadTicket, UploadTicket
from core.access import tickets as access_tickets
from core.errors import EntryExists, NoSpace, PathEscape, QuotaExceeded
from core.names import moment

blueprint = PeopleResource("person_tickets", __name__, description="Tickets for one act.")

#: A ticket begins its act within this time (seconds).
TICKET_SECONDS = 300
_ROUTES = {"download": "/download", "archive": "/download-archive", "upload": "/upload"}


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/tickets",
    Route(
        takes=shapes.TicketBody,
        gives={201: RouteAnswer("The ticket.", shapes.TicketDocument)},
        refuses=(PathEscape, EntryExists, QuotaExceeded, NoSpace),
    ),
)
@needs("entries.read")
def issue_ticket(body: shapes.TicketOrder, asked: PersonRequest) -> Response:
    """Issue a ticket: for a download of `path`, an archive of `paths`, or an upload to `path`.

    With `tree` it permits any number of uploads below the directory `path`. It begins within five
    minutes, and it ends with the permission of its subject and with the credential of this request.
    """
    if body.act == "upload":
        asked.decide("entries.write")
    expires = expiry_of(asked.caller.credential)
    ticket = _ticket(asked, body, expires)
    if isinstance(ticket, UploadTicket):
        ticket_issue.open_upload(ticket)
    token, node_url = ticket_issue.text_of(ticket)
    base = node_url or current_door().settings.vfolder.doors.client_url or request.host_url
    url = f"{base.rstrip('/')}{_ROUTES[body.act]}?{urlencode({'token': token})}"
    response = answer({"token": token, "url": url, "expires_at": moment(expires)}, 201)
    response.headers["Cache-Control"] = "no-store"
    return response


def expiry_of(credential: CredentialFacts) -> int:
    """Return the end of a ticket (seconds of the epoch): no ticket outlives its credential."""
    expires = access_tickets.expiry(TICKET_SECONDS)
    end = credential.expires_at
    return expires if end is None else min(expires, int(end + credential.leeway))


def _ticket(
    asked: PersonRequest, body: shapes.TicketOrder, expires: int
) -> DownloadTicket | ArchiveTicket | UploadTicket:
    place = asked.vfolder
    volume, vfolder = place.volume, str(place.vfolder)
    person = asked.service.claims(asked.caller, place.record)
    claims: dict[str, Any] = {"person": person, "exp": expires}
    if body.act == "download":
        return DownloadTicket(volume=volume, vfid=vfolder, relpath=str(body.path), **claims)
    if body.act == "archive":
        if not body.paths:
            raise pointer("paths", "is missing; name the entries of the archive")
        files = [str(path) for path in body.paths]
        return ArchiveTicket(volume=volume, virtual_folder_id=vfolder, files=files, **claims)
    if body.size is None:
        raise pointer("size", "is missing; an upload has a number of bytes")
    ticket_issue.check_upload(body.path, body.size, tree=body.tree, names=("path", "size"))
    return UploadTicket(
        volume=volume,
        vfid=vfolder,
        relpath=str(body.path),
        size=body.size,
        session=ticket_issue.new_session(),
        tree=body.tree,
        **claims,
    )
