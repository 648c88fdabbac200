"""Routes of tickets: signed permission for one operation at the client door."""

from flask import Response
from msgspec import structs

from api.http import answer
from api.routes import VOLUME as UNMANAGED
from api.routes import Resource, Route, RouteAnswer, current_door, on_behalf, ticket_issue
from api.schemas import (
    ArchiveOrder,
    ArchiveTicketBody,
    DownloadBody,
    DownloadOrder,
    Token,
    UploadBody,
    UploadOrder,
)
from core.access import ArchiveTicket, DownloadTicket, Ticket, UploadTicket, tickets
from core.errors import EntryExists, NoSpace, PathEscape, QuotaExceeded, VFolderNotFound

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
@on_behalf.on_vfolder("entries.read")
def issue_download_ticket(body: DownloadOrder) -> Response:
    """Permit the download of one file, or of a directory as an archive.

    This does not check whether the entry exists; the download does.
    """
    if body.unmanaged_path is not None:
        on_behalf.refuse("Unmanaged paths are no user's.")
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
            person=on_behalf.claims(),
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
@on_behalf.on_vfolder("entries.read")
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
            person=on_behalf.claims(),
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
@on_behalf.on_vfolder("entries.write")
def issue_upload_ticket(body: UploadOrder) -> Response:
    """Permit the upload of one file and open the upload.

    A size above the configured largest upload, or above what the quota leaves, is refused. A file
    of zero bytes exists when this returns, because there is nothing to send.

    With `tree` the ticket permits any number of files below the directory `relpath`, each of at
    most `size` bytes. Missing directories are made. Clients create each upload at the client door.
    """
    ticket_issue.check_upload(body.path, body.size, tree=body.tree, names=("relpath", "size"))
    ticket = UploadTicket(
        volume=body.volume,
        vfid=str(body.vfolder),
        relpath=str(body.path),
        size=body.size,
        session=ticket_issue.new_session(),
        tree=body.tree,
        exp=_expiry(),
        person=on_behalf.claims(),
    )
    if body.volume == UNMANAGED:
        return _token(structs.replace(ticket, session=""))
    ticket_issue.open_upload(ticket)
    return _token(ticket)


def _token(ticket: Ticket) -> Response:
    """Return the ticket; for a volume of another node, with the URL of that node's client door."""
    token, url = ticket_issue.text_of(ticket)
    address = {} if url is None else {"client_url": url}
    return answer({"token": token, **address})


def _expiry() -> int:
    return tickets.expiry(current_door().settings.storage_proxy.session_expire_seconds)
