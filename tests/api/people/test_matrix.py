"""Every route for people asked by every kind of subject.

Each gets the status that the row says, no request of the matrix changes anything, and what is
hidden has the same bytes as what is absent.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from msgspec import structs

from core.access import Grant, Scope
from core.access.permissions import PERSON_SCOPES
from core.names import VFolderId
from tests.api.people.conftest import People, Person, grant_to, tree_of
from tests.api.people.rows import ABSENT, ELSEWHERE, ROWS, Row

ORDER = ["none", "ro", "rw", "rwd", "owner"]


@dataclass
class Stage:
    """A shared vfolder, a job about it, and each kind of subject with what it has there."""

    people: People
    vfolder: VFolderId
    job: str
    grant: str
    subjects: dict[str, tuple[Person, str]]
    #: A vfolder of a group, and its subjects.
    group_vfolder: VFolderId
    group_job: str
    group_subjects: dict[str, tuple[Person, str]] = field(default_factory=dict)


def counted(people: People, owner: Person, vfolder: VFolderId) -> str:
    """A job of the owner about a vfolder, which has ended."""
    body = {"paths": ["nothing"]}
    response = people.call(owner, "POST", f"/v1/vfolders/{vfolder.id}/delete", body)
    assert response.status_code == 202, response.text
    return str(people.ended(owner, response.json()["id"])["id"])


@pytest.fixture(scope="module")
def stage(people: People) -> Stage:
    owner, stranger, revoked, narrow = (people.person() for _ in range(4))
    ro, rw, rwd, expired, future, blocked = (people.person() for _ in range(6))
    member, admin, outsider = (people.person() for _ in range(3))
    group = people.group(member, admin, admins=(admin,))
    guests = people.group(by_group := people.person())
    vfolder = people.vfolder(owner, **{"a.txt": "hello"})
    grants: list[Grant] = [
        grant_to(ro.word, "ro"),
        grant_to(rw.word, "rw"),
        grant_to(rwd.word, "rwd"),
        grant_to(revoked.word, "rwd"),
        grant_to(expired.word, "rwd", -1),
        grant_to(future.word, "rw", 3600),
        grant_to(f"group:{guests}", "rw"),
        grant_to(narrow.word, "rwd"),
        grant_to(blocked.word, "rwd"),
    ]
    people.grant(vfolder, *grants)
    shared = people.vfolder(group, **{"a.txt": "hello"})
    people.grant(shared, grant_to(outsider.word, "ro"))
    people.revoke(revoked)
    people.subjects.change("user", blocked.id, lambda record: structs.replace(record, blocked=True))
    bound = {
        name: Person(owner.id, people.new_key(owner, vfolders=(one.id,)))
        for name, one in (("here", vfolder), ("elsewhere", shared))
    }
    return Stage(
        people,
        vfolder,
        counted(people, owner, vfolder),
        grants[0].id,
        {
            "owner": (owner, "owner"),
            "stranger": (stranger, "none"),
            "ro": (ro, "ro"),
            "rw": (rw, "rw"),
            "rwd": (rwd, "rwd"),
            "expired grant": (expired, "none"),
            "grant with an end": (future, "rw"),
            "grant to a group": (by_group, "rw"),
            "key of this vfolder": (bound["here"], "bound owner"),
            "key of another vfolder": (bound["elsewhere"], "bound none"),
            "revoked key": (revoked, "unknown"),
            "blocked user": (blocked, "unknown"),
            "no credential": (Person(), "unknown"),
            "forged key": (Person(key=f"{owner.key[:-6]}000000"), "unknown"),
        },
        shared,
        counted(people, admin, shared),
        {
            "member": (member, "ro"),
            "group admin": (admin, "owner"),
            "granted": (outsider, "ro"),
            "stranger": (stranger, "none"),
            "owner of another": (owner, "none"),
        },
    )


def filled(row: Row, vfolder: str, job: str, grant: str) -> str:
    return row.path.format(vfolder=vfolder, job=job, grant=grant)


def expected(row: Row, has: str) -> tuple[int, ...]:
    bound, has = has.startswith("bound "), has.removeprefix("bound ")
    if has == "unknown":
        return (401,)
    if bound and row.unbound and (row.least == "any" or has != "none"):
        return (403,)
    if row.least in ("any", "gone"):
        return row.allowed
    if has == "none":
        return (404,)
    if row.least == "named":
        return (403,)
    return row.allowed if ORDER.index(has) >= ORDER.index(row.least) else (403,)


def status(stage: Stage, person: Person, row: Row, path: str) -> int:
    """The status of a request; its answer is checked against the document."""
    options = (
        {"headers": row.headers, "stream": True} if "events" in path else {"headers": row.headers}
    )
    with stage.people.call(person, row.method, path, row.body, **options) as response:
        if response.status_code in (401, 403, 404) and row.method != "HEAD":
            problem = response.json()
            assert str(stage.people.settings.directory) not in response.text
            assert problem["error_code"], problem
        return response.status_code


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path} {row.least}")
def test_each_subject_gets_what_the_row_says(stage: Stage, row: Row) -> None:
    for vfolder, job, subjects in (
        (stage.vfolder, stage.job, stage.subjects),
        (stage.group_vfolder, stage.group_job, stage.group_subjects),
    ):
        if vfolder is stage.group_vfolder and "{grant}" in row.path:
            continue  # the grant is one of the other vfolder
        tree = stage.people.path(vfolder)
        for name, (person, has) in subjects.items():
            before = tree_of(tree)
            path = filled(row, str(vfolder.id), job, stage.grant)
            found = status(stage, person, row, path)
            assert found in expected(row, has), f"{name} ({has}): {found}"
            assert tree_of(tree) == before, f"{name} changed something"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path} {row.least}")
def test_a_credential_without_the_scope_is_refused(stage: Stage, row: Row) -> None:
    if not row.scope or row.least == "gone":
        return
    owner = stage.subjects["owner"][0]
    scopes = PERSON_SCOPES - {Scope(row.scope)}
    narrow = Person(owner.id, stage.people.new_key(owner, scopes))
    path = filled(row, str(stage.vfolder.id), stage.job, stage.grant)
    assert status(stage, narrow, row, path) == 403
    stage.people.revoke(narrow)  # a user has so many live keys


def test_what_is_hidden_looks_as_if_it_were_absent(stage: Stage) -> None:
    stranger = stage.subjects["stranger"][0]
    for row in ROWS:
        if row.least in ("any", "gone"):
            continue
        answers = []
        for vfolder, job in ((str(stage.vfolder.id), stage.job), (str(uuid4()), str(uuid4()))):
            path = filled(row, vfolder, job, stage.grant)
            response = stage.people.call(stranger, row.method, path, row.body, headers=row.headers)
            answers.append((response.status_code, _bare(response.text)))
        assert answers[0] == answers[1], row


def _bare(text: str) -> str:
    document = json.loads(text) if text else {}
    document.pop("request_id", None)
    return json.dumps(document)


def test_the_rows_are_all_routes_for_people(people: People) -> None:
    document = people.door.document.content["paths"]
    asked = {(row.method.lower(), _template(row.path)) for row in ROWS}
    known = {
        (method, path)
        for path, operations in document.items()
        if path.startswith("/v1/") and path not in ELSEWHERE
        for method, operation in operations.items()
        if method in ("get", "post", "put", "patch", "delete", "head")
        if not operation["x-needs"]["needs"].startswith("operator")  # test_operators.py
    }
    assert known <= asked, known - asked


_template: Callable[[str], str] = lambda path: (  # noqa: E731 - one expression
    path.partition("?")[0]
    .replace("{vfolder}", "{vfolder_id}")
    .replace("{job}", "{job_id}")
    .replace("{grant}", "{grant_id}")
    .replace(f"/groups/{ABSENT}", "/groups/{group_id}")
    .replace(f"/members/{ABSENT}", "/members/{user_id}")
    .replace("/keys/absent", "/keys/{key_id}")
    .replace("/quotas/absent", "/quotas/{scope}")
    .replace("/notices/absent", "/notices/{notice_id}")
    .replace("/signins/absent", "/signins/{sign_in_id}")
    .replace("/links/absent", "/links/{link_id}")
    .replace("/snapshots/absent", "/snapshots/{snapshot_name}")
    .replace("/trash/00000000-0000-4000-8000-000000000001", "/trash/{trash_id}")
)
