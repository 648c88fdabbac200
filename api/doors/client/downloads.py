"""`/download`: one file of a vfolder, whole or in part, or a directory as an archive."""

import os
import stat
from io import FileIO
from pathlib import PurePosixPath
from urllib.parse import quote

from flask import Response

from api.doors.client import archives, request_context
from api.doors.client.routes import blueprint
from api.routes import Door, current_door
from api.streaming import attachment, files
from backends.archives import ZIP
from backends.fs import paths
from core.access import DownloadTicket
from core.errors import InvalidParameters
from core.names import VFolderPath

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
    form = archives.format_of(given)
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
        return archives.directory(place, path, form or ZIP, no_cache=no_cache)
    if door.settings.vfolder.doors.handoff_header and place.root is None:
        return _handed_off(door, permission.volume, path, file)
    return files.answer(file, no_cache=no_cache)


def _open(
    place: request_context.DownloadSource, path: VFolderPath, *, or_directory: bool
) -> files.Sendable | None:
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
