"""Routes of the entries of a vfolder: list, look, make, move, remove.

The work is that of rooms below, the same as at the manager door.
"""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from urllib.parse import parse_qsl

from flask import Response, request

from api.doors.people.documents import entry_document
from api.http import answer, no_content, problems, this_request
from api.jobs import pointer
from api.routes import (
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    current_door,
    job_answers,
    needs,
    parameters,
)
from api.schemas import JobDocument
from api.schemas import people as shapes
from backends.entries import entries, listing
from backends.volumes import entry_trash
from core.errors import (
    EntryExists,
    EntryNotFound,
    EntryRefused,
    InvalidParameters,
    KeyReused,
    PathEscape,
    StorageError,
)
from core.names import VFolderPath

blueprint = PeopleResource("entries", __name__, description="Entries of a vfolder.")

#: Removed entries are kept for so long (seconds), unless the request says otherwise: 7 days.
KEEP_SECONDS = 604_800
#: Entries of a page, unless the request says otherwise, and at most.
PAGE_DEFAULT, PAGE_MAX = 1000, 5000
_PATHS = (EntryNotFound, PathEscape, EntryRefused)
_PATH = parameters.in_query("path", "The path below the vfolder; its root when absent.")
_ONE_PATH = parameters.Parameter("path", "query", "The path of the entry.", required=True)
_LIMIT = parameters.in_query(
    "limit",
    "The most entries of the page.",
    type="integer",
    minimum=1,
    maximum=PAGE_MAX,
    default=PAGE_DEFAULT,
)
_CURSOR = parameters.in_query("cursor", "`next` of the page before.")
KINDS = ("file", "directory", "symlink")
#: The members of a row.
COLUMNS = tuple(shapes.EntryRow().fields)
_FILTERS = (
    parameters.in_query("prefix", "Those whose names begin so; a bucket cannot do it."),
    parameters.in_query("kind", "Those of this kind.", type="string", enum=list(KINDS)),
    parameters.in_query("fields", "The members of a row, separated by commas."),
    parameters.in_query(
        "rows", "How an entry is written.", type="string", enum=["objects", "columns"]
    ),
)


def query(known: Iterable[str]) -> dict[str, str]:
    """Return the parameters of the query; each may be given once.

    Bytes that are not UTF-8 become lone surrogates (PEP 383), as in the names of a listing.

    Raises:
        InvalidParameters: a parameter is unknown, or is given twice.
    """
    known, given = set(known), {}
    text = this_request().query_string.decode("utf-8", "surrogateescape")
    for name, value in parse_qsl(text, keep_blank_values=True, errors="surrogateescape"):
        if name not in known:
            raise pointer(name, "is not a parameter of this route")
        if name in given:
            raise pointer(name, "is given more than once")
        given[name] = value
    return given


def path_of(given: dict[str, str], *, needed: bool = False) -> VFolderPath:
    """Return the path that the query names.

    Raises:
        InvalidParameters: it is missing where one is needed.
        PathEscape, InvalidName: it leads out of the vfolder, or no entry can have it.
    """
    if needed and not given.get("path"):
        raise pointer("path", "is missing; name the entry")
    return VFolderPath.parse(given.get("path", ""))


def flag(given: dict[str, str], name: str) -> bool | None:
    """Return a parameter that is true or false; None when it is absent."""
    text = given.get(name)
    if text not in (None, "true", "false"):
        raise pointer(name, "is true or false")
    return None if text is None else text == "true"


def limit_of(given: dict[str, str], default: int, most: int) -> int:
    """Return the number of rows that the query asks for.

    Raises:
        InvalidParameters: it is no number from 1 to `most`.
    """
    text = given.get("limit")
    if text is None:
        return default
    known = text.isascii() and text.isdigit() and len(text) <= len(str(most))
    if not known or not 1 <= int(text) <= most:
        raise pointer("limit", f"must be a whole number from 1 to {most}")
    return int(text)


@blueprint.operation(
    "GET",
    "/v1/vfolders/<vfolder_id>/entries",
    Route(
        gives={200: RouteAnswer("One page.", shapes.EntryListing)},
        parameters=(_PATH, _LIMIT, _CURSOR, *_FILTERS),
        refuses=_PATHS,
    ),
)
@needs("entries.read")
def list_entries(asked: PersonRequest) -> Response:
    """List a directory in the order of names (by code point), page by page.

    With `kind` a page has those of its entries that are of this kind: it may have none, and `next`
    leads on. `fields` leaves out the other members. With `rows=columns` entries are arrays.
    """
    given = query(("path", "limit", "cursor", *(one.name for one in _FILTERS)))
    path, limit = path_of(given), limit_of(given, PAGE_DEFAULT, PAGE_MAX)
    columns = _columns(given)
    kind = _choice(given, "kind", KINDS)
    as_columns = _choice(given, "rows", ("columns", "objects")) == "columns"
    access, cursor = current_door().volume_access, given.get("cursor")
    if prefix := given.get("prefix", ""):
        page = access.in_vfolder(asked.vfolder, listing.list_named, path, prefix, limit, cursor)
    else:
        page = access.in_vfolder(asked.vfolder, listing.list_directory, path, limit, cursor)
    found = [entry_document(item) for item in page.items]
    found = [row for row in found if kind in (None, row["kind"])]
    if as_columns:
        rows = [[row[name] for name in columns] for row in found]
        return answer({"columns": columns, "rows": rows, "next": page.next})
    if "fields" in given:
        found = [{name: row[name] for name in columns} for row in found]
    return answer({"entries": found, "next": page.next})


def _columns(given: dict[str, str]) -> list[str]:
    """Return the members of a row that the query names, or all.

    Raises:
        InvalidParameters: a row has no such member.
    """
    names = given.get("fields", ",".join(COLUMNS)).split(",")
    if len(set(names)) != len(names) or not set(names) <= set(COLUMNS):
        raise pointer("fields", f"are some of {', '.join(COLUMNS)}, each once")
    return names


def _choice(given: dict[str, str], name: str, known: Sequence[str]) -> str | None:
    if given.get(name) not in (None, *known):
        raise pointer(name, f"is one of {', '.join(known)}")
    return given.get(name)


@blueprint.operation(
    "GET",
    "/v1/vfolders/<vfolder_id>/entry",
    Route(
        gives={
            200: RouteAnswer("The entry.", shapes.EntryRow, headers=("ETag",)),
            304: RouteAnswer("Unchanged."),
        },
        parameters=(_ONE_PATH, parameters.IF_NONE_MATCH),
        refuses=_PATHS,
    ),
)
@needs("entries.read")
def get_entry(asked: PersonRequest) -> Response:
    """Look at one entry; a link itself, not its target. A file has the `ETag` of its content."""
    path = path_of(query(("path",)), needed=True)
    found = current_door().volume_access.in_vfolder(asked.vfolder, listing.describe_entry, path)
    response = answer(entry_document(found.item))
    if found.etag:
        response.set_etag(found.etag)
        response.make_conditional(request.environ)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.operation(
    "PATCH",
    "/v1/vfolders/<vfolder_id>/entry",
    Route(
        takes=shapes.RelocationBody,
        gives={204: RouteAnswer("Moved.")},
        parameters=(_ONE_PATH,),
        refuses=(*_PATHS, EntryExists),
    ),
)
@needs("entries.write")
def move_entry(body: shapes.Relocation, asked: PersonRequest) -> Response:
    """Rename or move an entry within its vfolder; `to` is its new path.

    Nothing is replaced, unless `overwrite` is true: then a file replaces a file, which needs the
    permission to remove. Nothing replaces a directory. A link itself is moved, not its target.
    """
    source = path_of(query(("path",)), needed=True)
    if body.overwrite:
        asked.decide("entries.replace")
    current_door().volume_access.in_vfolder(
        asked.vfolder, entries.relocate, source, body.target, replace=body.overwrite
    )
    return no_content()


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/directories",
    Route(
        takes=shapes.NewDirectoriesBody,
        gives={
            201: RouteAnswer("All are there.", shapes.DirectoryResults),
            207: RouteAnswer("Some are not.", shapes.DirectoryResults),
        },
        refuses=_PATHS,
    ),
)
@needs("entries.write")
def make_entry_directories(body: shapes.NewDirectories, asked: PersonRequest) -> Response:
    """Make directories; with `parents` also those above. One that exists is a success.

    Each path has a result of its own.
    """
    door = current_door()
    owned = door.settings.vfolder.entries.owner == "directory"
    more = {"owned_by_directory": True} if owned else {}
    results = []
    for text in body.paths:
        try:
            door.volume_access.in_vfolder(
                asked.vfolder,
                entries.make_directory,
                VFolderPath.parse(text),
                parents=body.parents,
                exist_ok=True,
                **more,
            )
        except StorageError as error:
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            problem = problems.document(error)
            results.append({"path": text, "status": error.status, "problem": problem})
        else:
            results.append({"path": text, "status": HTTPStatus.CREATED.value, "problem": None})
    failed = any(result["problem"] for result in results)
    return answer({"results": results}, HTTPStatus.MULTI_STATUS if failed else HTTPStatus.CREATED)


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/delete",
    Route(
        takes=shapes.RemovalOrderBody,
        gives={
            202: RouteAnswer(
                "Accepted; the body is the job.",
                JobDocument,
                headers=("Location", "Retry-After", "ETag"),
            )
        },
        parameters=(job_answers.IDEMPOTENCY_KEY, job_answers.PREFER),
        refuses=(*_PATHS, InvalidParameters, KeyReused),
    ),
)
@needs("entries.remove")
def remove_entries(body: shapes.RemovalOrder, asked: PersonRequest) -> Response:
    """Remove entries by a job; absent ones are skipped. A link itself is removed.

    They are in the trash for 7 days, or for `keep_seconds`: the id of the job restores them. With 0
    they are removed for good. Less than a day needs the permission of an owner.
    """
    place, keep_seconds = asked.vfolder, body.keep_seconds
    if keep_seconds is None and current_door().volume_access.on_volume(
        place.volume, entry_trash.supported
    ):
        keep_seconds = KEEP_SECONDS
    request_body = {
        "verb": "delete-files",
        "volume": place.volume,
        "vfolder": str(place.vfolder),
        "paths": [str(path) for path in body.paths],
        "recursive": body.recursive,
        "keep_seconds": keep_seconds,
    }
    asked.decide_keeping(keep_seconds)
    key = job_answers.idempotency_key()
    return job_answers.accepted(asked.service.submit(asked.caller, request_body, key))
