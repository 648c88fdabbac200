"""The route of the audit log: operators see all lines, others those about themselves."""

import re
from typing import Any

from flask import Response

from api.doors.people.entries import limit_of, query
from api.doors.people.keys import parts_of_door, private
from api.jobs import pointer
from api.routes import PeopleResource, PersonRequest, Route, RouteAnswer, needs, parameters
from api.schemas import credentials as shapes

blueprint = PeopleResource("audit", __name__, description="The audit log.")

PAGE_DEFAULT, PAGE_MAX = 100, 1000
#: Lines that one request looks through for those that match; `next` goes on behind them.
SCANNED_MAX = 10_000
#: The cursor of the first page.
NEWEST = "+"
_CURSOR = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
_FILTERS = (
    *("subject", "act", "decision", "vfolder", "target", "job_id", "credential", "request_id"),
)
_PARAMETERS = (
    parameters.in_query(
        "limit",
        "The most lines.",
        type="integer",
        minimum=1,
        maximum=PAGE_MAX,
        default=PAGE_DEFAULT,
    ),
    parameters.in_query("cursor", "`next` of the page before."),
    *(parameters.in_query(name, f"Only lines with this `{name}`.") for name in _FILTERS),
)


@blueprint.operation(
    "GET",
    "/v1/audit",
    Route(gives={200: RouteAnswer("One page.", shapes.AuditPage)}, parameters=_PARAMETERS),
)
@needs("audit.own")
def list_audit(asked: PersonRequest) -> Response:
    """List the newest lines of the audit log of all nodes, the newest first.

    The store has the newest 100,000; the files of each node have all. A page may have fewer lines
    than `limit`, or none; the log ends where `next` is null.
    """
    given = query(("limit", "cursor", *_FILTERS))
    limit, cursor = limit_of(given, PAGE_DEFAULT, PAGE_MAX), given.get("cursor")
    if cursor is not None and not _CURSOR.fullmatch(cursor):
        raise pointer("cursor", "is none of this list")
    if asked.caller.subject.kind == "operator":
        asked.decide("audit.read")
    matching = {name: given[name] for name in _FILTERS if name in given}
    lines, following = _found(asked, matching, limit, cursor or NEWEST)
    return private({"lines": lines, "next": following})


def _found(
    asked: PersonRequest, matching: dict[str, str], limit: int, cursor: str
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the lines that match and may be seen, and where to go on; None at the end."""
    log, found = parts_of_door().audit, list[dict[str, Any]]()
    for _ in range(SCANNED_MAX // PAGE_MAX):
        page = log.recent(PAGE_MAX, cursor)
        for at, line in page:
            cursor = at
            if all(line.get(name) == text for name, text in matching.items()) and _sees(
                asked, line
            ):
                found.append(line)
                if len(found) == limit:
                    return found, cursor
        if len(page) < PAGE_MAX:
            return found, None
    return found, cursor


def _sees(asked: PersonRequest, line: dict[str, Any]) -> bool:
    subject = asked.caller.subject
    if subject.kind == "operator":
        return True
    return subject.word in (line.get("subject"), line.get("on_behalf_of"))
