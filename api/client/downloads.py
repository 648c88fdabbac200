"""`/download`: one file of a vfolder, whole or in part, or a directory as an archive."""

import os
import stat
from io import FileIO
from pathlib import PurePosixPath
from urllib.parse import quote

from flask import Response

from api.client import archives, asking, sending
from api.client.disposition import attachment
from api.client.routes import blueprint
from api.doors import Door, current_door
from backends import paths
from backends.archives.formats import ZIP
from core.errors import InvalidParameters
from core.names import VFolderPath
from core.tickets import DownloadTicket

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
    given = asking.query(_PARAMETERS)
    archive, no_cache = asking.boolean(given, "archive"), asking.boolean(given, "no_cache")
    form = archives.format_of(given)
    door = current_door()
    permission = asking.ticket(DownloadTicket, given, door)
    place = asking.place(permission, door)
    with asking.hidden_escapes():
        path = asking.target(permission.relpath, given)
        wanted = archive or permission.archive
        if form and not wanted:
            raise InvalidParameters("format is for archives: ask with archive=true.")
        file = asking.gates().call(permission.volume, _open, place, path, or_directory=wanted)
    if file is None:
        return archives.directory(place, path, form or ZIP, no_cache=no_cache)
    if door.settings.vfolder.doors.handoff_header and place.root is None:
        return _handed_off(door, permission.volume, path, file)
    return sending.answer(file, no_cache=no_cache)


def _open(place: asking.Place, path: VFolderPath, *, or_directory: bool) -> sending.Sendable | None:
    """The file, open; None for a directory where one will do."""
    with asking.hidden_escapes(), place.opened() as top:
        if or_directory and stat.S_ISDIR(paths.stat_beneath(top, path).st_mode):
            return None
        descriptor = paths.open_file(top, path)
    file = FileIO(descriptor)  # closes itself if the caller has given up waiting meanwhile
    return sending.Sendable(file, path.name, os.fstat(descriptor), place.pace())


def _handed_off(door: Door, volume: str, path: VFolderPath, file: sending.Sendable) -> Response:
    """Name the file to the proxy in front by the true path that we opened, free of links."""
    with file.file:
        true = PurePosixPath(os.readlink(f"/proc/self/fd/{file.file.fileno()}"))
    mount = os.path.realpath(door.volumes.get(volume).mount.path)
    doors = door.settings.vfolder.doors
    below = PurePosixPath(doors.handoff_prefix, volume, true.relative_to(mount))
    headers = {**sending.SAFE_HEADERS, "Content-Disposition": attachment(path.name)}
    headers[doors.handoff_header] = quote(os.fsencode(below))
    rate = door.budgets.of(volume).newcomer()
    if rate is not None and doors.handoff_header.lower() == _NGINX_HEADER:
        headers["X-Accel-Limit-Rate"] = str(rate)
    return Response(headers=headers, content_type="application/octet-stream")
