"""Quotas and notices as people see them, with real limits, uploads and a store."""

import time
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests

from core.access.credentials import keys as api_keys
from core.access.credentials.keys import KeyRequest
from core.access.permissions import Scope
from core.names import VFolderId
from tests.api.people.conftest import People, Person, grant_to
from tests.api.people.test_story import upload


@pytest.fixture(scope="module")
def operator(people: People) -> Person:
    table, found = people.settings.vfolder.access, Person()
    assert table is not None
    request = KeyRequest(scopes=tuple(Scope))
    key, found.key = api_keys.new_key(request, operator=True, table=table, now=time.time())
    people.subjects.add_key(found.id, key, table)
    return found


def limited(people: People, operator: Person, scope: str, limit: int | None) -> dict[str, Any]:
    body = {"volume": "local", "limit_bytes": limit}
    answer = people.call(operator, "PUT", f"/v1/quotas/{scope}", body)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["quotas"]
    return dict(found)


def notices(people: People, person: Person) -> list[dict[str, Any]]:
    answer = people.call(person, "GET", "/v1/notices")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["notices"])


def test_a_person_sees_what_is_left_and_is_told_once(people: People, operator: Person) -> None:
    owner, other = people.person(), people.person()
    vfolder = people.vfolder(owner, **{"a.txt": "hello"})
    own = people.call(owner, "GET", "/v1/quotas?volume=local").json()
    assert own["complete"] is True
    (before,) = own["quotas"]
    assert before["scope"] == owner.word
    assert (before["limit_bytes"], before["used_bytes"], before["as_of"]) == (None, None, None)

    found = limited(people, operator, owner.word, 1000)
    assert (found["used_bytes"], found["left_bytes"], found["enforced"]) == (5, 995, "soft")
    assert found["as_of"] is not None
    base = f"/v1/vfolders/{vfolder.id}"
    assert notices(people, owner) == []
    assert upload(people, owner, base, "b", b"x" * 800).status_code == 201
    (notice,) = notices(people, owner)
    expected = {"kind": "quota", "view": "scope", "volume": "local", "scope": owner.word}
    expected |= {"vfolder": None}
    figures = {"percent": 80, "used_bytes": 805, "limit_bytes": 1000, "read": False}
    assert {**notice, **expected, **figures} == notice
    assert upload(people, owner, base, "c", b"x").status_code == 201
    assert len(notices(people, owner)) == 1
    refused = upload(people, owner, base, "d", b"x" * 300)
    assert refused.status_code == 422, refused.text
    left = people.call(owner, "GET", f"/v1/quotas/{owner.word}").json()["quotas"]
    assert [one["left_bytes"] for one in left if one["volume"] == "local"] == [194]

    read = f"/v1/notices/{notice['id']}/read"
    assert people.call(other, "POST", read).status_code == 404
    assert people.call(owner, "POST", read).status_code == 204
    assert [one["read"] for one in notices(people, owner)] == [True]
    assert notices(people, other) == []
    assert people.call(other, "GET", f"/v1/quotas/{owner.word}").status_code == 404
    assert people.call(operator, "GET", f"/v1/quotas/{owner.word}").status_code == 200
    removed = limited(people, operator, owner.word, None)
    assert (removed["limit_bytes"], removed["left_bytes"]) == (None, None)


def test_admins_of_a_group_read_its_notices_and_members_its_quota(
    people: People, operator: Person
) -> None:
    member, admin, stranger = people.person(), people.person(), people.person()
    group = people.group(member, admin, admins=(admin,))
    vfolder = people.vfolder(group)
    scope = f"project:{group}"
    limited(people, operator, f"group:{group}", 100)
    assert upload(people, admin, f"/v1/vfolders/{vfolder.id}", "a", b"x" * 95).status_code == 201
    (notice,) = notices(people, admin)
    assert (notice["scope"], notice["percent"]) == (scope, 95)
    assert notices(people, member) == notices(people, stranger) == []
    for person, status in ((member, 200), (admin, 200), (stranger, 404)):
        answer = people.call(person, "GET", f"/v1/quotas/{scope}?volume=local")
        assert answer.status_code == status
    quotas = people.call(member, "GET", "/v1/quotas").json()["quotas"]
    assert [one["used_bytes"] for one in quotas if one["scope"] == scope] == [95]


def test_only_operators_set_limits_and_nonsense_is_refused(
    people: People, operator: Person
) -> None:
    owner = people.person()
    body = {"volume": "local", "limit_bytes": 1}
    assert people.call(owner, "PUT", f"/v1/quotas/{owner.word}", body).status_code == 403
    wrong: list[tuple[dict[str, Any], int]] = [
        ({"volume": "local"}, 400),
        ({"limit_bytes": 5}, 400),
        ({"volume": "local", "limit_bytes": 0}, 400),
        ({"volume": "local", "limit_bytes": -1}, 400),
        ({"volume": "local", "limit_bytes": "5"}, 400),
        ({"volume": "local", "limit_bytes": 2**63}, 400),
        ({"volume": "absent", "limit_bytes": 5}, 400),
    ]
    for body, status in wrong:
        answer = people.call(operator, "PUT", f"/v1/quotas/{owner.word}", body)
        assert answer.status_code == status, (body, answer.text)
    for path in ("user:x", f"other:{UUID(int=1)}", str(UUID(int=1)), "user:"):
        assert people.call(operator, "GET", f"/v1/quotas/{path}").status_code == 404
    nobodys = people.call(operator, "GET", f"/v1/quotas/user:{uuid4()}").json()
    assert nobodys["quotas"] == []
    assert people.call(owner, "GET", "/v1/notices?cursor=x").status_code == 400
    assert people.call(owner, "GET", "/v1/notices?limit=0").status_code == 400


def changed(people: People, person: Person, vfolder: VFolderId, limit: int | None) -> Any:
    body = {"limit_bytes": limit}
    answer = people.call(person, "PATCH", f"/v1/vfolders/{vfolder.id}", body)
    assert answer.status_code == 200, answer.text
    return answer.json()["usage"]


def test_an_owner_limits_one_vfolder(people: People, operator: Person) -> None:
    owner, guest = people.person(), people.person()
    vfolder = people.vfolder(owner, **{"a.txt": "hello"})
    other = people.vfolder(owner)
    people.grant(vfolder, grant_to(guest.word, "rwd"))
    base = f"/v1/vfolders/{vfolder.id}"
    usage = changed(people, owner, vfolder, 100)
    assert (usage["used_bytes"], usage["limit_bytes"], usage["enforced"]) == (5, 100, "soft")
    assert usage["as_of"] is not None
    refused = upload(people, guest, base, "b", b"x" * 96)
    assert refused.status_code == 422
    problem = refused.json()
    said = {"limited_by": "vfolder", "left_bytes": 95, "used_bytes": 5}
    assert {**problem, **said} == problem
    assert problem["as_of"] is not None
    assert upload(people, owner, f"/v1/vfolders/{other.id}", "b", b"x" * 96).status_code == 201
    assert upload(people, guest, base, "b", b"x" * 90).status_code == 201
    (notice,) = notices(people, owner)
    found = {name: notice[name] for name in ("view", "vfolder", "scope", "percent", "used_bytes")}
    about = {"view": "vfolder", "vfolder": str(vfolder.id), "scope": None}
    assert found == about | {"percent": 95, "used_bytes": 95}
    assert notices(people, guest) == []

    # Removing frees room, in a job, and so does replacing by less.
    job = people.call(guest, "POST", f"{base}/delete", {"paths": ["a.txt"]}).json()["id"]
    assert people.ended(guest, job)["state"] == "succeeded"
    assert upload(people, guest, base, "b", b"x" * 30).status_code == 201
    seen = people.call(owner, "GET", base).json()["usage"]
    assert seen["used_bytes"] == 30
    assert upload(people, guest, base, "c", b"x" * 70).status_code == 201

    # The least of both limits decides.
    limited(people, operator, owner.word, 197)
    refused = upload(people, guest, base, "d", b"x" * 2).json()
    assert refused["limited_by"] == "vfolder"
    assert changed(people, owner, vfolder, 1000)["used_bytes"] == 100
    refused = upload(people, guest, base, "d", b"x" * 2).json()
    assert (refused["limited_by"], refused["left_bytes"]) == ("scope", 1)
    limited(people, operator, owner.word, None)
    assert changed(people, owner, vfolder, None)["limit_bytes"] is None
    assert upload(people, guest, base, "d", b"x" * 2000).status_code == 201


def test_a_copy_into_a_limited_vfolder_is_refused_before_it_begins(people: People) -> None:
    owner = people.person()
    source, target = people.vfolder(owner, big="x" * 500), people.vfolder(owner)
    changed(people, owner, target, 400)
    path = f"/v1/vfolders/{source.id}/transfer"
    answer = people.call(owner, "POST", path, {"to": str(target.id)})
    assert answer.status_code == 202, answer.text
    ended = people.ended(owner, answer.json()["id"])
    assert ended["state"] == "failed", ended
    assert "400 bytes left" in str(ended["error"])
    assert not list(people.path(target).iterdir())


def test_a_count_mends_what_others_wrote(people: People) -> None:
    """Containers write without asking; the job `usage` counts, and so does a rescan."""
    owner = people.person()
    vfolder = people.vfolder(owner)
    changed(people, owner, vfolder, 1000)
    (people.path(vfolder) / "by-a-container").write_text("x" * 850)
    base = f"/v1/vfolders/{vfolder.id}"
    assert people.call(owner, "GET", base).json()["usage"]["used_bytes"] == 0
    job = people.call(owner, "POST", f"{base}/usage").json()["id"]
    assert people.ended(owner, job)["state"] == "succeeded"
    assert people.call(owner, "GET", base).json()["usage"]["used_bytes"] == 850
    assert [one["percent"] for one in notices(people, owner)] == [80]
    assert upload(people, owner, base, "b", b"x" * 151).status_code == 422


def test_a_total_limits_a_user_over_all_volumes(people: People, operator: Person) -> None:
    owner = people.person()
    first, second = people.vfolder(owner, a="x" * 10), people.vfolder(owner, "second")
    body = {"view": "total", "limit_bytes": 100}
    path = f"/v1/quotas/{owner.word}"
    assert people.call(owner, "PUT", path, body).status_code == 403
    both = people.call(operator, "PUT", path, {**body, "volume": "local"})
    assert both.status_code == 400
    answer = people.call(operator, "PUT", path, body)
    assert answer.status_code == 200, answer.text
    assert total(answer) == {"limit_bytes": 100, "used_bytes": 10, "left_bytes": 90}

    def sent(vfolder: VFolderId, name: str, size: int) -> requests.Response:
        return upload(people, owner, f"/v1/vfolders/{vfolder.id}", name, b"x" * size)

    assert sent(first, "b", 50).status_code == 201
    refused = sent(second, "c", 41).json()
    said = {"limited_by": "total", "left_bytes": 40, "used_bytes": 60}
    assert {**refused, **said} == refused
    assert sent(second, "c", 40).status_code == 201
    assert sent(first, "d", 1).status_code == 422
    found = people.call(owner, "GET", "/v1/quotas")
    assert total(found) == {"limit_bytes": 100, "used_bytes": 100, "left_bytes": 0}
    (notice,) = notices(people, owner)
    seen = {name: notice[name] for name in ("view", "volume", "scope", "percent")}
    assert seen == {"view": "total", "volume": None, "scope": owner.word, "percent": 100}
    assert people.call(operator, "PUT", path, {**body, "limit_bytes": None}).status_code == 200
    assert total(people.call(owner, "GET", "/v1/quotas")) is None
    assert sent(first, "d", 1000).status_code == 201


def total(answer: requests.Response) -> dict[str, Any] | None:
    """The figures of the limit over all volumes, of a list of quotas."""
    found = [one for one in answer.json()["quotas"] if one["view"] == "total"]
    names = ("limit_bytes", "used_bytes", "left_bytes")
    return {name: found[0][name] for name in names} if found else None


@pytest.mark.parametrize("limit", [0, -1, "5", 1.5, 2**63, True])
def test_a_limit_is_a_whole_number_of_bytes(people: People, limit: object) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner)
    answer = people.call(owner, "PATCH", f"/v1/vfolders/{vfolder.id}", {"limit_bytes": limit})
    assert answer.status_code == 400


def test_a_limit_leaves_a_line_with_its_reason(people: People, operator: Person) -> None:
    """The line has what was before and what is after; a refused request has no such line."""
    owner = people.person()
    people.vfolder(owner, a="x")
    path = f"/v1/quotas/{owner.word}"
    orders: list[dict[str, Any]] = [
        {"volume": "local", "limit_bytes": 1000, "reason": "a bigger corpus"},
        {"volume": "local", "limit_bytes": 500},
        {"volume": "local", "limit_bytes": None, "reason": "no more"},
        {"view": "total", "limit_bytes": 70, "reason": "all together"},
        {"view": "total", "limit_bytes": None},
    ]
    for body in orders:
        assert people.call(operator, "PUT", path, body).status_code == 200
    for wrong in ({"limit_bytes": 5, "volume": "absent"}, {"limit_bytes": 5, "reason": 1}):
        assert people.call(operator, "PUT", path, wrong).status_code == 400
    too_long = {"volume": "local", "limit_bytes": 5, "reason": "x" * 100_000}
    assert people.call(operator, "PUT", path, too_long).status_code == 400
    answer = people.call(operator, "GET", f"/v1/audit?act=quotas.set&target={owner.word}")
    lines = list(reversed(answer.json()["lines"]))
    local, total = {"volume": "local"}, {"view": "total"}
    limits = [(None, 1000, local), (1000, 500, local), (500, None, local)]
    limits += [(None, 70, total), (70, None, total)]
    assert [(line["before"], line["after"]) for line in lines] == [
        ({**place, "limit_bytes": before}, {**place, "limit_bytes": after})
        for before, after, place in limits
    ]
    reasons = ["a bigger corpus", None, "no more", "all together", None]
    assert [line.get("reason") for line in lines] == reasons
    assert {line["subject"] for line in lines} == {f"operator:{operator.id}"}


@pytest.mark.parametrize("view", ["scope", "vfolder", "total"])
def test_each_view_of_a_group_is_for_its_members_and_its_notices_for_its_admins(
    people: People, operator: Person, view: str
) -> None:
    """A notice comes once at a rise, and again after a fall of more than 5 % of the limit."""
    member, admin, stranger = people.person(), people.person(), people.person()
    group = people.group(member, admin, admins=(admin,))
    vfolder, scope = people.vfolder(group), f"project:{group}"
    base = f"/v1/vfolders/{vfolder.id}"
    if view == "vfolder":
        changed(people, admin, vfolder, 1000)
    else:
        body = {"limit_bytes": 1000, "view": view, "volume": "local" if view == "scope" else None}
        order = {name: value for name, value in body.items() if value is not None}
        assert people.call(operator, "PUT", f"/v1/quotas/{scope}", order).status_code == 200

    for size, percents in [
        *((790, []), (800, [80]), (760, [80]), (810, [80]), (740, [80]), (800, [80, 80])),
        *((899, [80, 80]), (1000, [100, 80, 80]), (960, [100, 80, 80]), (1000, [100, 80, 80])),
    ]:
        assert upload(people, admin, base, "a", b"x" * size).status_code == 201
        assert [one["percent"] for one in notices(people, admin)] == percents, size
    found = notices(people, admin)
    assert {one["view"] for one in found} == {view}
    about = None if view == "vfolder" else scope
    assert {one["scope"] for one in found} == {about}
    assert notices(people, member) == notices(people, stranger) == []
    for reader in (member, stranger):
        read = people.call(reader, "POST", f"/v1/notices/{found[0]['id']}/read")
        assert read.status_code == 404

    def seen(person: Person) -> Any:
        if view == "vfolder":
            answer = people.call(person, "GET", base)
            return answer.json()["usage"] if answer.status_code == 200 else None
        rows = people.call(person, "GET", "/v1/quotas").json()["quotas"]
        mine = [one for one in rows if one["scope"] == scope and one["view"] == view]
        return mine[0] if mine else None

    for person in (member, admin):
        figures = seen(person)
        assert (figures["used_bytes"], figures["limit_bytes"]) == (1000, 1000)
    assert seen(stranger) is None
