"""Every route of every door is in a table of the matrix, and names the act that its row says."""

import re
from collections.abc import Iterator

import pytest
from flask import Flask

from api import app
from api.doors.people.openapi import people_document
from tests.api.people.conftest import People
from tests.api.people.matrix.links import LINK_ROWS
from tests.api.people.matrix.open_routes import (
    INTERNAL,
    OPEN_AT_CLIENT,
    OPEN_AT_MANAGER,
    SIGN_IN,
)
from tests.api.people.matrix.rows import ROWS
from tests.api.people.matrix.tickets import TICKET_ROWS

#: Routes of Flask without a method of their own: what a browser asks before it sends.
_PREFLIGHT = {"OPTIONS"}
_VARIABLE = re.compile(r"<(?:\w+:)?(\w+)>")
#: What stands in the path of a row, by the place where it stands.
_NAMES = (
    (r"/keys/[^/]+", "/keys/{key_id}"),
    (r"/signins/[^/]+", "/signins/{sign_in_id}"),
    (r"^/v1/quotas/[^/]+", "/v1/quotas/{scope}"),
    (r"/notices/[^/]+", "/notices/{notice_id}"),
    (r"/links/[^/]+", "/links/{link_id}"),
    (r"/grants/[^/]+", "/grants/{grant_id}"),
    (r"/snapshots/[^/]+", "/snapshots/{snapshot_name}"),
    (r"/trash/[^/]+", "/trash/{trash_id}"),
    (r"^/v1/uploads/[^/]+", "/v1/uploads/{upload_id}"),
    (r"^/upload/[^/]+", "/upload/{upload_id}"),
    (r"^/v1/jobs/[^/]+", "/v1/jobs/{job_id}"),
    (r"^/v1/vfolders/[^/]+", "/v1/vfolders/{vfolder_id}"),
    (r"^/v1/users/[^/]+", "/v1/users/{user_id}"),
    (r"^/v1/nodes/[^/]+", "/v1/nodes/{node_id}"),
    (r"^/v1/groups/[^/]+", "/v1/groups/{group_id}"),
    (r"/members/[^/]+", "/members/{user_id}"),
    (r"^/v1/volumes/[^/]+", "/v1/volumes/{volume}"),
    (r"/scopes/[^/]+", "/scopes/{scope}"),
    (r"^(/s/\{token\}/uploads)/[^/]+", r"\1/{upload_id}"),
)


def template(path: str) -> str:
    """The path of a row as documents write it."""
    path = path.partition("?")[0]
    for pattern, text in _NAMES:
        path = re.sub(pattern, text, path)
    return path


def routes(door: Flask) -> Iterator[tuple[str, str]]:
    """Every method and path that a door answers; HEAD comes with GET."""
    for rule in door.url_map.iter_rules():
        methods = set(rule.methods or ()) - _PREFLIGHT
        if "GET" in methods:
            methods.discard("HEAD")
        for method in methods:
            yield method, _VARIABLE.sub(r"{\1}", rule.rule)


def test_each_route_of_the_client_door_is_in_a_table(people: People) -> None:
    known = {(row.method, template(row.path)) for row in ROWS} - _heads()
    known |= {(row.method, template(row.path)) for row in (*LINK_ROWS, *TICKET_ROWS)}
    known |= OPEN_AT_CLIENT | SIGN_IN
    found = set(routes(app.client_door(people.settings)))
    assert found - known == set(), "a route is in no table of the matrix"
    assert {one for one in known - found if one[0] != "HEAD"} == set(), "no such route"


def _heads() -> set[tuple[str, str]]:
    return {(row.method, template(row.path)) for row in ROWS if row.path.endswith("content")}


def test_each_row_has_the_act_of_its_route() -> None:
    """The first act of a row is the one that the decorator of the route names."""
    document = people_document()["paths"]
    for row in ROWS:
        operation = document[template(row.path)].get(row.method.lower())
        named = operation["x-needs"]["act"]
        act = row.acts[0].rstrip("?")
        assert named == ("entries.write" if act == "uploads.own" else act), row


@pytest.mark.parametrize(("door", "known"), [("manager", OPEN_AT_MANAGER), ("internal", INTERNAL)])
def test_what_needs_no_credential_is_written_down(
    people: People, door: str, known: set[tuple[str, str]]
) -> None:
    found = set(routes(getattr(app, f"{door}_door")(people.settings)))
    assert known <= found
    if door == "internal":  # it has no other ones
        assert found == known
