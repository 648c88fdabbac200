"""Downloads: `/download` sends a file or a directory as an archive, `/download-archive` several.

`format` chooses the archive; the default is a stored zip. The length of an archive that is not
packed is known before the first byte, and its bytes are the same each time: so it can be resumed
like a file. An entry that cannot be sent as planned ends the connection: no archive is better than
one that looks complete.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from io import FileIO
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from flask import Response, request
from werkzeug.datastructures import Headers

from api.doors.client import tickets
from api.doors.client.routes import blueprint
from api.routes import Door, current_door
from api.streaming import (
    ArchiveResponse,
    Budget,
    Pace,
    attachment,
    files,
    object_responses,
    ranges,
)
from backends.archives import FORMATS, ZIP, ArchiveFormat, plan
from backends.base import Backend
from backends.entries import HasObjects, object_tree
from backends.fs import descriptors, paths
from backends.volumes import snapshot_content
from core.access import ArchiveTicket, DownloadTicket, TicketError
from core.errors import EntryNotFound, Forbidden, InvalidParameters, PathEscape, StorageError
from core.names import VFolderId, VFolderPath

_PARAMETERS = ("token", "dst_dir", "archive", "no_cache", "format", "tolerant")
_TOP = VFolderPath(())
#: The header by which nginx takes a file over; nginx takes a rate beside it.
_NGINX_HEADER = "x-accel-redirect"
DEFAULT_NAME = "archive"


@dataclass(frozen=True, slots=True)
class DownloadSource:
    """Where a download reads: a vfolder or a directory of it, or one below a configured root."""

    backend: Backend
    vfolder: VFolderId
    root: Path | None = None
    below: VFolderPath = _TOP
    #: The name of a snapshot of the vfolder, to read that.
    snapshot: str = ""
    #: The budget that the streams of the volume share; a configured root is on no volume.
    budget: Budget | None = None

    def pace(self) -> Pace:
        """Return the turns of one stream that reads here."""
        return Pace(self.budget)

    def probe(self) -> None:
        """Open the top directory and close it; see `opened`."""
        with self.opened():
            return

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Open the top directory; no path leads out of it.

        Raises:
            VFolderNotFound, SnapshotNotFound, EntryNotFound: it does not exist.
        """
        if self.root is None and not self.snapshot and self.below.is_root:
            with self.backend.open_vfolder(self.vfolder) as top:
                yield top
            return
        with ExitStack() as outer:
            if self.root is not None:
                above = outer.enter_context(descriptors.opened(str(self.root)))
            elif self.snapshot:
                kept = snapshot_content.opened(self.backend, self.vfolder, self.snapshot)
                above = outer.enter_context(kept)
            else:
                above = outer.enter_context(self.backend.open_vfolder(self.vfolder))
            if self.root is None and self.below.is_root:
                yield above
                return
            top = paths.open_directory(above, self.below)
            try:
                yield top
            finally:
                os.close(top)


@dataclass(frozen=True, slots=True)
class WantedFile:
    """What a download asks for: a file, or with `or_directory` a directory as an archive."""

    volume: str
    source: DownloadSource
    path: VFolderPath
    or_directory: bool
    #: The value of `Cache-Control`; empty for none.
    caching: str = ""


@dataclass(frozen=True, slots=True)
class WantedArchive:
    """What a download asks for: entries as one archive, under a name."""

    volume: str
    source: DownloadSource
    entries: list[plan.Source]
    form: ArchiveFormat
    name: str
    tolerant: bool
    caching: str = ""


class TicketRefused(StorageError):
    """A ticket for an archive is not good; 401 where a new ticket would help."""

    title = "Invalid ticket"
    kind = "generic-bad-request"
    error_code = "api_parsing_bad-request"
    status = HTTPStatus.BAD_REQUEST


class TicketUnreadable(TicketRefused):
    """The text is no ticket."""

    kind = "jwt-decode-error"
    error_code = "auth_auth_bad-request"


class TicketForOther(TicketRefused):
    """The ticket is for something else."""

    kind = "jwt-payload-validation-error"
    error_code = "auth_auth_invalid-parameters"


class TicketExpired(TicketRefused):
    """The ticket has expired."""

    kind = "jwt-expired"
    error_code = "auth_auth_data-expired"
    status = HTTPStatus.UNAUTHORIZED


class TicketForged(TicketRefused):
    """This service did not sign the ticket."""

    kind = "jwt-invalid-signature"
    error_code = "auth_auth_unauthorized"
    status = HTTPStatus.UNAUTHORIZED


_TICKET_ERRORS = {
    "expired": TicketExpired,
    "signature": TicketForged,
    "decode": TicketUnreadable,
    "claims": TicketForOther,
}


@blueprint.route("/download", methods=["GET"], provide_automatic_options=False)
def download() -> Response:
    """Download a file.

    The ticket names it. `dst_dir` is the directory below which to look. `archive` asks for a
    directory as a zip file, or as what `format` says: `zip`, `tar`, `zip-deflate` or `tar.gz`.
    `tolerant` leaves out of an archive what cannot be sent whole (see `/download-archive`).
    `no_cache` keeps caches from storing it. Ranges and conditions follow RFC 9110; the entity tag
    is strong.
    """
    parameters = tickets.query(_PARAMETERS)
    archive = tickets.boolean(parameters, "archive")
    no_cache = tickets.boolean(parameters, "no_cache")
    form, tolerant = requested_format(parameters), tickets.boolean(parameters, "tolerant")
    door = current_door()
    ticket = tickets.ticket(DownloadTicket, parameters, door)
    source = _source_of(ticket, door)
    try:
        path = tickets.target(ticket.relpath, parameters)
    except PathEscape:
        raise _hidden_escape() from None
    as_archive = archive or ticket.archive
    if form and not as_archive:
        raise InvalidParameters("format is for archives; send archive=true, too.")
    caching = files.NO_STORE if no_cache else ""
    wanted = WantedFile(ticket.volume, source, path, as_archive, caching)
    return tickets.kept(ticket, entry_answer(wanted, form or ZIP, tolerant=tolerant), door)


def entry_answer(wanted: WantedFile, form: ArchiveFormat, *, tolerant: bool = False) -> Response:
    """Return the response with a file; with a directory as an archive, where one is allowed.

    Raises:
        EntryNotFound: there is none, or its path leads out of the vfolder.
        StorageError: see `download`.
    """
    door, path = current_door(), wanted.path
    answer = door.inline_calls.call(wanted.volume, _file_answer, wanted, door)
    if answer is not None:
        return answer
    entries = [plan.Source(path, "")]  # names are relative to the directory
    name = (path.name or DEFAULT_NAME) + form.suffix
    directory = WantedArchive(
        wanted.volume, wanted.source, entries, form, name, tolerant, wanted.caching
    )
    with _hidden_escapes():
        return _archive_answer(directory, door)


def source_of(volume: str, vfolder: VFolderId, below: VFolderPath = _TOP) -> DownloadSource:
    """Return where downloads of a vfolder of this node read: it, or a directory of it."""
    door = current_door()
    budget = door.stream_budgets.of(volume)
    return DownloadSource(door.volumes.get(volume), vfolder, below=below, budget=budget)


@blueprint.route("/download-archive", methods=["GET"], provide_automatic_options=False)
def download_archive() -> Response:
    """Download files and directories of a vfolder as one archive.

    The ticket names them; names in the archive are relative to the vfolder. `format` is `zip`
    (stored; the default), `tar`, `zip-deflate` or `tar.gz`. Links are stored as links. The length
    of the first two is exact, and ranges are answered.

    A file that grows meanwhile has the length that it had when the archive was planned. A file that
    becomes shorter, or vanishes, ends the answer before it is complete. With `tolerant` such a file
    is sent up to its end, or is left out. The last entry of the archive,
    `archive-report.txt`, then names them. The length of a tolerant archive is not known before its
    end.
    """
    parameters = tickets.query(("token", "format", "tolerant"), others=True)
    tolerant = tickets.boolean(parameters, "tolerant")
    form = requested_format(parameters) or ZIP
    door = current_door()
    try:
        ticket = tickets.ticket(ArchiveTicket, parameters, door)
    except TicketError as error:
        raise _TICKET_ERRORS.get(error.reason, TicketRefused)(error.detail) from error
    backend, vfolder = door.volumes.get(ticket.volume), VFolderId.parse(ticket.virtual_folder_id)
    source = DownloadSource(backend, vfolder, budget=door.stream_budgets.of(ticket.volume))
    paths = _paths(ticket.files)
    entries = [plan.Source(path, str(path) if path.parts else "") for path in paths]
    name = _file_name(ticket.filename or DEFAULT_NAME + ZIP.suffix, form)
    try:
        wanted = WantedArchive(ticket.volume, source, entries, form, name, tolerant)
        return tickets.kept(ticket, _archive_answer(wanted, door), door)
    except PathEscape as error:
        raise InvalidParameters(error.detail) from error


def _source_of(ticket: DownloadTicket, door: Door) -> DownloadSource:
    """Return where a download ticket points.

    Raises:
        UnknownVolume, InvalidName: a name in the ticket is wrong.
        Forbidden: the ticket has an unmanaged path outside of the configured roots.
    """
    backend = door.volumes.get(ticket.volume)
    vfolder = VFolderId.parse(ticket.vfid)
    if ticket.unmanaged_path is None:
        return DownloadSource(backend, vfolder, budget=door.stream_budgets.of(ticket.volume))
    path = Path(ticket.unmanaged_path)
    for root in map(Path, door.settings.vfolder.doors.unmanaged_roots):
        if ".." not in path.parts and path.is_relative_to(root):
            return DownloadSource(backend, vfolder, root, VFolderPath(path.relative_to(root).parts))
    raise Forbidden("This unmanaged folder is below none of the `unmanaged-roots` of this node.")


@contextmanager
def _hidden_escapes() -> Iterator[None]:
    """Answer 404 to a path that leads out of the vfolder: the caller learns no more."""
    try:
        yield
    except PathEscape:
        raise _hidden_escape() from None


def _hidden_escape() -> EntryNotFound:
    return EntryNotFound("No such file in the vfolder.")


def _file_answer(wanted: WantedFile, door: Door) -> Response | None:
    """Return the response with a file; None for a directory where one is allowed."""
    objects = wanted.source.backend.skill(HasObjects)
    if objects is not None and wanted.source.root is None:
        return _object_answer(wanted, objects)
    of_vfolder = wanted.source.root is None and not wanted.source.snapshot
    handoff = bool(door.settings.vfolder.doors.handoff_header) and of_vfolder
    file = _open(wanted, 0 if handoff else files.SMALL_BYTES)
    if file is None:
        return None
    if handoff and file.file is not None:
        return _passed_to_proxy(door, wanted.volume, wanted.path, file.file)
    return files.answer(file, caching=wanted.caching)


def _object_answer(wanted: WantedFile, objects: HasObjects) -> Response | None:
    """Return the response with an object; None for a directory where one is allowed."""
    source, path = wanted.source, wanted.source.below / wanted.path
    tree = objects.tree(source.vfolder)
    if wanted.or_directory and tree.is_directory(path):
        return None
    return object_responses.answer(tree, path, source.pace(), caching=wanted.caching)


def _open(wanted: WantedFile, small_bytes: int) -> files.Sendable | None:
    source, path = wanted.source, wanted.path
    try:
        with source.opened() as top:
            if wanted.or_directory and stat.S_ISDIR(paths.stat_beneath(top, path).st_mode):
                return None
            found = paths.open_small_file(top, path, small_bytes)
    except PathEscape:
        raise _hidden_escape() from None
    # A file object closes itself when the caller has stopped waiting.
    file = None if found.content is not None else FileIO(found.descriptor)
    return files.Sendable(file, path.name, found, source.pace(), found.content)


def _passed_to_proxy(door: Door, volume: str, path: VFolderPath, file: FileIO) -> Response:
    """Name the file to the proxy in front, by the path without links that was opened."""
    with file:
        true = PurePosixPath(os.readlink(f"/proc/self/fd/{file.fileno()}"))
    mount = os.path.realpath(door.volumes.get(volume).mount.path)
    doors = door.settings.vfolder.doors
    below = PurePosixPath(doors.handoff_prefix, volume, true.relative_to(mount))
    headers = {**files.SAFE_HEADERS, "Content-Disposition": attachment(path.name)}
    headers[doors.handoff_header] = quote(os.fsencode(below))
    rate = door.stream_budgets.of(volume).newcomer()
    if rate is not None and doors.handoff_header.lower() == _NGINX_HEADER:
        headers["X-Accel-Limit-Rate"] = str(rate)
    return Response(headers=headers, content_type="application/octet-stream")


def requested_format(parameters: dict[str, str]) -> ArchiveFormat | None:
    """Return the `format` of a query; None without one.

    Raises:
        InvalidParameters: no known format has this name.
    """
    name = parameters.get("format")
    if name is None:
        return None
    form = FORMATS.get(name)
    if form is None:
        known = ", ".join(FORMATS)
        raise InvalidParameters(
            f"The query parameter format is one of {known}.", data={"format": f"is none of {known}"}
        )
    return form


def _file_name(name: str, form: ArchiveFormat) -> str:
    """Return the ticket's name for a zip, with the suffix of the requested format."""
    return name if form is ZIP else name.removesuffix(ZIP.suffix) + form.suffix


def _paths(names: list[str]) -> list[VFolderPath]:
    """Return the requested paths, each once, without those that lie inside another."""
    try:
        parsed = sorted({VFolderPath.parse(name) for name in names}, key=lambda p: p.parts)
    except PathEscape as error:
        raise InvalidParameters(error.detail) from error
    if not parsed:
        raise InvalidParameters("The ticket names no files.")
    kept: list[VFolderPath] = []
    for path in parsed:
        if not kept or path.parts[: len(kept[-1].parts)] != kept[-1].parts:
            kept.append(path)
    return kept


def _archive_answer(wanted: WantedArchive, door: Door) -> Response:
    """Return the response with an archive or a part of it; it is closed after the last byte.

    Raises:
        PreconditionFailed, RequestedRangeNotSatisfiable: the headers of the request lead to it.
        DeadlineExceeded: the request was given up.
    """
    source = wanted.source
    if source.root is None and source.backend.skill(HasObjects) is not None:
        raise object_tree.unsupported(source.backend, "send a directory as an archive")
    with ExitStack() as unsent:
        with (
            door.inline_calls.watched(wanted.volume, source.probe) as watch,
            source.opened() as top,
        ):
            archive = ArchiveResponse(
                top,
                wanted.entries,
                wanted.form,
                source.pace(),
                on_batch=watch.work,
                tolerant=wanted.tolerant,
            )
            unsent.callback(archive.close)
            response = _archive_response(archive, wanted)
        if response.response is archive:
            unsent.pop_all()
    return response


def _archive_response(archive: ArchiveResponse, wanted: WantedArchive) -> Response:
    headers = Headers(files.SAFE_HEADERS)
    headers["Content-Type"] = archive.form.content_type
    headers["Content-Disposition"] = attachment(wanted.name)
    _set_validators(archive, headers)
    if wanted.caching:
        headers["Cache-Control"] = wanted.caching
    what = ranges.Representation(archive.length, archive.etag)
    choice = ranges.choose(what, ranges.requested_ranges())
    status, start, length = ranges.apply_choice(choice, archive.length, headers)
    if status == HTTPStatus.NOT_MODIFIED or request.method == "HEAD":
        response = Response(status=status, headers=headers)
        # RFC 9110 §8.6: that of the body which GET gets, or none. The empty body has zero.
        response.automatically_set_content_length = archive.length is not None
        return response
    if status == HTTPStatus.PARTIAL_CONTENT:
        archive.limit(start, length)
    else:
        archive.begin()
    return Response(archive, status, headers, direct_passthrough=True)


def _set_validators(archive: ArchiveResponse, headers: Headers) -> None:
    """Say how a client may compare and resume: a packed archive may have other bytes elsewhere."""
    if archive.length is None:
        headers["ETag"], headers["Accept-Ranges"] = f"W/{archive.etag}", "none"
    else:
        headers["ETag"], headers["Accept-Ranges"] = archive.etag, "bytes"
