"""Routes of visitors: what a link permits is all that they may. No credential is needed.

A visitor's paths begin at the path of the link, whose directory is open while they are resolved: no
path and no symbolic link leads out of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Response

from api.access.links import VISIT_SECONDS, LinkNotFound, LinkPasswordNeeded, LinkVisit
from api.doors.client import downloads, tickets
from api.doors.people.content import CONTENT
from api.doors.people.documents import entry_document
from api.doors.people.entries import PAGE_DEFAULT, PAGE_MAX, limit_of, path_of, query
from api.doors.people.keys import parts_of_door
from api.http import answer, no_content, this_request
from api.routes import (
    VOLUME_ERRORS,
    Resource,
    Route,
    RouteAnswer,
    bind_log_context,
    current_door,
    parameters,
)
from api.schemas import links as shapes
from api.schemas.people import EntryRows
from api.streaming import files
from backends.archives import ZIP
from backends.entries import listing
from core.errors import (
    AccessUnavailable,
    EntryNotFound,
    EntryRefused,
    InvalidParameters,
    PathEscape,
    StorageError,
    Throttled,
)
from core.names import VFolderPath, moment_or_none

blueprint = Resource("visits", __name__, description="What visitors of a link may.")

_REFUSES: tuple[type[StorageError], ...] = (
    *(LinkNotFound, LinkPasswordNeeded, Throttled, AccessUnavailable, InvalidParameters),
    *VOLUME_ERRORS,
)
_PATH = parameters.in_query("path", "The path below the link; the link's own when absent.")
_PASSWORD = parameters.header("X-Link-Password", "The password of the link, where it has one.")
_LIMIT = parameters.in_query(
    "limit", "The most entries of the page.", type="integer", minimum=1, maximum=PAGE_MAX
)
_CURSOR = parameters.in_query("cursor", "`next` of the page before.")
_FORMAT = CONTENT.parameters[1]


@blueprint.operation(
    "GET",
    "/s/<token>",
    Route(
        gives={200: RouteAnswer("The link.", shapes.VisitedLink)},
        parameters=(_PASSWORD,),
        refuses=_REFUSES,
    ),
)
def look_at_link(token: str) -> Response:
    """Tell what a link is for; its name only where the password was given."""
    query(())
    visit = _visit(token, without_password=True)
    _check_left(visit)
    try:
        current_door().link_visits.check_password(visit)
    except LinkPasswordNeeded:
        needs_password, name, is_directory = True, None, None
    else:
        needs_password, name, is_directory = False, None, True
        if visit.link.kind == "read":  # who sends files learns no name
            name, is_directory = _named(visit)
    document = {
        "kind": visit.link.kind,
        "needs_password": needs_password,
        "name": name,
        "is_directory": is_directory,
        "max_file_bytes": visit.link.max_file_bytes,
        "expires_at": moment_or_none(visit.link.expires_at),
    }
    return private(answer(document))


@blueprint.operation(
    "POST",
    "/s/<token>",
    Route(
        takes=shapes.PasswordBody,
        gives={204: RouteAnswer("The cookie is set.", headers=("Set-Cookie",))},
        refuses=_REFUSES,
    ),
)
def begin_visit(body: shapes.Password, token: str) -> Response:
    """Exchange the password of a link for a cookie that ends after an hour.

    Who sends files by a link without a password gets a cookie, too: it names the visit.
    """
    door = current_door()
    visit = _visit(token, without_password=True)
    name, text = door.link_visits.begin(visit, body.password)
    request, response = this_request(), no_content()
    response.set_cookie(
        name,
        text,
        max_age=VISIT_SECONDS,
        secure=parts_of_door().credentials.cookies.is_secure(request),
        httponly=True,
        samesite="Strict",
        path="/s/",
    )
    return private(response)


@blueprint.operation(
    "GET",
    "/s/<token>/entries",
    Route(
        gives={200: RouteAnswer("One page.", EntryRows)},
        parameters=(_PATH, _LIMIT, _CURSOR, _PASSWORD),
        refuses=(*_REFUSES, EntryNotFound),
    ),
)
def list_link_entries(token: str) -> Response:
    """List a directory of a link in the order of names, page by page."""
    given = query(("path", "limit", "cursor"))
    path, limit = path_of(given), limit_of(given, PAGE_DEFAULT, PAGE_MAX)
    visit = _visit(token, kind="read")
    _check_left(visit)
    base = VFolderPath.parse(visit.link.path)
    with _hidden():
        page = current_door().volume_access.in_vfolder(
            visit.found, listing.list_below, base, path, limit, given.get("cursor")
        )
    rows = [entry_document(item) for item in page.items]
    return private(answer({"entries": rows, "next": page.next}))


@blueprint.operation(
    "GET",
    "/s/<token>/content",
    Route(
        gives=CONTENT.gives,
        parameters=(
            _PATH,
            _FORMAT,
            *(parameters.RANGE, parameters.IF_RANGE, parameters.IF_MATCH, parameters.IF_NONE_MATCH),
            _PASSWORD,
        ),
        refuses=(*_REFUSES, EntryNotFound),
    ),
)
def get_link_content(token: str) -> Response:
    """Send a file of a link, or with `format` a directory as an archive; always an attachment.

    A download counts once per visitor, entry and hour, with its ranges and resumptions.
    """
    given = query(("path", "format"))
    path, form = path_of(given), downloads.requested_format(given)
    visit = _visit(token, kind="read")
    place, door = visit.found, current_door()
    if not door.volume_access.is_here(place.volume):
        raise tickets.OnOtherNode(door.volume_access.node_of(place.volume).client_url)
    base = VFolderPath.parse(visit.link.path)
    if path.is_root and not base.is_root:  # the link may be to a file
        base, path = base.parent, VFolderPath((base.name,))
    wanted = downloads.WantedFile(
        place.volume,
        downloads.source_of(place.volume, place.vfolder, base),
        path,
        or_directory=form is not None,
        caching="private, no-cache",
    )
    with _hidden():
        response = downloads.entry_answer(wanted, form or ZIP)
    if this_request().method == "GET" and response.status_code in (200, 206):
        _count(visit, response, f"{given.get('path', '')}\0{given.get('format', '')}")
    door.link_visits.keep_deciding(visit, response)
    return private(response, keep_caching=True)


def _count(visit: LinkVisit, response: Response, entry: str) -> None:
    """Count a download before its first byte; a link that is used up ends it."""
    door = current_door()
    try:
        door.link_visits.count_download(visit, entry)
    except BaseException:
        files.close_unsent(response)
        raise
    door.link_visits.note(visit)


def _visit(token: str, *, kind: str = "", without_password: bool = False) -> LinkVisit:
    visits = current_door().link_visits
    visit = visits.visit(token, kind=kind, without_password=without_password)
    bind_log_context(visit.found.volume, visit.found.vfolder)
    return visit


def visit_to_send(token: str) -> LinkVisit:
    """Return the visit of a request by a link that takes files."""
    return _visit(token, kind="drop")


def _check_left(visit: LinkVisit) -> None:
    """Refuse a link that is used up, as if it were absent."""
    if current_door().link_visits.counts.is_used_up(visit.link.id, visit.link.max_downloads):
        raise LinkNotFound("There is no such link, or it has ended.")


def _named(visit: LinkVisit) -> tuple[str | None, bool]:
    """Return the name of what a link leads to, and whether it is a directory.

    Raises:
        LinkNotFound: it leads to nothing now.
    """
    path = VFolderPath.parse(visit.link.path)
    if path.is_root:
        return visit.found.record.name, True
    try:
        found = current_door().volume_access.in_vfolder(visit.found, listing.describe_entry, path)
    except (EntryNotFound, EntryRefused, PathEscape):
        raise LinkNotFound("There is no such link, or it has ended.") from None
    return path.name, found.item["type"] == "DIRECTORY"


@contextmanager
def _hidden() -> Iterator[None]:
    """Answer 404 to each path that leads nowhere: the visitor learns no path above the link's."""
    try:
        yield
    except (EntryNotFound, EntryRefused, PathEscape):
        raise EntryNotFound("The link has no such entry.") from None


def private(response: Response, *, keep_caching: bool = False) -> Response:
    """Keep the answer from caches that others share, and its URL from other sites."""
    if not keep_caching:
        response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
