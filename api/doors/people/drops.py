"""Routes by which visitors of a link send files: tus 1.0.0, into one directory, over nothing.

A visitor sees what it sent in this visit and nothing else; the cookie of the visit proves it. The
name of its file is kept, and gets ` (2)` where another file has it. The bytes count for the quota
scope of the vfolder.
"""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256

from flask import Response, request

from api.access.links import LinkNotFound, LinkPasswordNeeded, LinkVisit
from api.doors.client import tickets, tus, upload_session, uploads
from api.doors.people.visits import private, visit_to_send
from api.http import answer
from api.jobs import pointer
from api.routes import VOLUME_ERRORS, Resource, Route, RouteAnswer, current_door, parameters
from api.schemas import links as shapes
from backends.entries import listing
from backends.volumes import operations
from core.access import UploadTicket
from core.errors import (
    AccessUnavailable,
    EntryExists,
    EntryNotFound,
    EntryRefused,
    InvalidParameters,
    NoSpace,
    PathEscape,
    QuotaExceeded,
    StorageError,
    Throttled,
)
from core.names import VFolderPath
from core.uploads import LINK_SESSION, UploadNotFound

blueprint = Resource("drops", __name__, description="Files that visitors send.")

#: So many names are tried for one file: `a.txt`, `a (2).txt` …
NAMES_MAX = 1000
_NO_LINK = "There is no such link, or it has ended."
_TOP = VFolderPath(())
_REFUSES: tuple[type[StorageError], ...] = (
    *(LinkNotFound, LinkPasswordNeeded, Throttled, AccessUnavailable, InvalidParameters),
    *(UploadNotFound, EntryExists, QuotaExceeded, NoSpace, tus.TooLong, tus.UnknownVersion),
    *VOLUME_ERRORS,
)
_RESUMABLE = parameters.header(
    "Tus-Resumable", "The version of tus.", type="string", enum=[tus.VERSION]
)
_PASSWORD = parameters.header("X-Link-Password", "The password of the link, where it has one.")
_OFFSET = parameters.Parameter(
    "Upload-Offset",
    "header",
    "How many bytes are there already.",
    {"type": "integer", "minimum": 0},
    required=True,
)
_ONE = "/s/<token>/uploads/<upload_id>"


@blueprint.operation(
    "GET",
    "/s/<token>/uploads",
    Route(
        gives={200: RouteAnswer("The files.", shapes.SentFiles)},
        parameters=(_PASSWORD,),
        refuses=_REFUSES,
    ),
)
def list_sent_files(token: str) -> Response:
    """List what the visitor has sent in this visit; nothing without the cookie of a visit.

    Several visitors may have one address, and none of them sees what another one sent.
    """
    visit = visit_to_send(token)
    counts = current_door().link_visits.counts
    found = counts.sent_by(visit.link.id, visit.visitor) if visit.has_cookie else []
    return private(answer({"sent": [{"name": name, "size_bytes": size} for name, size in found]}))


@blueprint.operation(
    "POST",
    "/s/<token>/uploads",
    Route(
        gives={201: RouteAnswer("It is open; `Location` is its URL.", headers=("Location",))},
        parameters=(
            _RESUMABLE,
            parameters.header("Upload-Length", "The size in bytes.", type="integer", minimum=0),
            parameters.header("Upload-Metadata", "`filename` with its value in base64."),
            _PASSWORD,
        ),
        refuses=_REFUSES,
        ignores_body=True,
    ),
)
def open_visitor_upload(token: str) -> Response:
    """Open an upload of a visitor; `filename` in the metadata is the name of the file.

    `Upload-Length` is needed. Where the name is taken, the file gets another one, as ` (2)`.
    """
    tus.check_version(request.headers)
    visit = visit_to_send(token)
    length, name = _checked(visit)
    _check_here(visit)
    target = _free_path(visit, name)
    visits = current_door().link_visits
    if not visits.counts.announced(visit.link.id, length, visit.link.max_bytes):
        raise QuotaExceeded("The link takes no more bytes.")
    visits.note(visit)
    with _hidden():
        response = uploads.create_in(
            _session(visit, "", target), lambda session: _location(token, session.url_id)
        )
    if response.headers.get("Upload-Offset") == str(length):
        visits.counts.note_sent(visit.link.id, visit.visitor, target.name, length)
    return private(response)


@blueprint.operation(
    "HEAD",
    _ONE,
    Route(
        gives={200: RouteAnswer("How far it is.")},
        parameters=(_RESUMABLE, _PASSWORD),
        refuses=_REFUSES,
        ignores_body=True,
    ),
)
def look_at_visitor_upload(token: str, upload_id: str) -> Response:
    """Tell how far an upload of the visitor is."""
    visit = visit_to_send(token)
    return private(uploads.look_in(_session(visit, upload_id)))


@blueprint.operation(
    "PATCH",
    _ONE,
    Route(
        gives={204: RouteAnswer("The bytes are there; `Upload-Offset` says how many.")},
        parameters=(_RESUMABLE, _OFFSET, _PASSWORD),
        refuses=_REFUSES,
        ignores_body=True,
    ),
)
def append_to_visitor_upload(token: str, upload_id: str) -> Response:
    """Append the body to an upload of the visitor; with its last byte the file appears."""
    visit = visit_to_send(token)
    with _hidden():
        response = uploads.append_in(_session(visit, upload_id))
    length = response.headers.get("Upload-Length", "")
    if length and response.headers.get("Upload-Offset") == length:
        _note_sent(visit, upload_id, int(length))
    return private(response)


@blueprint.operation(
    "DELETE",
    _ONE,
    Route(
        gives={204: RouteAnswer("It is gone.")},
        parameters=(_RESUMABLE, _PASSWORD),
        refuses=_REFUSES,
        ignores_body=True,
    ),
)
def end_visitor_upload(token: str, upload_id: str) -> Response:
    """Give an upload of the visitor up: its bytes are removed."""
    visit = visit_to_send(token)
    return private(uploads.terminate_in(_session(visit, upload_id)))


def _checked(visit: LinkVisit) -> tuple[int, str]:
    """Return the length and the name that a creation announces.

    Raises:
        InvalidParameters: one is missing, or it is no plain file.
        TooLong: the link takes smaller files only.
    """
    metadata = tus.metadata(request.headers)
    if "Upload-Concat" in request.headers or "extract" in metadata:
        raise InvalidParameters("A visitor sends complete files, one by one.")
    length = tus.length(request.headers)
    if length is None:
        raise pointer("Upload-Length", "is missing")
    if length > (limit := _file_limit(visit)):
        raise tus.TooLong(f"The link takes files of {limit} bytes at most.")
    return length, posixpath.basename(tus.file_path(metadata))


def _location(token: str, upload_id: str) -> str:
    """Return the path of an upload; no proxy in front may have another prefix."""
    return f"{request.script_root}/s/{token}/uploads/{upload_id}"


def _check_here(visit: LinkVisit) -> None:
    access, volume = current_door().volume_access, visit.found.volume
    if not access.is_here(volume):
        raise tickets.OnOtherNode(access.node_of(volume).client_url)


def _file_limit(visit: LinkVisit) -> int:
    most: int = current_door().settings.storage_proxy.max_upload_bytes
    return most if visit.link.max_file_bytes is None else min(most, visit.link.max_file_bytes)


def _free_path(visit: LinkVisit, name: str) -> VFolderPath:
    """Return the path of a new file that no entry has, and that no other visitor's file will have.

    Raises:
        InvalidParameters: no entry can have the name.
        LinkNotFound: the directory of the link is gone.
        EntryExists: too many files have the name.
    """
    door = current_door()
    base = VFolderPath.parse(visit.link.path)
    _check_directory(visit, base)
    if VFolderPath.parse(name).is_root:
        raise InvalidParameters("Name the file in Upload-Metadata: filename.")
    for number in range(1, NAMES_MAX + 1):
        path = base / VFolderPath.parse(_numbered(name, number))
        if not _is_free(visit, path):
            continue
        place = f"{visit.found.reference}\0{path}"
        if door.link_visits.counts.take_name(place):
            return path
    raise EntryExists("Too many files have this name; choose another one.")


def _is_free(visit: LinkVisit, path: VFolderPath) -> bool:
    access = current_door().volume_access
    try:
        with _hidden():
            access.in_vfolder(visit.found, operations.check_free, path)
    except EntryExists:
        return False
    return True


@contextmanager
def _hidden() -> Iterator[None]:
    """Replace errors that name paths: the visitor learns none above its own file's name.

    Raises:
        EntryExists: another file has the name now.
        LinkNotFound: what the link leads to is gone.
    """
    try:
        yield
    except EntryExists:
        raise EntryExists("Another file has this name now; send it again.") from None
    except (EntryNotFound, EntryRefused, PathEscape):
        raise LinkNotFound(_NO_LINK) from None


def _check_directory(visit: LinkVisit, base: VFolderPath) -> None:
    if base.is_root:
        return
    with _hidden():
        found = current_door().volume_access.in_vfolder(visit.found, listing.describe_entry, base)
    if found.item["type"] != "DIRECTORY":
        raise LinkNotFound(_NO_LINK)


def _numbered(name: str, number: int) -> str:
    stem, suffix = posixpath.splitext(name)
    return name if number == 1 else f"{stem} ({number}){suffix}"


def _note_sent(visit: LinkVisit, upload_id: str, size_bytes: int) -> None:
    door = current_door()
    path = VFolderPath.parse(door.uploads.get(upload_id).upload.path)
    door.link_visits.counts.note_sent(visit.link.id, visit.visitor, path.name, size_bytes)


@contextmanager
def _session(
    visit: LinkVisit, upload_id: str, target: VFolderPath = _TOP
) -> Iterator[upload_session.UploadSession]:
    """Give the session of a visitor: that of a ticket for one file, which replaces none."""
    _check_here(visit)
    visitor = sha256(visit.visitor.encode()).hexdigest()
    permission = UploadTicket(
        volume=visit.found.volume,
        vfid=str(visit.found.vfolder),
        relpath=str(target),
        size=_file_limit(visit),
        session=f"{LINK_SESSION}{visit.link.id}:{visitor}",
        exp=0,
    )
    again = partial(current_door().link_visits.decide_again, visit)
    with upload_session.session_of(permission, upload_id, {}, new_only=True) as session:
        yield replace(session, decide=again)
