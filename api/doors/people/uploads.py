"""Uploads of people: tus 1.0.0 as at `/upload`, with a credential in place of a ticket.

An upload belongs to its subject. Each request is decided again: who lost the permission cannot go
on. The work is that of the uploads by ticket.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from flask import Response, request

from api.doors.client import tickets, tus, upload_session, uploads
from api.doors.people.entries import limit_of, query
from api.http import answer
from api.jobs import pointer
from api.routes import (
    VOLUME_ERRORS,
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    current_door,
    needs,
    parameters,
)
from api.schemas import operators
from api.schemas import people as shapes
from core.access import UploadTicket
from core.errors import EntryExists, NoSpace, PathEscape, QuotaExceeded, VFolderNotFound
from core.names import VFolderId
from core.uploads import OpenUpload, UploadLeaseHeld, UploadNotFound, UploadPlaces

blueprint = PeopleResource("uploads", __name__, description="Uploads (tus 1.0.0).")

_RESUMABLE = parameters.header(
    "Tus-Resumable", "The version of tus.", type="string", enum=[tus.VERSION]
)
_LENGTH = parameters.header("Upload-Length", "The size in bytes.", type="integer", minimum=0)
_METADATA = parameters.header(
    "Upload-Metadata", "Keys with values in base64: `relativePath`, `extract`."
)
_OFFSET = parameters.Parameter(
    "Upload-Offset",
    "header",
    "How many bytes are there already.",
    {"type": "integer", "minimum": 0},
    required=True,
)
_CHECKSUM = parameters.header("Upload-Checksum", "An algorithm and the digest in base64.")
PAGE_DEFAULT, PAGE_MAX = 100, 1000
_CURSOR_DIGITS = 9
_PAGES = (
    parameters.in_query(
        "limit",
        "The most uploads.",
        type="integer",
        minimum=1,
        maximum=PAGE_MAX,
        default=PAGE_DEFAULT,
    ),
    parameters.in_query("cursor", "`next` of the page before."),
)
_REFUSES = (
    *(UploadNotFound, PathEscape, EntryExists, QuotaExceeded, NoSpace),
    tus.UnknownVersion,
)


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/uploads",
    Route(
        gives={201: RouteAnswer("It is open; `Location` is its URL.", headers=("Location",))},
        parameters=(
            _RESUMABLE,
            _LENGTH,
            _METADATA,
            _CHECKSUM,
            parameters.header("Upload-Defer-Length", "1 when the size is not known yet."),
            parameters.header("Upload-Concat", "`partial`, or `final;` and the URLs of the parts."),
            parameters.header("If-None-Match", "`*` refuses to replace an entry."),
            parameters.header("If-Match", "The `ETag` of the file that the upload may replace."),
        ),
        refuses=_REFUSES,
        ignores_body=True,
    ),
)
@needs("entries.write")
def create_upload(asked: PersonRequest) -> Response:
    """Open an upload; `relativePath` in the metadata is the path of the file in the vfolder.

    Its bytes go to the `Location` of the answer. With its last byte the file appears. What
    `If-None-Match` and `If-Match` refuse at the beginning is 412; where it comes to be while the
    bytes arrive, the last byte gets 409 and nothing is replaced.
    """
    place = asked.vfolder
    return uploads.create_in(_session(asked, place.volume, str(place.vfolder), ""), _location)


@blueprint.operation(
    "GET",
    "/v1/uploads",
    Route(gives={200: RouteAnswer("The uploads.", shapes.UploadList)}, parameters=_PAGES),
)
@needs("uploads.list", operators="uploads.read")
def list_uploads(asked: PersonRequest) -> Response:
    """List the caller's uploads in flight, the oldest first, 500 at most.

    Those into vfolders that the caller may not write any more are left out. Operators get those of
    all, also those by ticket, the most silent first, by pages.
    """
    document = _of_all() if asked.is_operator else _of_caller(asked)
    response = answer(document)
    response.headers["Cache-Control"] = "no-store"
    return response


def _of_caller(asked: PersonRequest) -> dict[str, Any]:
    query(())
    door = current_door()
    found = UploadPlaces(door.uploads).of_session(_session_id(asked))
    places = {(one.upload.volume, one.upload.vfolder) for one in found}
    open_ = {place for place in places if asked.service.may_write(asked.caller, *place)}
    rows = [_row(one) for one in found if (one.upload.volume, one.upload.vfolder) in open_]
    return {"uploads": rows}


def _of_all() -> dict[str, Any]:
    given = query(("limit", "cursor"))
    limit, start = limit_of(given, PAGE_DEFAULT, PAGE_MAX), _place(given.get("cursor", ""))
    found = UploadPlaces(current_door().uploads).page(limit, start)
    rows = [_row(one) | _facts_for_operators(one) for one in found]
    return {"uploads": rows, "next": str(start + limit) if len(found) == limit else None}


def _facts_for_operators(one: OpenUpload) -> dict[str, Any]:
    session = one.upload.session
    by_person = session.startswith(upload_session.PERSON_SESSION)
    return {
        "subject": session.removeprefix(upload_session.PERSON_SESSION) if by_person else None,
        "node": one.upload.node or None,
        "idle_seconds": round(one.idle_seconds, 1),
    }


def _place(cursor: str) -> int:
    """Return the place that a cursor names; an absent one is the beginning."""
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _CURSOR_DIGITS):
        raise pointer("cursor", "is none of this list")
    return int(cursor or 0)


def _row(one: OpenUpload) -> dict[str, Any]:
    upload = one.upload
    return {
        "id": upload.id,
        "vfolder": f"{upload.volume}:{VFolderId.parse(upload.vfolder).id}",
        "path": upload.path or None,
        "offset": one.offset,
        "length": upload.length,
        "is_written": one.is_written,
        "url": f"{request.script_root}/v1/uploads/{upload.id}",
    }


@blueprint.operation(
    "HEAD",
    "/v1/uploads/<upload_id>",
    Route(
        gives={200: RouteAnswer("How far it is.")},
        parameters=(_RESUMABLE,),
        refuses=_REFUSES,
        ignores_body=True,
    ),
)
@needs("entries.write")
def look_at_upload(asked: PersonRequest) -> Response:
    """Tell how far an upload is."""
    return uploads.look_in(_own(asked))


@blueprint.operation(
    "PATCH",
    "/v1/uploads/<upload_id>",
    Route(
        gives={204: RouteAnswer("The bytes are there; `Upload-Offset` says how many.")},
        parameters=(_RESUMABLE, _OFFSET, _LENGTH, _CHECKSUM),
        refuses=_REFUSES,
        ignores_body=True,
    ),
)
@needs("entries.write")
def append_to_upload(asked: PersonRequest) -> Response:
    """Append the body to an upload; with its last byte the file appears in the vfolder."""
    return uploads.append_in(_own(asked))


@blueprint.operation(
    "DELETE",
    "/v1/uploads/<upload_id>",
    Route(
        gives={204: RouteAnswer("It is gone.")},
        parameters=(_RESUMABLE,),
        refuses=_REFUSES,
        ignores_body=True,
    ),
)
@needs("entries.write")
def end_upload(asked: PersonRequest) -> Response:
    """Give an upload up: its bytes are removed."""
    return uploads.terminate_in(_own(asked))


@blueprint.operation(
    "POST",
    "/v1/uploads/<upload_id>/end",
    Route(
        takes=operators.ReasonBody,
        gives={204: RouteAnswer("It is gone.")},
        refuses=(UploadNotFound, UploadLeaseHeld, VFolderNotFound, *VOLUME_ERRORS),
    ),
)
@needs("uploads.steer", noted=True)
def end_upload_of_others(body: operators.GivenReason, asked: PersonRequest) -> Response:
    """End an upload: its bytes are removed, and its sender learns that it is gone."""
    upload = current_door().uploads.get(asked.path["upload_id"]).upload
    asked.note(
        target=f"upload:{upload.id}",
        vfolder=f"{upload.volume}:{upload.vfolder}",
        path=upload.path,
        reason=body.reason,
    )
    session = _session(asked, upload.volume, upload.vfolder, upload.id, of=upload.session)
    return uploads.end_in(session)


def _own(asked: PersonRequest) -> AbstractContextManager[upload_session.UploadSession]:
    """Return the session of the caller's upload, after its vfolder was decided.

    Raises:
        UploadNotFound: there is none, or it is another subject's.
        AccessForbidden, VFolderNotFound: the permission is gone.
    """
    upload_id = asked.path["upload_id"]
    try:
        upload = current_door().uploads.get(upload_id).upload
    except UploadNotFound:
        raise UploadNotFound(upload_session.NOT_FOUND) from None
    if upload.session != _session_id(asked):
        raise UploadNotFound(upload_session.NOT_FOUND)
    vfolder = VFolderId.parse(upload.vfolder)
    asked.is_quiet = True
    asked.about_vfolder(f"{upload.volume}:{vfolder.id}")
    return _session(asked, upload.volume, upload.vfolder, upload_id)


def _session_id(asked: PersonRequest) -> str:
    return upload_session.PERSON_SESSION + asked.caller.subject.word


@contextmanager
def _session(
    asked: PersonRequest, volume: str, vfolder: str, upload_id: str, *, of: str = ""
) -> Iterator[upload_session.UploadSession]:
    """Give the session of a permission that was decided: that of a ticket for the whole vfolder."""
    access = current_door().volume_access
    if not access.is_here(volume):
        raise tickets.OnOtherNode(access.node_of(volume).client_url)
    permission = UploadTicket(
        volume=volume,
        vfid=vfolder,
        relpath="",
        size=current_door().settings.storage_proxy.max_upload_bytes,
        session=of or _session_id(asked),
        tree=True,
        exp=0,
    )
    if of:  # an operator ends it
        with upload_session.session_of(permission, upload_id, {}) as session:
            yield session
        return
    again = replace(asked, is_quiet=True)
    named = f"{volume}:{VFolderId.parse(vfolder).id}"
    with upload_session.session_of(permission, upload_id, {}) as session:
        yield replace(session, decide=partial(again.decide_vfolder_again, named))


def _location(session: upload_session.UploadSession) -> str:
    """Return the path of an upload; no proxy in front may have another prefix."""
    return f"{request.script_root}/v1/uploads/{session.url_id}"
