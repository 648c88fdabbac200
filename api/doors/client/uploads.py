"""`/upload`: bytes in, by ticket (docs/wire.md, tus 1.0.0): discover, create, look, append, end."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from email.utils import formatdate
from time import time
from urllib.parse import urlencode
from uuid import uuid4

import msgspec
from flask import Response, request
from werkzeug.exceptions import MethodNotAllowed, PreconditionFailed

from api.access import KeptDecision
from api.doors.client import concatenation, repeats, tickets, tus, upload_session
from api.doors.client.routes import blueprint
from api.doors.client.upload_body import (
    CHECKSUMS,
    DecidedBody,
    PacedBody,
    RequestBody,
    UploadWriter,
    WatchedBody,
    body_of,
    content_length,
)
from api.doors.client.upload_session import READ_WAIT_SECONDS, UploadSession, open_session
from api.routes import current_door
from backends.archives import UploadFormat
from backends.entries import HasObjects, object_tree
from backends.quota import DIGESTS
from backends.uploads import Staging
from backends.uploads import staging as staging_files
from backends.volumes import operations
from core.errors import EntryExists, InvalidParameters
from core.names import VFolderId, VFolderPath
from core.uploads import (
    UPLOAD_TTL_SECONDS,
    LeaseRequest,
    Upload,
    UploadLease,
    UploadLeaseHeld,
    UploadLeaseLost,
    UploadNotFound,
    UploadProgress,
)

#: A session that begins with the block that uses it.
Opening = AbstractContextManager[UploadSession]


@blueprint.route("/upload", methods=["OPTIONS"], provide_automatic_options=False)
@blueprint.route("/upload/<upload_id>", methods=["OPTIONS"], provide_automatic_options=False)
def discover(upload_id: str = "") -> Response:  # noqa: ARG001 - the answer is the same for every upload
    """Say what this service can do with uploads; needs no ticket."""
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
    """Report how far an upload is.

    A complete upload that a crash kept from its end is published now. A writer whose bytes flow is
    not disturbed; a silent one is interrupted.
    """
    return look_in(open_session(upload_id))


def look_in(opening: Opening) -> Response:
    """Report how far the upload of a session is; see `look`."""
    tus.check_version(request.headers)
    with opening as session:
        progress = session.progress(forget_rewind=True)
        if progress.upload.concat and progress.upload.finished:
            return progress_answer(progress.upload, progress.upload.length or 0)
        try:
            with session.opened(progress.upload) as staging:
                return _offset_of(session, staging, progress)
        except UploadNotFound:
            return _ended(session, progress)


def _offset_of(session: UploadSession, staging: Staging, progress: UploadProgress) -> Response:
    try:
        with session.leased(staging, READ_WAIT_SECONDS, LeaseRequest.TO_READ) as lease:
            upload, offset = progress.upload, min(lease.offset, staging.size())
            if upload_session.is_complete(upload, offset):
                target = session.target(progress)
                upload = upload_session.publish(session.store, staging, lease, target)
            return progress_answer(upload, offset)
    except UploadLeaseHeld:
        return progress_answer(progress.upload, session.progress().offset)


def _ended(session: UploadSession, progress: UploadProgress) -> Response:
    """Report a finished upload."""
    upload = upload_session.settle_published(
        session.backend, session.store, progress.upload, session.target(progress)
    )
    return progress_answer(upload, upload.length or 0)


@blueprint.route("/upload", methods=["PATCH"], provide_automatic_options=False)
@blueprint.route("/upload/<upload_id>", methods=["PATCH"], provide_automatic_options=False)
def append(upload_id: str = "") -> Response:
    """Append the body to an upload; with its last byte the file appears in the vfolder.

    What arrived before a cut connection is kept. Another request that writes this upload is asked
    to end.
    """
    return append_in(open_session(upload_id))


def append_in(opening: Opening) -> Response:
    """Append the body to the upload of a session; see `append`."""
    speaks_tus = tus.check_version(request.headers)
    with opening as session:
        try:
            with session.opened(session.expected()) as staging:
                offset = tus.offset(request.headers)
                if speaks_tus:
                    tus.check_content_type(request.headers)
                with session.leased(staging) as lease:
                    return _append(session, staging, lease, offset)
        except UploadLeaseLost:
            session.progress()  # 404 where the upload ended meanwhile, as with its vfolder
            raise
        except UploadNotFound:
            return _append_to_ended(session)


def _append_to_ended(session: UploadSession) -> Response:
    """Answer the last PATCH again, as it was answered at first; refuse any other one.

    Raises:
        FinalUpload: only parts wrote the upload.
        UploadNotFound: the upload was given up, or the body is not its last one.
    """
    progress = session.progress()
    if progress.upload.concat:
        raise tus.FinalUpload("A final upload takes no bytes, only its parts do.")
    target = session.target(progress)
    upload = upload_session.settle_published(
        session.backend, session.store, progress.upload, target
    )
    end = upload.length or 0
    if (start := repeats.start_of_last(request, end)) is None:
        raise UploadNotFound(upload_session.NOT_FOUND)
    with staging_files.published(session.backend, upload, target) as file, _body(session) as body:
        if not repeats.is_same(body, start, end, file, session.watch.work):
            raise UploadNotFound("The upload has ended with other bytes; its file is there.")
    return progress_answer(upload, end, 204)


def _append(session: UploadSession, staging: Staging, lease: UploadLease, offset: int) -> Response:
    checksum = tus.checksum(request.headers, CHECKSUMS)
    writer = UploadWriter(session.store, staging, lease)
    if _is_repeated(session, staging, lease, offset):
        return progress_answer(lease.upload, lease.offset, 204)
    writer.settle(offset)
    progress = _with_length(session, lease, UploadProgress(lease.upload, lease.offset))
    staging.upload = progress.upload
    staging_files.reserve_space(session.backend, progress.upload)
    receive(session, writer, progress.upload, checksum)
    upload = _published_if_complete(session, writer, (staging, lease), progress)
    return progress_answer(upload, writer.offset, 204)


def _is_repeated(session: UploadSession, staging: Staging, lease: UploadLease, offset: int) -> bool:
    """Return whether the request is the last one of a complete part, which nothing has joined.

    Its body is read then. A request that was cut off is sent again in another way; see `settle`.
    """
    end = lease.offset
    if not lease.upload.partial or lease.upload.length != end or offset >= end:
        return False
    if lease.rewind is not None:
        return False
    if (start := repeats.start_of_last(request, end)) is None:
        return False
    with _body(session) as body:
        return repeats.is_same(body, start, end, staging.descriptor, session.watch.work)


def _published_if_complete(
    session: UploadSession,
    writer: UploadWriter,
    held: tuple[Staging, UploadLease],
    progress: UploadProgress,
) -> Upload:
    upload = progress.upload
    if upload_session.is_complete(upload, writer.offset):
        with writer.undone_when_full():
            upload = upload_session.publish(session.store, *held, session.target(progress))
    return upload


@tus.implements("checksum")
def receive(
    session: UploadSession,
    writer: UploadWriter,
    upload: Upload,
    checksum: tuple[str, bytes] | None,
) -> None:
    """Write the body of the current request to an upload.

    Raises:
        TooLong: its Content-Length would pass the end of the upload; no byte was read.
    """
    end = upload.length if upload.length is not None else upload.limit
    announced = content_length(request.environ)
    if end is not None and announced is not None and writer.offset + announced > end:
        raise tus.TooLong(f"The upload ends at {end}; this body would end behind it.")
    target = session.target(UploadProgress(upload, writer.offset))
    with writer.sent_ahead(upload, target), _body(session, writer.tick) as body:
        writer.write(body, end, checksum, length=upload.length)


@contextmanager
def _body(
    session: UploadSession, on_tick: Callable[[bool], None] = lambda _: None
) -> Iterator[RequestBody]:
    """Give the body of the request, read within the budget of the volume; see `body_of`."""
    pace = current_door().stream_budgets.pace(session.ticket.volume, "in")
    body: RequestBody = PacedBody(body_of(request.environ, on_tick), pace)
    if session.decide is not None:
        body = DecidedBody(body, KeptDecision(session.decide))
    try:
        yield WatchedBody(body, session.watch)
    finally:
        pace.close()


@tus.implements("creation-defer-length")
def _with_length(
    session: UploadSession, lease: UploadLease, progress: UploadProgress
) -> UploadProgress:
    """Return the progress with a length that only this request announces."""
    length = tus.number(request.headers, "Upload-Length")
    upload = progress.upload
    if length is None or length == upload.length:
        return progress
    if upload.length is not None or length < lease.offset:
        raise InvalidParameters("Upload-Length cannot change, nor be below the offset.")
    if upload.limit is not None and length > upload.limit:
        raise tus.TooLong(f"The ticket allows {upload.limit} bytes.")
    known = msgspec.structs.replace(upload, length=length)
    session.store.save(lease, known)
    return UploadProgress(known, progress.offset)


@tus.implements("termination")
@blueprint.route("/upload", methods=["DELETE"], provide_automatic_options=False)
@blueprint.route("/upload/<upload_id>", methods=["DELETE"], provide_automatic_options=False)
def terminate(upload_id: str = "") -> Response:
    """Give an upload up: its bytes are removed and it is forgotten. Repeating it is safe."""
    return terminate_in(open_session(upload_id))


def terminate_in(opening: Opening) -> Response:
    """Give the upload of a session up; see `terminate`."""
    tus.check_version(request.headers)
    return end_in(opening)


def end_in(opening: Opening) -> Response:
    """Give the upload of a session up, by a request that is none of tus."""
    with opening as session:
        try:
            _give_up(session)
        except UploadNotFound:
            if not session.store.was_given_up(session.id, session.ticket.session):
                raise
        return Response(status=204)


def _give_up(session: UploadSession) -> None:
    """Remove the bytes, then the record.

    Raises:
        UploadNotFound: it was published, or nothing knows it any more.
    """
    progress = session.progress()
    try:
        with session.opened(progress.upload) as staging, session.leased(staging) as lease:
            staging_files.remove(session.backend, progress.upload)
            session.store.forget(session.id, lease, given_up_by=session.ticket.session)
    except UploadNotFound:
        if upload_session.has_ended(session, progress):
            raise
        # A request that died after the removal left the record.
        session.store.forget(session.id, given_up_by=session.ticket.session)


#: Methods that a client behind an old proxy may send as POST, with X-HTTP-Method-Override.
_OVERRIDES = {"PATCH": append, "DELETE": terminate, "HEAD": look}


@tus.implements("expiration")
def progress_answer(upload: Upload, offset: int, status: int = 200) -> Response:
    """Return the response that says how far an upload is, and until when it is kept."""
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


@tus.implements("creation")
@blueprint.route("/upload", methods=["POST"], provide_automatic_options=False)
def create() -> Response:
    """Open an upload under a ticket; its bytes go to the Location of the answer.

    A ticket for one file has the file's name. Under a ticket for a directory the name comes from
    the metadata (`relativePath`, else `filename`, else `name`). With `extract` (`tar` or `zip`) in
    the metadata that is the name of a directory, and a job unpacks the archive into it;
    `Upload-Job` names the job. `If-None-Match: *` refuses an upload that would replace an entry,
    and `If-Match` one that would replace another file than that with this `ETag`, until its end.
    """
    method = request.headers.get("X-HTTP-Method-Override", "").upper()
    if method in _OVERRIDES:
        return _OVERRIDES[method]()
    return create_in(open_session(), _location)


def create_in(opening: Opening, location: Callable[[UploadSession], str]) -> Response:
    """Open an upload in a session, whose URL `location` tells; see `create`."""
    tus.check_version(request.headers)
    with opening as session:
        kind, parts = tus.concat(request.headers)
        upload = _described(session, kind)
        if kind != "partial":
            upload = _conditional(session, upload)
        if kind == "final":
            return _concatenated(session, upload, parts, location)
        if upload.length is not None and upload.limit is not None and upload.length > upload.limit:
            raise tus.TooLong(f"The ticket allows {upload.limit} bytes.")
        begun = staging_files.begin(session.backend, session.store, upload)
        created = replace(session, url_id=begun.id)
        response = _first_bytes(created)
        response.headers["Location"] = location(created)
        return response


def _conditional(session: UploadSession, upload: Upload) -> Upload:
    """Return an upload that keeps to `If-None-Match: *` and `If-Match` until its end.

    Raises:
        PreconditionFailed: what is there is not what they expect (RFC 9110 §13.1).
    """
    if request.headers.get("If-None-Match", "").strip() == "*":
        _check_free(session, upload)
        upload = msgspec.structs.replace(upload, new_only=True)
    if "If-Match" in request.headers:
        found = upload_session.tag_of_target(
            session.backend, upload, VFolderPath.parse(upload.path)
        )
        if found is None or not request.if_match.contains(found):
            raise PreconditionFailed(staging_files.CHANGED)
        upload = msgspec.structs.replace(upload, replaces=found)
    return upload


def _check_free(session: UploadSession, upload: Upload) -> None:
    """Check that nothing has the name of an upload yet (RFC 9110 §13.1.2).

    Raises:
        PreconditionFailed: something has it.
    """
    try:
        object_tree.perform(
            session.backend,
            VFolderId.parse(upload.vfolder),
            operations.check_free,
            VFolderPath.parse(upload.path),
        )
    except EntryExists:
        raise PreconditionFailed("An entry of this name exists already.") from None


def _described(session: UploadSession, kind: str) -> Upload:
    """Return the upload that the request's headers describe."""
    metadata = tus.metadata(request.headers)
    digests = [f"{name} {metadata[name]}" for name in DIGESTS if name in metadata]
    return Upload(
        id=uuid4().hex,
        volume=session.ticket.volume,
        vfolder=session.ticket.vfid,
        path=str(_path(session, metadata)) if kind != "partial" else "",
        session=session.ticket.session,
        length=None if kind == "final" else tus.length(request.headers),
        limit=session.ticket.size,
        tree=session.ticket.tree,
        metadata=request.headers.get("Upload-Metadata", ""),
        digest=digests[0] if digests else "",
        partial=kind == "partial",
        extract=_extract(session, metadata, kind),
        concat=request.headers["Upload-Concat"] if kind == "final" else "",
        new_only=session.new_only,
    )


def _extract(session: UploadSession, metadata: dict[str, str], kind: str) -> str:
    """Return the format of an archive that a job will unpack; empty for a plain file.

    Raises:
        InvalidParameters: the format is unknown, or the archive has no byte.
        EntryExists: something has the name of the directory that would appear.
    """
    form = metadata.get("extract", "")
    if not form or kind == "partial":
        return ""
    if form not in list(UploadFormat) or request.headers.get("Upload-Length") == "0":
        formats = ", ".join(UploadFormat)
        raise InvalidParameters(f"extract is one of {formats}, with at least one byte.")
    if session.backend.skill(HasObjects):
        raise object_tree.unsupported(session.backend, "unpack an archive")
    with session.backend.open_vfolder(VFolderId.parse(session.ticket.vfid)) as top:
        operations.check_free(top, _path(session, metadata))
    return form


def _path(session: UploadSession, metadata: dict[str, str]) -> VFolderPath:
    below = tickets.target(session.ticket.relpath, session.parameters)
    if not session.ticket.tree:
        return below
    path = VFolderPath.parse(tus.file_path(metadata))
    if path.is_root:
        raise InvalidParameters("Name the file in Upload-Metadata: relativePath.")
    return below / path


@tus.implements("creation-with-upload")
def _first_bytes(session: UploadSession) -> Response:
    """Write the bytes that came with the creation, if any; publish what is complete already."""
    has_body = content_length(request.environ) != 0
    if has_body:
        tus.check_content_type(request.headers)
    progress = session.progress()
    if not has_body and progress.upload.length != 0:
        return progress_answer(progress.upload, 0, 201)
    with session.opened(progress.upload) as staging, session.leased(staging) as lease:
        writer = UploadWriter(session.store, staging, lease)
        writer.settle(0)
        if has_body:
            announced = tus.checksum(request.headers, CHECKSUMS)
            receive(session, writer, progress.upload, announced)
        upload = _published_if_complete(session, writer, (staging, lease), progress)
        return progress_answer(upload, writer.offset, 201)


@blueprint.route("/upload/<upload_id>", methods=["POST"], provide_automatic_options=False)
def override(upload_id: str) -> Response:
    """Do what X-HTTP-Method-Override says; an upload's own URL has no POST of its own."""
    method = request.headers.get("X-HTTP-Method-Override", "").upper()
    if method not in _OVERRIDES:
        raise MethodNotAllowed(["DELETE", "HEAD", "OPTIONS", "PATCH"])
    return _OVERRIDES[method](upload_id)


def _concatenated(
    session: UploadSession,
    upload: Upload,
    ids: list[str],
    location: Callable[[UploadSession], str],
) -> Response:
    joined = concatenation.join(session, upload, ids)
    response = progress_answer(joined, joined.length or 0, 201)
    response.headers["Location"] = location(replace(session, url_id=joined.id))
    return response


def _location(session: UploadSession) -> str:
    """Return the upload's URL, relative to the request's own, so that no proxy makes it wrong."""
    return f"upload/{session.url_id}?{urlencode({'token': session.parameters['token']})}"
