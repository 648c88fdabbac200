"""Tickets as the doors issue them: short enough for a URL, and with the address of their node."""

import time
from math import ceil
from uuid import uuid4

from msgspec import structs

from api.routes.door import current_door
from api.routes.unmanaged import VOLUME as UNMANAGED
from api.schemas import bodies
from backends.uploads import staging
from backends.volumes import operations
from core.access import Ticket, UploadTicket, tickets
from core.errors import VFolderNotFound
from core.names import VFolderId, VFolderPath
from core.uploads import Upload

#: A ticket with a longer text (characters) has its paths kept in the store. Proxies pass request
#: lines of 8 KiB, and the line has more than the ticket.
TICKET_MAX_CHARACTERS = 4096


def text_of(ticket: Ticket) -> tuple[str, str | None]:
    """Return the signed text of a ticket, and the client door of another node that serves it."""
    door = current_door()
    url = None
    if ticket.volume != UNMANAGED and not door.volume_access.is_here(ticket.volume):
        url = door.volume_access.node_of(ticket.volume).client_url
        ticket = structs.replace(ticket, client_url=url)
    return _text(ticket), url


def _text(ticket: Ticket) -> str:
    """Return the signed text, which fits into a URL: long paths are kept until it expires."""
    door = current_door()
    own = door.settings.storage_proxy
    text = tickets.issue(ticket, own.secret)
    if len(text) <= TICKET_MAX_CHARACTERS:
        return text
    selection = door.selections.keep(tickets.names_of(ticket), seconds_of(ticket))
    return tickets.issue(tickets.shortened(ticket, selection), own.secret)


def seconds_of(ticket: Ticket) -> int:
    """Return how long what a ticket names is kept: as long as the ticket is good."""
    return max(0, ceil(ticket.exp - time.time())) + 1


def check_upload(path: VFolderPath, size: int, *, tree: bool, names: tuple[str, str]) -> None:
    """Refuse what no ticket may permit; `names` are those of path and size in the body.

    Raises:
        InvalidBody: the path is the vfolder itself, or the size is above the largest upload.
    """
    path_name, size_name = names
    if path.is_root and not tree:
        text = "The path is the vfolder itself; an upload needs the name of a file."
        raise bodies.invalid_field(f"/{path_name}", text)
    largest = current_door().settings.storage_proxy.max_upload_bytes
    if size > largest:
        text = f"The size is above the largest upload, {largest} bytes."
        raise bodies.invalid_field(f"/{size_name}", text)


def open_upload(ticket: UploadTicket) -> None:
    """Open the one upload of a ticket; one for a directory opens none.

    Raises:
        VFolderNotFound: the vfolder does not exist.
        StorageError: see `staging.begin`.
    """
    door = current_door()
    if ticket.tree:
        vfolder = VFolderId.parse(ticket.vfid)
        if not door.volume_access.on_volume(ticket.volume, operations.exists, vfolder):
            raise VFolderNotFound(f"The vfolder {vfolder} does not exist.")
        return
    upload = Upload(
        id=ticket.session,
        session=ticket.session,
        volume=ticket.volume,
        vfolder=ticket.vfid,
        path=ticket.relpath,
        length=ticket.size,
    )
    door.volume_access.on_volume(ticket.volume, staging.begin, door.uploads, upload)


def new_session() -> str:
    """Return what names the uploads of one ticket."""
    return uuid4().hex
