"""`/upload`: bytes in, by ticket: discover, look, append, terminate (docs/wire.md, tus 1.0.0)."""

from email.utils import formatdate
from time import time

import msgspec
from flask import Response, request

from api.doors.client import finishing, tus
from api.doors.client.hashing import CHECKSUMS
from api.doors.client.receiving import PacedBody, body_of, content_length
from api.doors.client.routes import blueprint
from api.doors.client.sessions import READ_WAIT_SECONDS, Session, opened, session
from api.doors.client.writing import Writer
from api.routes import current_door
from backends.uploads import Staging, reservation
from backends.uploads import staging as uploads
from core.errors import InvalidParameters
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
    progress = at.progress(tell=True)
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
            if finishing.is_complete(progress.upload, offset):
                return told(
                    finishing.publish(at.store, staging, lease, at.target(progress)), offset
                )
            return told(progress.upload, offset)
    except UploadLeaseHeld:
        return told(progress.upload, at.progress().offset)


def _ended(at: Session, progress: UploadProgress) -> Response:
    """A finished upload: known to clients that made it by tus, gone for those of a bare ticket."""
    upload = finishing.settle_published(at.backend, at.store, progress.upload, at.target(progress))
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
        finishing.settle_published(at.backend, at.store, progress.upload, at.target(progress))
        raise


def _append(at: Session, staging: Staging, lease: UploadLease, offset: int) -> Response:
    checksum = tus.checksum(request.headers, CHECKSUMS)
    writer = Writer(at.store, staging, lease)
    writer.settle(offset)
    progress = _with_length(at, lease, UploadProgress(lease.upload, lease.offset))
    staging.upload = progress.upload
    reservation.reserve(at.backend, progress.upload)
    receive(writer, progress.upload, checksum)
    upload = progress.upload
    if finishing.is_complete(upload, writer.offset):
        with writer.giving_back():
            upload = finishing.publish(at.store, staging, lease, at.target(progress))
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
        headers["Upload-Job-State"] = finishing.job_state(upload) or "unknown"
    if not finishing.is_complete(upload, offset):
        headers["Upload-Expires"] = formatdate(time() + UPLOAD_TTL_SECONDS, usegmt=True)
    return Response(status=status, headers=headers)
