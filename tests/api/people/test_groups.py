"""Groups whose members are kept here: who makes them, who changes them, and what that gives."""

from typing import Any
from uuid import uuid4

from tests.api.people.conftest import People, Person
from tests.support.node import wait_for


def made(people: People, operator: Person, *admins: Person, **more: Any) -> str:
    body = {"name": "nlp", "admins": [str(one.id) for one in admins], **more}
    answer = people.call(operator, "POST", "/v1/groups", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def members(people: People, person: Person, group: str) -> Any:
    answer = people.call(person, "GET", f"/v1/groups/{group}/members")
    rows = answer.json().get("members", [])
    return answer.status_code, {row["id"]: row["admin"] for row in rows}


def test_from_a_new_group_to_a_member_that_left(people: People) -> None:
    operator, admin, member, stranger = people.operator(), *(people.person() for _ in range(3))
    group = made(people, operator, admin)
    path = f"/v1/groups/{group}/members"
    assert (
        people.call(operator, "POST", "/v1/groups", {"name": "x", "id": group}).status_code == 409
    )

    def own(person: Person) -> Any:
        found = people.call(person, "GET", "/v1/groups").json()["groups"]
        return [(one["name"], one["admin"], one["members_kept"]) for one in found]

    wait_for(lambda: own(admin) == [("nlp", True, True)])
    shared = people.call(
        admin,
        "POST",
        "/v1/vfolders",
        {"name": "ours", "volume": "local", "owner": f"group:{group}"},
    )
    assert shared.status_code == 201, shared.text
    vfolder = f"/v1/vfolders/{shared.json()['id']}"
    assert people.call(member, "GET", vfolder).status_code == 404
    joined = people.call(admin, "POST", path, {"user": str(member.id)})
    assert joined.status_code == 200, joined.text
    wait_for(lambda: people.call(member, "GET", vfolder).status_code == 200)
    assert own(member) == [("nlp", False, True)]
    everyone = {str(admin.id): True, str(member.id): False}
    for person in (admin, member, operator):
        assert members(people, person, group) == (200, everyone)
    # Who may change it: its admins and operators.
    body = {"user": str(stranger.id)}
    for person, status in ((member, 403), (stranger, 404), (Person(), 401)):
        assert people.call(person, "POST", path, body).status_code == status
        assert people.call(person, "DELETE", f"{path}/{admin.id}").status_code == status
    assert members(people, stranger, group)[0] == 404
    assert people.call(admin, "DELETE", f"{path}/{stranger.id}").status_code == 404
    # It keeps its last admin.
    last = {"user": str(admin.id), "admin": False}
    assert people.call(admin, "POST", path, last).status_code == 409
    assert people.call(admin, "DELETE", f"{path}/{admin.id}").status_code == 409
    assert people.call(admin, "POST", path, {**last, "user": str(member.id), "admin": True}).ok
    wait_for(lambda: own(member) == [("nlp", True, True)])
    assert people.call(member, "DELETE", f"{path}/{admin.id}").status_code == 204
    wait_for(lambda: people.call(admin, "GET", vfolder).status_code == 404)
    assert members(people, operator, group) == (200, {str(member.id): True})


def test_bad_groups_are_refused(people: People) -> None:
    operator, owner = people.operator(), people.person()
    for wrong in (
        {"name": ""},
        {"name": "a/b"},
        {"name": "a\n"},
        {"name": "n", "id": "x"},
        {"name": "n", "admins": ["x"]},
        {"name": "n", "colour": "red"},
    ):
        assert people.call(operator, "POST", "/v1/groups", wrong).status_code == 400, wrong
    group = made(people, operator, owner, admins=[str(owner.id)] * 2)
    path = f"/v1/groups/{group}/members"
    wait_for(lambda: people.call(owner, "GET", path).status_code == 200)
    assert members(people, owner, group) == (200, {str(owner.id): True})
    for body in ({}, {"user": "x"}, {"user": str(owner.id), "admin": 1}):
        assert people.call(owner, "POST", path, body).status_code == 400, body
    assert people.call(owner, "DELETE", f"{path}/x").status_code == 404
    assert people.call(owner, "GET", "/v1/groups/x/members").status_code == 404


def link_to(people: People, person: Person, vfolder: str) -> Any:
    return people.call(person, "POST", f"/v1/vfolders/{vfolder}/links", {})


def opens(people: People, url: str) -> bool:
    return bool(people.door.send("GET", f"/s/{url.rpartition('/')[2]}").status_code == 200)


def test_links_of_a_group_are_off_and_on(people: People) -> None:
    operator, admin, member, stranger = people.operator(), *(people.person() for _ in range(3))
    group = made(people, operator, admin)
    path = f"/v1/groups/{group}"
    body = {"name": "ours", "volume": "local", "owner": f"group:{group}"}
    wait_for(lambda: people.call(admin, "GET", "/v1/groups").json()["groups"])
    ours = people.call(admin, "POST", "/v1/vfolders", body).json()["id"]
    assert people.call(admin, "POST", f"{path}/members", {"user": str(member.id)}).ok
    own = people.vfolder(admin, a="1")
    urls = [link_to(people, admin, one).json()["url"] for one in (ours, str(own.id))]
    wait_for(lambda: all(opens(people, url) for url in urls))
    wait_for(lambda: people.call(member, "GET", "/v1/groups").json()["groups"])
    off = {"links_allowed": False}
    for person, status in ((member, 403), (stranger, 404), (Person(), 401)):
        assert people.call(person, "PATCH", path, off).status_code == status
    for wrong in ({}, {"links_allowed": 0}, {"links_allowed": None}, {**off, "name": "x"}):
        assert people.call(admin, "PATCH", path, wrong).status_code == 400, wrong
    changed = people.call(admin, "PATCH", path, off)
    assert (changed.status_code, changed.json()["links_allowed"]) == (200, False)
    wait_for(lambda: not opens(people, urls[0]))
    assert link_to(people, admin, ours).status_code == 403
    assert opens(people, urls[1]), "a vfolder of its own is not the group's"
    (row,) = people.call(admin, "GET", "/v1/groups").json()["groups"]
    assert row["links_allowed"] is False
    # Members and names stay; an operator may, too.
    assert members(people, admin, group)[1] == {str(admin.id): True, str(member.id): False}
    assert people.call(operator, "PATCH", path, {"links_allowed": True}).json()["name"] == "nlp"
    wait_for(lambda: opens(people, urls[0]))


def test_links_of_a_group_of_tokens(people: People) -> None:
    """It has no record before, and can still be made a group that is kept here."""
    operator, admin = people.operator(), people.person()
    group = str(uuid4())
    off = people.call(operator, "PATCH", f"/v1/groups/{group}", {"links_allowed": False})
    assert (off.status_code, off.json()["members_kept"]) == (200, False)
    assert made(people, operator, admin, id=group) == group
    wait_for(lambda: people.call(admin, "GET", "/v1/groups").json()["groups"])
    (row,) = people.call(admin, "GET", "/v1/groups").json()["groups"]
    assert (row["links_allowed"], row["members_kept"]) == (False, True)
    # A user is no group.
    user = {"links_allowed": False}
    assert people.call(operator, "PATCH", f"/v1/groups/{admin.id}", user).status_code == 404
    taken = {"name": "x", "id": str(admin.id)}
    assert people.call(operator, "POST", "/v1/groups", taken).status_code == 409
