"""The content of entries: files with ranges, directories as archives.

The bytes go the way of downloads by ticket.
"""

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from api.access import RevisionChanged
from api.doors.client import downloads, tickets
from api.doors.people.entries import query
from api.jobs import pointer
from api.routes import (
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    current_door,
    needs,
    parameters,
)
from backends.archives import FORMATS, ZIP
from core.errors import EntryNotFound, PathEscape
from core.names import VFolderPath

blueprint = PeopleResource("content", __name__, description="Content of entries.")

#: A browser asks again each time; no cache that others share keeps it.
_CACHING = "private, no-cache"
_ARCHIVES = tuple(form.content_type for form in FORMATS.values())
_BYTES = "application/octet-stream"
#: The header `Range` as WSGI has it (PEP 3333), and the longest number in it.
_RANGE = "HTTP_RANGE"
_DIGITS_MAX = 18
_FORMAT = parameters.in_query(
    "format",
    "Send a directory as such an archive; without it a directory is no content.",
    type="string",
    enum=sorted(FORMATS),
)
#: What a route of content gives and takes.
CONTENT = Route(
    gives={
        200: RouteAnswer("All of it.", content_type=_BYTES, also=_ARCHIVES),
        206: RouteAnswer("The range.", content_type=_BYTES, also=_ARCHIVES),
        304: RouteAnswer("Unchanged."),
    },
    parameters=(
        parameters.Parameter("path", "query", "The path of the entry.", required=True),
        _FORMAT,
        parameters.in_query("tail", "Only so many bytes at the end.", type="integer", minimum=1),
        parameters.RANGE,
        parameters.IF_RANGE,
        parameters.IF_MATCH,
        parameters.IF_NONE_MATCH,
    ),
    refuses=(EntryNotFound, PathEscape, RevisionChanged),
)


def _asks_for_tail(given: dict[str, str]) -> bool:
    """Return whether the query asks for the last bytes, as a range of the request then does.

    Raises:
        InvalidParameters: it is no number above 0, or something else asks for a part.
    """
    text = given.get("tail")
    if text is None:
        return False
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX and int(text)):
        raise pointer("tail", "is a number of bytes above 0")
    if "format" in given or _RANGE in request.environ:
        raise pointer("tail", "goes with neither `format` nor a range")
    request.environ[_RANGE] = f"bytes=-{text}"
    return True


@blueprint.operation("GET", "/v1/vfolders/<vfolder_id>/content", CONTENT)
@needs("entries.read")
def get_content(asked: PersonRequest) -> Response:
    """Send a file, or with `format` a directory as an archive.

    Ranges and conditions follow RFC 9110, as with `/download`. It is always an attachment: nothing
    of a user runs in this origin. `tail=N` is the range of the last N bytes of a file; of one that
    has fewer it is all of them.
    """
    given = query(("path", "format", "tail"))
    form = downloads.requested_format(given)
    has_tail = _asks_for_tail(given)
    if "path" not in given:
        raise pointer("path", "is missing; name the entry")
    path = VFolderPath.parse(given["path"])
    place = asked.vfolder
    door = current_door()
    if not door.volume_access.is_here(place.volume):
        raise tickets.OnOtherNode(door.volume_access.node_of(place.volume).client_url)
    source = downloads.source_of(place.volume, place.vfolder)
    wanted = downloads.WantedFile(
        place.volume, source, path, or_directory=form is not None, caching=_CACHING
    )
    try:
        response = downloads.entry_answer(wanted, form or ZIP)
    except RequestedRangeNotSatisfiable:
        if not has_tail:
            raise
        del request.environ[_RANGE]  # the file is empty
        response = downloads.entry_answer(wanted, form or ZIP)
    return asked.keep_deciding(response)
