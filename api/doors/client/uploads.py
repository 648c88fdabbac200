"""`/upload`: bytes in, by ticket: discover, look, append, terminate (docs/wire.md, tus 1.0.0).

`POST /upload`: uploads that clients make themselves (tus creation and concatenation).
"""

import os
from dataclasses import replace
from email.utils import formatdate
from time import time
from urllib.parse import urlencode
from uuid import uuid4

import msgspec
from flask import Response, request
from werkzeug.exceptions import MethodNotAllowed

from api.doors.client import request_context, tus, upload_session
from api.doors.client.routes import blueprint
from api.doors.client.upload_body import CHECKSUMS, PacedBody, Writer, body_of, content_length
from api.doors.client.upload_session import READ_WAIT_SECONDS, Session, opened, session
from api.routes import current_door
from backends.archives import UploadFormat
from backends.fs import translated
from backends.quota import DIGESTS
from backends.uploads import Staging
from backends.uploads import staging as uploads
from backends.volumes import operations
from core.errors import InvalidParameters
from core.names import VFolderId, VFolderPath
from core.uploads import (
    UPLOAD_TTL_SECONDS,
    LeaseRequest,
    Upload,
    UploadLease,
    UploadLeaseHeld,
    UploadNotFound,
    UploadProgress,
)


@blueprint.route("/upload", methods=["OPTIONS"], provide_automatic_options=False)
@blueprint.route("/upload/<upload_id>", methods=["OPTIONS"], provide_automatic_options=False)
def discover(upload_id: str = "") -> Response:  # noqa: ARG001 - told alike for every upload
    """Tell what this service can do with uploads; needs no ticket."""
    limit = current_door().settings.storage_proxy.max_upload_bytes
    headers = {
        "Tus-Version": tus.VERSION,
        "Tus-Max-Size": str(limit),
        "Tus-Extension": ",".join(sorted(tus.EXTENSIONS)),
        "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
        "X-Content-Type-Options": "nosniff",
    }
    return Response(headers=headers)


@blueprint.route("/upload", methods=["HEAD"], provide_automatic_options=False)
@blueprint.route("/upload/<upload_id>", methods=["HEAD"], provide_automatic_options=False)
def look(upload_id: str = "") -> Response:
    """Tell how far an upload is.

    A complete upload that a crash kept from its end is published now. A writer whose bytes flow is
    not disturbed; one that fell silent gives way.
    """
    tus.check_version(request.headers)
    at = session(upload_id)
    progress = at.progress(forget_rewind=True)
    if progress.upload.concat and progress.upload.finished:
        return told(progress.upload, progress.upload.length or 0)
    try:
        with opened(at, progress) as staging:
            return _looked(at, staging, progress)
    except UploadNotFound:
        return _ended(at, progress)


def _looked(at: Session, staging: Staging, progress: UploadProgress) -> Response:
    try:
        with at.held(staging, READ_WAIT_SECONDS, LeaseRequest.TO_READ) as lease:
            offset = min(lease.offset, staging.size())
            if upload_session.is_complete(progress.upload, offset):
                return told(
                    upload_session.publish(at.store, staging, lease, at.target(progress)), offset
                )
            return told(progress.upload, offset)
    except UploadLeaseHeld:
        return told(progress.upload, at.progress().offset)


def _ended(at: Session, progress: UploadProgress) -> Response:
    """A finished upload: known to clients that made it by tus, gone for those of a bare ticket."""
    upload = upload_session.settle_published(
        at.backend, at.store, progress.upload, at.target(progress)
    )
    if not at.url_id:
        raise UploadNotFound("The upload has ended; its file is in the vfolder.")
    return told(upload, upload.length or 0)


@blueprint.route("/upload", methods=["PATCH"], provide_automatic_options=False)
@blueprint.route("/upload/<upload_id>", methods=["PATCH"], provide_automatic_options=False)
def append(upload_id: str = "") -> Response:
    """Append the body to an upload; with its last byte the file appears in the vfolder.

    What arrived before a cut connection is kept. A request in the way of this one is asked to end.
    """
    speaks_tus = tus.check_version(request.headers)
    at = session(upload_id)
    try:
        with uploads.opened(at.backend, at.expected()) as staging:
            offset = tus.offset(request.headers)
            if speaks_tus:
                tus.check_content_type(request.headers)
            with at.held(staging) as lease:
                return _append(at, staging, lease, offset)
    except UploadNotFound:
        progress = at.progress()
        if progress.upload.concat:
            raise tus.FinalUpload("A final upload takes no bytes, only its parts do.") from None
        upload_session.settle_published(at.backend, at.store, progress.upload, at.target(progress))
        raise


def _append(at: Session, staging: Staging, lease: UploadLease, offset: int) -> Response:
    checksum = tus.checksum(request.headers, CHECKSUMS)
    writer = Writer(at.store, staging, lease)
    writer.settle(offset)
    progress = _with_length(at, lease, UploadProgress(lease.upload, lease.offset))
    staging.upload = progress.upload
    uploads.reserve_space(at.backend, progress.upload)
    receive(writer, progress.upload, checksum)
    upload = progress.upload
    if upload_session.is_complete(upload, writer.offset):
        with writer.giving_back():
            upload = upload_session.publish(at.store, staging, lease, at.target(progress))
    return told(upload, writer.offset, 204)


@tus.does("checksum")
def receive(writer: Writer, upload: Upload, checksum: tuple[str, bytes] | None) -> None:
    """Write the body of the request at work to an upload.

    Raises:
        TooLong: before a byte is read, if its Content-Length says so.
    """
    end = upload.length if upload.length is not None else upload.limit
    announced = content_length(request.environ)
    if end is not None and announced is not None and writer.offset + announced > end:
        raise tus.TooLong(f"The upload ends at {end}; this body would end behind it.")
    pace = current_door().stream_budgets.pace(upload.volume, "in")
    try:
        body = PacedBody(body_of(request.environ), pace)
        writer.write(body, end, checksum, whole=upload.length)
    finally:
        pace.close()


@tus.does("creation-defer-length")
def _with_length(at: Session, lease: UploadLease, progress: UploadProgress) -> UploadProgress:
    """The progress with a length that is told only now (creation-defer-length)."""
    told = tus.number(request.headers, "Upload-Length")
    upload = progress.upload
    if told is None or told == upload.length:
        return progress
    if upload.length is not None or told < lease.offset:
        raise InvalidParameters("Upload-Length cannot change, nor be below what is there.")
    if upload.limit is not None and told > upload.limit:
        raise tus.TooLong(f"The ticket allows {upload.limit} bytes.")
    known = msgspec.structs.replace(upload, length=told)
    at.store.save(lease, known)
    return UploadProgress(known, progress.offset)


@tus.does("termination")
@blueprint.route("/upload", methods=["DELETE"], provide_automatic_options=False)
@blueprint.route("/upload/<upload_id>", methods=["DELETE"], provide_automatic_options=False)
def terminate(upload_id: str = "") -> Response:
    """Give an upload up: its bytes are removed and it is forgotten."""
    tus.check_version(request.headers)
    at = session(upload_id)
    progress = at.progress()
    with opened(at, progress) as staging, at.held(staging) as lease:
        uploads.remove(at.backend, progress.upload)
        at.store.forget(at.id, lease)
    return Response(status=204)


@tus.does("expiration")
def told(upload: Upload, offset: int, status: int = 200) -> Response:
    """The answer that tells where an upload is, and until when it is kept."""
    headers = {"Upload-Offset": str(offset), "Cache-Control": "no-store"}
    if upload.length is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(upload.length)
    if upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    if upload.partial or upload.concat:
        headers["Upload-Concat"] = "partial" if upload.partial else upload.concat
    if upload.job:
        headers["Upload-Job"] = upload.job
        headers["Upload-Job-State"] = upload_session.job_state(upload) or "unknown"
    if not upload_session.is_complete(upload, offset):
        headers["Upload-Expires"] = formatdate(time() + UPLOAD_TTL_SECONDS, usegmt=True)
    return Response(status=status, headers=headers)


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
        if upload_session.is_complete(upload, writer.offset):
            with writer.giving_back():
                upload = upload_session.publish(at.store, staging, lease, at.target(progress))
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
        if not part.upload.partial or not upload_session.is_complete(part.upload, part.offset):
            raise InvalidParameters("A part is not complete, or not a part; nothing was joined.")
    total = sum(part.offset for part in parts)
    if total > at.ticket.size:
        raise tus.TooLong(f"The ticket allows {at.ticket.size} bytes, the parts have {total}.")
    first = replace(at, url_id=ids[0])
    with opened(first, parts[0]) as staging, first.held(staging):
        if staging.settle(parts[0].offset) != parts[0].offset:
            raise UploadNotFound("Bytes of the first part are gone; send it again.")
        for part in parts[1:]:
            _append_part(at, staging, part)
        staging.upload = msgspec.structs.replace(parts[0].upload, digest=upload.digest)
        whole = msgspec.structs.replace(upload, length=total)
        whole = upload_session.end(staging, whole, VFolderPath.parse(upload.path))
    at.store.create(whole)
    for part in parts:
        uploads.remove(at.backend, part.upload)
        at.store.forget(part.upload.id)
    answer = told(whole, total, 201)
    answer.headers["Location"] = _location(replace(at, url_id=whole.id))
    return answer


def _append_part(at: Session, staging: Staging, part: UploadProgress) -> None:
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
