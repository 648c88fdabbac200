"""Routes of tickets: signed permission for one operation at the client door."""

from uuid import uuid4

from flask import Response
from msgspec import structs

from api.http import answer
from api.routes import VOLUME as UNMANAGED
from api.routes import Resource, Route, RouteAnswer, current_door
from api.schemas import (
    ArchiveOrder,
    ArchiveTicketBody,
    DownloadBody,
    DownloadOrder,
    Token,
    UploadBody,
    UploadOrder,
    bodies,
)
from backends.uploads import staging
from backends.volumes import operations
from core.access import ArchiveTicket, DownloadTicket, Ticket, UploadTicket, tickets
from core.errors import EntryExists, NoSpace, PathEscape, QuotaExceeded, VFolderNotFound
from core.uploads import Upload

#: A ticket with a longer text (characters) has its paths kept in the store. Proxies pass request
#: lines of 8 KiB, and the line has more than the ticket.
TICKET_MAX_CHARACTERS = 4096
#: Largest body that names entries for an archive (bytes): 10,000 long paths, escaped as JSON.
SELECTION_BODY_MAX_BYTES = 16 * 1024 * 1024

blueprint = Resource(
    "tickets", __name__, description="Permission for operations at the client door."
)


@blueprint.operation(
    "POST",
    "/folder/file/download",
    Route(
        takes=DownloadBody, gives={200: RouteAnswer("The ticket.", Token)}, refuses=(PathEscape,)
    ),
)
def issue_download_ticket(body: DownloadOrder) -> Response:
    """Permit the download of one file, or of a directory as an archive.

    This does not check whether the entry exists; the download does.
    """
    if body.volume != UNMANAGED:
        current_door().volume_access.check_known(body.volume)
    return _token(
        DownloadTicket(
            volume=body.volume,
            vfid=str(body.vfolder),
            relpath=str(body.path),
            archive=body.archive,
            unmanaged_path=body.unmanaged_path,
            exp=_expiry(),
        ),
    )


@blueprint.operation(
    "POST",
    "/folder/file/archive-download-token",
    Route(
        takes=ArchiveTicketBody,
        gives={200: RouteAnswer("The ticket.", Token)},
        refuses=(PathEscape,),
        body_max_bytes=SELECTION_BODY_MAX_BYTES,
    ),
)
def issue_archive_ticket(body: ArchiveOrder) -> Response:
    """Permit the download of several entries as one archive.

    This does not check whether the entries exist; the download does. The ticket always fits into
    a URL: many entries are kept in the store until it expires.
    """
    current_door().volume_access.check_known(body.volume)
    return _token(
        ArchiveTicket(
            volume=body.volume,
            virtual_folder_id=str(body.vfolder),
            files=[str(path) for path in body.files],
            filename=body.filename,
            exp=_expiry(),
        )
    )


@blueprint.operation(
    "POST",
    "/folder/file/upload",
    Route(
        takes=UploadBody,
        gives={200: RouteAnswer("The ticket.", Token)},
        refuses=(VFolderNotFound, PathEscape, EntryExists, QuotaExceeded, NoSpace),
    ),
)
def issue_upload_ticket(body: UploadOrder) -> Response:
    """Permit the upload of one file and open the upload.

    A size above the configured largest upload, or above what the quota leaves, is refused. A file
    of zero bytes exists when this returns, because there is nothing to send.

    With `tree` the ticket permits any number of files below the directory `relpath`, each of at
    most `size` bytes. Missing directories are made. Clients create each upload at the client door.
    """
    if body.path.is_root and not body.tree:
        raise bodies.invalid_field(
            "/relpath", "The path is the vfolder itself; an upload needs the name of a file."
        )
    door = current_door()
    largest = door.settings.storage_proxy.max_upload_bytes
    if body.size > largest:
        raise bodies.invalid_field(
            "/size", f"The size is above the largest upload, {largest} bytes."
        )
    ticket = UploadTicket(
        volume=body.volume,
        vfid=str(body.vfolder),
        relpath=str(body.path),
        size=body.size,
        session=uuid4().hex,
        tree=body.tree,
        exp=_expiry(),
    )
    if body.volume == UNMANAGED:
        return _token(structs.replace(ticket, session=""))
    if body.tree:
        if not door.volume_access.on_volume(body.volume, operations.exists, body.vfolder):
            raise VFolderNotFound(f"The vfolder {body.vfolder} does not exist.")
        return _token(ticket)
    upload = Upload(
        id=ticket.session,
        session=ticket.session,
        volume=ticket.volume,
        vfolder=ticket.vfid,
        path=ticket.relpath,
        length=ticket.size,
    )
    door.volume_access.on_volume(body.volume, staging.begin, door.uploads, upload)
    return _token(ticket)


def _token(ticket: Ticket) -> Response:
    """Return the ticket; for a volume of another node, with the URL of that node's client door."""
    door = current_door()
    address = {}
    if ticket.volume != UNMANAGED and not door.volume_access.is_here(ticket.volume):
        address["client_url"] = door.volume_access.node_of(ticket.volume).client_url
        ticket = structs.replace(ticket, **address)
    return answer({"token": _text(ticket), **address})


def _text(ticket: Ticket) -> str:
    """Return the signed text, which fits into a URL: long paths are kept until it expires."""
    door = current_door()
    own = door.settings.storage_proxy
    text = tickets.issue(ticket, own.secret)
    if len(text) <= TICKET_MAX_CHARACTERS:
        return text
    lifetime = int(own.session_expire_seconds) + 1
    selection = door.selections.keep(tickets.names_of(ticket), lifetime)
    return tickets.issue(tickets.shortened(ticket, selection), own.secret)


def _expiry() -> int:
    return tickets.expiry(current_door().settings.storage_proxy.session_expire_seconds)
