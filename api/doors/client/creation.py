"""`POST /upload`: uploads that clients make themselves (tus creation and concatenation)."""

import os
from dataclasses import replace
from urllib.parse import urlencode
from uuid import uuid4

import msgspec
from flask import Response, request
from werkzeug.exceptions import MethodNotAllowed

from api.doors.client import finishing, request_context, tus
from api.doors.client.hashing import CHECKSUMS
from api.doors.client.receiving import content_length
from api.doors.client.routes import blueprint
from api.doors.client.sessions import Session, opened, session
from api.doors.client.uploads import append, look, receive, terminate, told
from api.doors.client.writing import Writer
from backends.archives import UploadFormat
from backends.fs import translated
from backends.quota import DIGESTS
from backends.uploads import Staging
from backends.uploads import staging as uploads
from backends.volumes import operations
from core.errors import InvalidParameters
from core.names import VFolderId, VFolderPath
from core.uploads import Upload, UploadNotFound, UploadProgress

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
    (`relativePath`, else `filename`, else `name`). With `extract` (`tar` or `zip`) in the metadata
    that is the name of a directory, into which a job unpacks the whole; `Upload-Job` names the job.
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
    answer = _received(made)
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
        extract=_extract(at, words, kind),
        concat=request.headers["Upload-Concat"] if kind == "final" else "",
    )


def _extract(at: Session, words: dict[str, str], kind: str) -> str:
    """The archive that the upload is and that a job will unpack; empty for a plain file.

    Raises:
        InvalidParameters: no archive that is known, or one without a byte.
        EntryExists: something has the name of the directory that would appear.
    """
    form = words.get("extract", "")
    if not form or kind == "partial":
        return ""
    if form not in list(UploadFormat) or request.headers.get("Upload-Length") == "0":
        raise InvalidParameters(f"extract is one of {', '.join(UploadFormat)}, of a byte or more.")
    with at.backend.open_vfolder(VFolderId.parse(at.ticket.vfid)) as top:
        operations.check_free(top, _path(at, words))
    return form


def _path(at: Session, words: dict[str, str]) -> VFolderPath:
    below = request_context.target(at.ticket.relpath, at.given)
    if not at.ticket.tree:
        return below
    name = next((words[key] for key in _PATH_KEYS if words.get(key)), "")
    path = VFolderPath.parse(name)
    if path.is_root:
        raise InvalidParameters("Say in Upload-Metadata which file this is: relativePath.")
    return below / path


@tus.does("creation-with-upload")
def _received(at: Session) -> Response:
    """Take the bytes that came with the creation, if any; publish what is complete already."""
    carries = content_length(request.environ) != 0
    if carries:
        tus.check_content_type(request.headers)
    progress = at.progress()
    if not carries and progress.upload.length != 0:
        return told(progress.upload, 0, 201)
    with opened(at, progress) as staging, at.held(staging) as lease:
        writer = Writer(at.store, staging, lease)
        writer.settle(0)
        if carries:
            receive(writer, progress.upload, tus.checksum(request.headers, CHECKSUMS))
        upload = progress.upload
        if finishing.is_complete(upload, writer.offset):
            with writer.giving_back():
                upload = finishing.publish(at.store, staging, lease, at.target(progress))
        return told(upload, writer.offset, 201)


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
        whole = msgspec.structs.replace(upload, length=total)
        whole = finishing.end(staging, whole, VFolderPath.parse(upload.path))
    at.store.create(whole)
    for part in parts:
        uploads.remove(at.backend, part.upload)
        at.store.forget(part.upload.id)
    answer = told(whole, total, 201)
    answer.headers["Location"] = _location(replace(at, url_id=whole.id))
    return answer


def _append(at: Session, staging: Staging, part: UploadProgress) -> None:
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
