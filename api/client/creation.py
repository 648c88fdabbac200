"""`POST /upload`: uploads that clients make themselves (tus creation and concatenation)."""

import os
from dataclasses import replace
from urllib.parse import urlencode
from uuid import uuid4

import msgspec
from flask import Response, request
from werkzeug.exceptions import MethodNotAllowed

from api.client import asking, finishing, tus
from api.client.receiving import content_length
from api.client.routes import blueprint
from api.client.sessions import Session, opened, session
from api.client.uploads import append, look, receive, terminate, told
from api.client.writing import CHECKSUMS, Writer
from backends import uploads
from backends.admission import DIGESTS
from backends.refusals import translated
from backends.uploads import Staging
from core.errors import InvalidParameters
from core.names import VFolderPath
from core.uploads import Progress, Upload, UploadNotFound

#: Names of `Upload-Metadata` that tell where below a directory ticket a file goes, best first.
_PATH_KEYS = ("relativePath", "filename", "name")
#: One copy_file_range(2) moves at most this much (its own limit is 2 GiB).
_COPY_BYTES = 1 << 30
#: Methods that a client behind an old proxy may send as POST, with X-HTTP-Method-Override.
_OVERRIDES = {"PATCH": append, "DELETE": terminate, "HEAD": look}


@tus.does("creation")
@blueprint.route("/upload", methods=["POST"], provide_automatic_options=False)
def create() -> Response:
    """Open an upload under a ticket; the Location of the answer is where its bytes go.

    A ticket for one file takes its name from the ticket, one for a directory from the metadata
    (`relativePath`, else `filename`, else `name`).
    """
    method = request.headers.get("X-HTTP-Method-Override", "").upper()
    if method in _OVERRIDES:
        return _OVERRIDES[method]()
    tus.check_version(request.headers)
    at = session()
    kind, parts = tus.concat(request.headers)
    upload = _described(at, kind)
    if kind == "final":
        return _concatenated(at, upload, parts)
    if upload.length is not None and upload.limit is not None and upload.length > upload.limit:
        raise tus.TooLong(f"The ticket allows {upload.limit} bytes.")
    made = replace(at, url_id=uploads.begin(at.backend, at.store, upload).id)
    offset = _received(made)
    answer = told(upload, offset, 201)
    answer.headers["Location"] = _location(made)
    return answer


def _described(at: Session, kind: str) -> Upload:
    """The upload that the request's headers describe."""
    words = tus.metadata(request.headers)
    digests = [f"{name} {words[name]}" for name in DIGESTS if name in words]
    return Upload(
        id=uuid4().hex,
        volume=at.ticket.volume,
        vfolder=at.ticket.vfid,
        path=str(_path(at, words)) if kind != "partial" else "",
        session=at.ticket.session,
        length=None if kind == "final" else tus.length(request.headers),
        limit=at.ticket.size,
        metadata=request.headers.get("Upload-Metadata", ""),
        digest=digests[0] if digests else "",
        partial=kind == "partial",
        concat=request.headers["Upload-Concat"] if kind == "final" else "",
    )


def _path(at: Session, words: dict[str, str]) -> VFolderPath:
    below = asking.target(at.ticket.relpath, at.given)
    if not at.ticket.tree:
        return below
    name = next((words[key] for key in _PATH_KEYS if words.get(key)), "")
    path = VFolderPath.parse(name)
    if path.is_root:
        raise InvalidParameters("Say in Upload-Metadata which file this is: relativePath.")
    return below / path


@tus.does("creation-with-upload")
def _received(at: Session) -> int:
    """Take the bytes that came with the creation, if any; publish what is complete already."""
    carries = content_length(request.environ) != 0
    if carries:
        tus.check_content_type(request.headers)
    progress = at.progress()
    if not carries and progress.upload.length != 0:
        return 0
    with opened(at, progress) as staging, at.held(staging) as lease:
        writer = Writer(at.store, staging, lease)
        writer.settle(0)
        if carries:
            receive(writer, progress.upload, tus.checksum(request.headers, CHECKSUMS))
        if finishing.is_complete(progress.upload, writer.offset):
            with writer.giving_back():
                finishing.publish(at.store, staging, lease, at.target(progress))
        return writer.offset


@blueprint.route("/upload/<upload_id>", methods=["POST"], provide_automatic_options=False)
def override(upload_id: str) -> Response:
    """Do what X-HTTP-Method-Override says; an upload's own URL has no POST of its own."""
    method = request.headers.get("X-HTTP-Method-Override", "").upper()
    if method not in _OVERRIDES:
        raise MethodNotAllowed(["DELETE", "HEAD", "OPTIONS", "PATCH"])
    return _OVERRIDES[method](upload_id)


@tus.does("concatenation")
def _concatenated(at: Session, upload: Upload, ids: list[str]) -> Response:
    """Publish the parts as one file: the others are appended to the first, in the kernel.

    Cut anywhere, the parts are as they were: what was appended was never committed.
    """
    parts = [replace(at, url_id=part).progress() for part in ids]
    for part in parts:
        if not part.upload.partial or not finishing.is_complete(part.upload, part.offset):
            raise InvalidParameters("A part is not complete, or not a part; nothing was joined.")
    total = sum(part.offset for part in parts)
    if total > at.ticket.size:
        raise tus.TooLong(f"The ticket allows {at.ticket.size} bytes, the parts have {total}.")
    first = replace(at, url_id=ids[0])
    with opened(first, parts[0]) as staging, first.held(staging):
        if staging.settle(parts[0].offset) != parts[0].offset:
            raise UploadNotFound("Bytes of the first part are gone; send it again.")
        for part in parts[1:]:
            _append(at, staging, part)
        staging.upload = msgspec.structs.replace(parts[0].upload, digest=upload.digest)
        staging.publish(VFolderPath.parse(upload.path))
    whole = msgspec.structs.replace(upload, length=total, finished=True)
    at.store.create(whole)
    for part in parts:
        uploads.remove(at.backend, part.upload)
        at.store.forget(part.upload.id)
    answer = told(whole, total, 201)
    answer.headers["Location"] = _location(replace(at, url_id=whole.id))
    return answer


def _append(at: Session, staging: Staging, part: Progress) -> None:
    left = part.offset
    with opened(at, part) as source, translated():
        while left > 0:
            wanted = min(left, _COPY_BYTES)
            moved = os.copy_file_range(source.descriptor, staging.descriptor, wanted)
            if moved == 0:
                raise UploadNotFound("Bytes of a part are gone; send it again.")
            left -= moved


def _location(at: Session) -> str:
    """Relative to the request's own URL, which no proxy in front can spoil."""
    return f"upload/{at.url_id}?{urlencode({'token': at.given['token']})}"
