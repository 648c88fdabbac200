"""Directories as zip files: `/download-archive`, and `/download` of a directory.

The length is known before the first byte and the bytes are the same each time, so an archive can be
resumed like a file. An entry that cannot be sent as planned ends the connection: better no archive
than one that looks whole.
"""

import os
from collections.abc import Iterator
from http import HTTPStatus

from flask import Response, request
from werkzeug.datastructures import Headers

from api.client import asking, ranges, sending
from api.client.asking import Place
from api.client.disposition import attachment
from api.client.routes import blueprint
from api.doors import current_door
from backends.archives import plan
from backends.archives.zips import StoredZip
from core import metrics
from core.errors import InvalidParameters, PathEscape, StorageError
from core.names import VFolderId, VFolderPath
from core.telemetry import logger
from core.tickets import ArchiveTicket, TicketError

DEFAULT_NAME = "archive"
SUFFIX = ".zip"

_log = logger(__name__)


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


class Archive:
    """An archive on its way out: the body of one answer, closed with everything it holds open."""

    def __init__(self, top: int, sources: list[plan.Source]) -> None:
        self._top = os.dup(top)
        try:
            self.plan = plan.make(self._top, sources)
        except BaseException:
            os.close(self._top)
            raise
        self._zip = StoredZip(self._top, self.plan)
        self.size = self._zip.size
        self.content_type = self._zip.content_type
        self._start, self._length = 0, self.size

    def limit(self, start: int, length: int) -> None:
        """Send only this part; what is before it is still read, for its checksums."""
        self._start, self._length = start, length

    def __iter__(self) -> Iterator[bytes]:
        skip, left = self._start, self._length
        try:
            for piece in self._zip.pieces():
                part = piece[skip : skip + left] if skip or len(piece) > left else piece
                skip = max(skip - len(piece), 0)
                left -= len(part)
                if part:
                    yield part
                    metrics.STREAMED_BYTES.labels("out").inc(len(part))
                if left <= 0:
                    return
        except StorageError as error:
            _log.warning("archive cut", error_code=error.error_code, detail=error.detail)
            raise ConnectionAbortedError from error

    def close(self) -> None:
        """Close what it holds open; may be called again."""
        self.plan.close()
        if self._top >= 0:
            os.close(self._top)
            self._top = -1


@blueprint.route("/download-archive", methods=["GET"], provide_automatic_options=False)
def download_archive() -> Response:
    """Download files and directories of a vfolder as one zip file.

    The ticket names them; names in the archive are relative to the vfolder. Links are stored as
    links. The length is exact, and ranges are answered.
    """
    given = asking.query(("token",), others=True)
    door = current_door()
    try:
        ticket = asking.ticket(ArchiveTicket, given, door)
    except TicketError as error:
        raise _REFUSALS.get(error.reason, TicketRefused)(error.detail) from error
    place = Place(door.volumes.get(ticket.volume), VFolderId.parse(ticket.virtual_folder_id))
    sources = [plan.Source(path, str(path) if path.parts else "") for path in _paths(ticket.files)]
    try:
        with place.opened() as top:
            archive = Archive(top, sources)
    except PathEscape as error:
        raise InvalidParameters(error.detail) from error
    return answer(archive, ticket.filename or DEFAULT_NAME + SUFFIX)


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


def directory(place: Place, path: VFolderPath, *, no_cache: bool) -> Response:
    """A directory as a zip file of its own name, entries relative to it."""
    with asking.hidden_escapes(), place.opened() as top:
        archive = Archive(top, [plan.Source(path, "")])
    return answer(archive, (path.name or DEFAULT_NAME) + SUFFIX, no_cache=no_cache)


def answer(archive: Archive, name: str, *, no_cache: bool = False) -> Response:
    """Answer with an archive, whole or in part; closes it when it is sent.

    Raises:
        PreconditionFailed, RequestedRangeNotSatisfiable: as the request asked for it.
    """
    try:
        headers = Headers(sending.SAFE_HEADERS)
        headers["Content-Type"] = archive.content_type
        headers["Content-Disposition"] = attachment(name)
        headers["ETag"] = f'"{archive.plan.tag}"'
        headers["Accept-Ranges"] = "bytes"
        if no_cache:
            headers["Cache-Control"] = "no-store"
        what = ranges.Representation(archive.size, headers["ETag"])
        choice = ranges.choose(what, sending.asked())
        status, start, length = sending.chosen(choice, archive.size, headers)
    except BaseException:
        archive.close()
        raise
    if status == HTTPStatus.NOT_MODIFIED or request.method == "HEAD":
        archive.close()
        return Response(status=status, headers=headers)
    archive.limit(start, length)
    return Response(archive, status, headers, direct_passthrough=True)
