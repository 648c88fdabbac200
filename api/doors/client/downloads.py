"""`/download`: one file of a vfolder, whole or in part, or a directory as an archive.

Directories as archives: `/download-archive`, and `/download` of a directory.

`format` chooses; without it the answer is a stored zip. Of what is not packed the length is known
before the first byte and the bytes are the same each time, so it can be resumed like a file. An
entry that cannot be sent as planned ends the connection: better no archive than one that looks
whole.
"""

import os
import stat
from http import HTTPStatus
from io import FileIO
from pathlib import PurePosixPath
from urllib.parse import quote

from flask import Response, request
from werkzeug.datastructures import Headers

from api.doors.client import request_context
from api.doors.client.request_context import DownloadSource
from api.doors.client.routes import blueprint
from api.routes import Door, current_door
from api.streaming import ArchiveResponse, attachment, files, ranges
from backends.archives import FORMATS, ZIP, ArchiveFormat, plan
from backends.fs import paths
from core.access import ArchiveTicket, DownloadTicket, TicketError
from core.errors import InvalidParameters, PathEscape, StorageError
from core.names import VFolderId, VFolderPath

_PARAMETERS = ("token", "dst_dir", "archive", "no_cache", "format")
#: The hand-off header that nginx reads; beside it, it takes a rate.
_NGINX_HEADER = "x-accel-redirect"


@blueprint.route("/download", methods=["GET"], provide_automatic_options=False)
def download() -> Response:
    """Download a file.

    The ticket names it; `dst_dir` is the directory below which to look, `archive` asks for a
    directory as a zip file (or as what `format` says: `zip`, `tar`, `zip-deflate` or `tar.gz`),
    `no_cache` forbids caches to keep it. Ranges and conditions follow RFC 9110; the entity tag is
    strong.
    """
    given = request_context.query(_PARAMETERS)
    archive, no_cache = (
        request_context.boolean(given, "archive"),
        request_context.boolean(given, "no_cache"),
    )
    form = format_of(given)
    door = current_door()
    permission = request_context.ticket(DownloadTicket, given, door)
    place = request_context.place(permission, door)
    with request_context.hidden_escapes():
        path = request_context.target(permission.relpath, given)
        wanted = archive or permission.archive
        if form and not wanted:
            raise InvalidParameters("format is for archives: ask with archive=true.")
        file = request_context.gates().call(
            permission.volume, _open, place, path, or_directory=wanted
        )
    if file is None:
        return directory(place, path, form or ZIP, no_cache=no_cache)
    if door.settings.vfolder.doors.handoff_header and place.root is None:
        return _handed_off(door, permission.volume, path, file)
    return files.answer(file, no_cache=no_cache)


def _open(place: DownloadSource, path: VFolderPath, *, or_directory: bool) -> files.Sendable | None:
    """The file, open; None for a directory where one will do."""
    with request_context.hidden_escapes(), place.opened() as top:
        if or_directory and stat.S_ISDIR(paths.stat_beneath(top, path).st_mode):
            return None
        descriptor = paths.open_file(top, path)
    file = FileIO(descriptor)  # closes itself if the caller has given up waiting meanwhile
    return files.Sendable(file, path.name, os.fstat(descriptor), place.pace())


def _handed_off(door: Door, volume: str, path: VFolderPath, file: files.Sendable) -> Response:
    """Name the file to the proxy in front by the true path that we opened, free of links."""
    with file.file:
        true = PurePosixPath(os.readlink(f"/proc/self/fd/{file.file.fileno()}"))
    mount = os.path.realpath(door.volumes.get(volume).mount.path)
    doors = door.settings.vfolder.doors
    below = PurePosixPath(doors.handoff_prefix, volume, true.relative_to(mount))
    headers = {**files.SAFE_HEADERS, "Content-Disposition": attachment(path.name)}
    headers[doors.handoff_header] = quote(os.fsencode(below))
    rate = door.stream_budgets.of(volume).newcomer()
    if rate is not None and doors.handoff_header.lower() == _NGINX_HEADER:
        headers["X-Accel-Limit-Rate"] = str(rate)
    return Response(headers=headers, content_type="application/octet-stream")


DEFAULT_NAME = "archive"


class TicketRefused(StorageError):
    """A ticket for an archive is not good: 401 when another one would be."""

    title = "Invalid ticket"
    kind = "generic-bad-request"
    error_code = "api_parsing_bad-request"
    status = HTTPStatus.BAD_REQUEST


class TicketUnreadable(TicketRefused):
    """It is no ticket."""

    kind = "jwt-decode-error"
    error_code = "auth_auth_bad-request"


class TicketForOther(TicketRefused):
    """It is for something else."""

    kind = "jwt-payload-validation-error"
    error_code = "auth_auth_invalid-parameters"


class TicketExpired(TicketRefused):
    """It has expired."""

    kind = "jwt-expired"
    error_code = "auth_auth_data-expired"
    status = HTTPStatus.UNAUTHORIZED


class TicketForged(TicketRefused):
    """It was not signed by this service."""

    kind = "jwt-invalid-signature"
    error_code = "auth_auth_unauthorized"
    status = HTTPStatus.UNAUTHORIZED


_REFUSALS = {
    "expired": TicketExpired,
    "signature": TicketForged,
    "decode": TicketUnreadable,
    "claims": TicketForOther,
}


@blueprint.route("/download-archive", methods=["GET"], provide_automatic_options=False)
def download_archive() -> Response:
    """Download files and directories of a vfolder as one archive.

    The ticket names them; names in the archive are relative to the vfolder. `format` is `zip`
    (stored; so it is without), `tar`, `zip-deflate` or `tar.gz`. Links are stored as links. Of the
    first two the length is exact, and ranges are answered.
    """
    given = request_context.query(("token", "format"), others=True)
    form = format_of(given) or ZIP
    door = current_door()
    try:
        ticket = request_context.ticket(ArchiveTicket, given, door)
    except TicketError as error:
        raise _REFUSALS.get(error.reason, TicketRefused)(error.detail) from error
    backend, vfolder = door.volumes.get(ticket.volume), VFolderId.parse(ticket.virtual_folder_id)
    place = DownloadSource(backend, vfolder, budget=door.stream_budgets.of(ticket.volume))
    sources = [plan.Source(path, str(path) if path.parts else "") for path in _paths(ticket.files)]
    try:
        with place.opened() as top:
            archive = ArchiveResponse(top, sources, form, place.pace())
    except PathEscape as error:
        raise InvalidParameters(error.detail) from error
    return answer(archive, _named(ticket.filename or DEFAULT_NAME + ZIP.suffix, form))


def format_of(given: dict[str, str]) -> ArchiveFormat | None:
    """The `format` of a query; None when it says nothing.

    Raises:
        InvalidParameters: no format that is known.
    """
    word = given.get("format")
    if word is None:
        return None
    found = FORMATS.get(word)
    if found is None:
        known = ", ".join(FORMATS)
        raise InvalidParameters(
            f"The query parameter format is one of {known}.", data={"format": f"is none of {known}"}
        )
    return found


def _named(name: str, form: ArchiveFormat) -> str:
    """The ticket's name for a zip, with the right ending when it is to be another archive."""
    return name if form is ZIP else name.removesuffix(ZIP.suffix) + form.suffix


def _paths(files: list[str]) -> list[VFolderPath]:
    """The paths asked for, each once, and none that is inside another."""
    try:
        found = sorted({VFolderPath.parse(name) for name in files}, key=lambda path: path.parts)
    except PathEscape as error:
        raise InvalidParameters(error.detail) from error
    if not found:
        raise InvalidParameters("The ticket names no files.")
    kept: list[VFolderPath] = []
    for path in found:
        if not kept or path.parts[: len(kept[-1].parts)] != kept[-1].parts:
            kept.append(path)
    return kept


def directory(
    place: DownloadSource, path: VFolderPath, form: ArchiveFormat, *, no_cache: bool
) -> Response:
    """A directory as an archive of its own name, entries relative to it."""
    with request_context.hidden_escapes(), place.opened() as top:
        archive = ArchiveResponse(top, [plan.Source(path, "")], form, place.pace())
    return answer(archive, (path.name or DEFAULT_NAME) + form.suffix, no_cache=no_cache)


def answer(archive: ArchiveResponse, name: str, *, no_cache: bool = False) -> Response:
    """Answer with an archive, whole or in part; closes it when it is sent.

    Raises:
        PreconditionFailed, RequestedRangeNotSatisfiable: as the request asked for it.
    """
    try:
        headers = Headers(files.SAFE_HEADERS)
        headers["Content-Type"] = archive.form.content_type
        headers["Content-Disposition"] = attachment(name)
        _validate(archive, headers)
        if no_cache:
            headers["Cache-Control"] = "no-store"
        what = ranges.Representation(archive.length, archive.etag)
        choice = ranges.choose(what, ranges.asked())
        status, start, length = files.chosen(choice, archive.length, headers)
    except BaseException:
        archive.close()
        raise
    if status == HTTPStatus.NOT_MODIFIED or request.method == "HEAD":
        archive.close()
        return Response(status=status, headers=headers)
    if status == HTTPStatus.PARTIAL_CONTENT:
        archive.limit(start, length)
    return Response(archive, status, headers, direct_passthrough=True)


def _validate(archive: ArchiveResponse, headers: Headers) -> None:
    """How a client may compare and resume: what is packed might be packed otherwise elsewhere."""
    if archive.length is None:
        headers["ETag"], headers["Accept-Ranges"] = f"W/{archive.etag}", "none"
    else:
        headers["ETag"], headers["Accept-Ranges"] = archive.etag, "bytes"
