"""The route of a search: a small one is answered at once, a big one by a job."""

from typing import Any

from flask import Response
from msgspec import to_builtins

from api.doors.people.copies import ACCEPTED, SUBMITTED, submitted
from api.doors.people.entries import KINDS, limit_of, query
from api.http import answer
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
from api.schemas import people as shapes
from backends.entries import search
from core.errors import Defect, EntryNotFound, EntryRefused, PathEscape, Unsupported
from core.jobs import requests
from core.jobs.requests import FindRequest
from core.names import VFolderPath

blueprint = PeopleResource("find", __name__, description="Search of entries.")

#: A search at the door takes so long at most (seconds); a job does what takes longer.
FIND_SECONDS = 2.0
#: Entries of an answer, unless the request says otherwise, and at most.
FOUND_DEFAULT, FOUND_MAX = 1000, 10_000
_DIGITS_MAX = 18
_SIZES = ("min_bytes", "max_bytes")
_TEXTS = ("path", "match", "kind", "newer_than", "older_than")
_TERMS = (
    parameters.in_query("path", "Below this directory; the root when absent."),
    parameters.in_query("match", "A pattern of names as a shell has it; with `/` one of paths."),
    parameters.in_query("kind", "Those of this kind.", type="string", enum=list(KINDS)),
    parameters.in_query("min_bytes", "Files of so many bytes at least.", type="integer", minimum=0),
    parameters.in_query("max_bytes", "Files of so many bytes at most.", type="integer", minimum=0),
    parameters.in_query("newer_than", "Modified since this moment (RFC 3339)."),
    parameters.in_query("older_than", "Modified before this moment (RFC 3339)."),
    parameters.in_query(
        "limit",
        "The most entries of the answer.",
        type="integer",
        minimum=1,
        maximum=FOUND_MAX,
        default=FOUND_DEFAULT,
    ),
)


@blueprint.operation(
    "GET",
    "/v1/vfolders/<vfolder_id>/find",
    Route(
        gives={200: RouteAnswer("All that was found.", shapes.FoundEntries), **ACCEPTED},
        parameters=(*_TERMS, *SUBMITTED),
        refuses=(EntryNotFound, EntryRefused, PathEscape, Unsupported),
    ),
)
@needs("entries.read")
def find_entries(asked: PersonRequest) -> Response:
    """Find entries below a directory, in the order of their paths.

    What takes longer than 2 seconds, or finds more than `limit`, is done by a job: the answer is
    202, and the report of the job names all that it finds.
    """
    given = query(one.name for one in _TERMS)
    limit = limit_of(given, FOUND_DEFAULT, FOUND_MAX)
    place = asked.vfolder
    body = _request(given) | {"volume": place.volume, "vfolder": str(place.vfolder)}
    wanted = requests.parse(body)
    if not isinstance(wanted, FindRequest):
        raise Defect("The request is no search.")
    path, terms = VFolderPath.parse(wanted.path), search.terms_of(wanted)
    result = current_door().volume_access.in_vfolder(
        place, search.search, path, terms, limit, FIND_SECONDS
    )
    if not result.complete:
        asked.decide("jobs.find")
        return submitted(asked, body)
    response = answer({"entries": [to_builtins(one) for one in result.entries]})
    response.headers["Cache-Control"] = "no-store"
    return response


def _request(given: dict[str, str]) -> dict[str, Any]:
    """Return the members of a request that the query names.

    Raises:
        InvalidParameters: a size is no number.
    """
    found: dict[str, Any] = {"verb": "find"}
    found |= {name: given[name] for name in _TEXTS if name in given}
    for name in _SIZES:
        text = given.get(name)
        if text is None:
            continue
        if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
            raise pointer(name, "is a number of bytes")
        found[name] = int(text)
    return found
