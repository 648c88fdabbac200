"""Clones, transfers and counts of people: what both ends need, and what comes of it."""

import tarfile
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.access import Scope
from core.access.permissions import PERSON_SCOPES
from core.names import VFolderId
from tests.api.people.conftest import People, Person, grant_to
from tests.support.node import wait_for


def shared(
    people: People, owner: Person, guest: Person, permission: str, **files: str
) -> VFolderId:
    """A vfolder of the owner; `none` shares nothing."""
    vfolder = people.vfolder(owner, **files)
    if permission != "none":
        people.grant(vfolder, grant_to(guest.word, permission))
    return vfolder


def test_a_clone_has_a_name_and_no_grants(people: People) -> None:
    owner, guest = people.person(), people.person()
    source = shared(people, owner, guest, "ro", a="1")
    body = {"name": "mine", "volume": "local"}
    key = {"Idempotency-Key": uuid4().hex}
    path = f"/v1/vfolders/{source.id}/clone"
    accepted = people.call(guest, "POST", path, body, headers=key)
    assert accepted.status_code == 202, accepted.text
    job = people.ended(guest, accepted.json()["id"])
    assert job["state"] == "succeeded", job
    new = VFolderId.parse(job["request"]["target"])
    assert str(new.scope) == guest.word

    def seen() -> dict[str, Any]:  # within a second
        answer: dict[str, Any] = people.call(guest, "GET", f"/v1/vfolders/local:{new.id}").json()
        return answer if answer["name"] else {}

    found = wait_for(seen)
    assert (found["name"], found["permission"]) == ("mine", "owner")
    assert found["created_by"] == guest.word
    assert (found["shared_with"], found["links"]) == (0, 0)
    assert (people.path(new) / "a").read_text() == "1"
    assert people.call(owner, "GET", f"/v1/vfolders/{new.id}").status_code == 404
    # A repeated request gets the first job, another one of the name is refused.
    assert people.call(guest, "POST", path, body, headers=key).json()["id"] == job["id"]
    assert people.call(guest, "POST", path, {"name": "MINE"}).status_code == 409


def test_what_a_clone_needs(people: People) -> None:
    owner, guest, stranger, member = (people.person() for _ in range(4))
    group = people.group(member)
    source = shared(people, owner, guest, "ro", a="1")
    path = f"/v1/vfolders/{source.id}/clone"
    narrow = Person(guest.id, people.new_key(guest, PERSON_SCOPES - {Scope.VFOLDERS_MANAGE}))
    wait_for(lambda: people.call(member, "GET", "/v1/me").json()["groups"])
    assert people.call(stranger, "POST", path, {}).status_code == 404
    assert people.call(narrow, "POST", path, {}).status_code == 403
    for_group = {"owner": f"group:{group}"}
    assert people.call(guest, "POST", path, for_group).status_code == 404
    people.grant(source, grant_to(member.word, "ro"))
    wait_for(lambda: people.call(member, "POST", path, for_group).status_code == 403)
    assert people.call(owner, "POST", path, {"volume": "absent"}).status_code == 400
    assert people.call(owner, "POST", path, {"colour": "red"}).status_code == 400


MOVES = {"remove_source": True}
#: What the source and the target give, what is asked for, and the answer.
TRANSFERS: list[tuple[str, str, dict[str, Any], int]] = [
    ("none", "rwd", {}, 404),
    ("ro", "none", {}, 404),
    ("ro", "ro", {}, 403),
    ("ro", "rw", {}, 202),
    ("ro", "rw", {"on_conflict": "skip"}, 202),
    ("ro", "rw", {"on_conflict": "replace"}, 403),
    ("ro", "rw", {"on_conflict": "newer"}, 403),
    ("ro", "rw", {"delete_extra": True}, 403),
    ("ro", "rwd", {"on_conflict": "newer", "delete_extra": True}, 202),
    ("none", "rwd", MOVES, 404),
    ("rw", "rw", MOVES, 403),
    ("rwd", "none", MOVES, 404),
    ("rwd", "ro", MOVES, 403),
    ("rwd", "rw", MOVES, 202),
    ("rwd", "rw", {**MOVES, "on_conflict": "replace"}, 403),
    ("rwd", "rwd", {**MOVES, "on_conflict": "replace", "keep_seconds": 86_400}, 202),
    ("rwd", "rwd", {**MOVES, "keep_seconds": 60}, 403),
    ("rwd", "rwd", {**MOVES, "keep_seconds": 0}, 400),
    ("rwd", "rwd", {**MOVES, "verify": "none"}, 400),
    ("rwd", "rwd", {**MOVES, "delete_extra": True}, 400),
    ("rwd", "rwd", {"keep_seconds": 60}, 400),
]


@pytest.mark.parametrize(("source", "target", "more", "status"), TRANSFERS)
def test_what_a_transfer_needs(
    people: People, source: str, target: str, more: dict[str, Any], status: int
) -> None:
    owner, guest = people.person(), people.person()
    here = shared(people, owner, guest, source, a="1", b="2")
    there = shared(people, owner, guest, target)
    body = {"to": f"local:{there.id}", "target_path": "in", **more}
    answer = people.call(guest, "POST", f"/v1/vfolders/{here.id}/transfer", body)
    assert answer.status_code == status, answer.text
    if status == 202:
        assert people.ended(guest, answer.json()["id"])["state"] == "succeeded"
    assert (people.path(there) / "in" / "a").exists() == (status == 202)
    gone = status == 202 and "remove_source" in more
    assert (people.path(here) / "a").exists() == (not gone)
    (deletion,) = people.call(owner, "GET", f"/v1/vfolders/{here.id}/trash").json()["trash"] or [{}]
    assert deletion.get("paths", []) == (["a", "b"] if gone else [])


def test_a_move_is_for_a_key_that_may_remove(people: People) -> None:
    owner = people.person()
    here, there = people.vfolder(owner, a="1"), people.vfolder(owner)
    body = {"to": f"local:{there.id}", "target_path": "in", **MOVES}
    narrow = Person(owner.id, people.new_key(owner, PERSON_SCOPES - {Scope.FILES_DELETE}))
    path = f"/v1/vfolders/{here.id}/transfer"
    assert people.call(narrow, "POST", path, body).status_code == 403
    within = {**body, "to": f"local:{here.id}", "source_path": "a"}
    assert people.call(owner, "POST", path, within).status_code == 400
    assert (people.path(here) / "a").exists()


def test_an_archive_is_unpacked_by_who_may_write(people: People) -> None:
    owner, guest = people.person(), people.person()
    vfolder = shared(people, owner, guest, "rw")
    top = people.path(vfolder)
    with tarfile.open(top / "in.tar", "w") as packed:
        packed.addfile(tarfile.TarInfo("a"))
    path = f"/v1/vfolders/{vfolder.id}/extract"
    body = {"source": "in.tar", "target": "out", "archive": "tar"}
    for wrong in ({"target": ".."}, {"target": ""}, {"archive": "rar"}, {"upload": "x"}):
        assert people.call(guest, "POST", path, {**body, **wrong}).status_code == 400
    accepted = people.call(guest, "POST", path, body)
    assert accepted.status_code == 202, accepted.text
    assert people.ended(guest, accepted.json()["id"])["state"] == "succeeded"
    assert (top / "out" / "a").exists()
    assert people.call(guest, "POST", path, body).status_code == 409


def test_a_count_is_in_the_usage(people: People) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner, a="12345")
    base = f"/v1/vfolders/{vfolder.id}"
    job = people.call(owner, "POST", f"{base}/usage").json()["id"]
    assert people.ended(owner, job)["state"] == "succeeded"
    usage = people.call(owner, "GET", base).json()["usage"]
    assert (usage["used_bytes"], usage["entries"]) == (5, 1)


def offered(people: People, owner: Person, vfolder: VFolderId, to: str | None) -> int:
    answer = people.call(owner, "POST", f"/v1/vfolders/{vfolder.id}/owner", {"to": to})
    return answer.status_code


def test_a_vfolder_gets_another_owner_who_accepts(people: People) -> None:
    owner, heir, guest = people.person(), people.person(), people.person()
    vfolder = people.vfolder(owner, a="1")
    people.grant(vfolder, grant_to(guest.word, "ro"), grant_to(heir.word, "ro"))
    base = f"/v1/vfolders/{vfolder.id}"
    accept = f"{base}/owner/accept"
    assert people.call(heir, "POST", accept).status_code == 403
    assert offered(people, guest, vfolder, guest.word) == 403
    assert offered(people, owner, vfolder, owner.word) == 400
    assert offered(people, owner, vfolder, heir.word) == 200
    assert people.call(owner, "GET", base).json()["next_owner"] == heir.word
    assert people.call(heir, "GET", base).json()["next_owner"] is None
    assert people.call(guest, "POST", accept).status_code == 403
    assert offered(people, owner, vfolder, None) == 200  # taken back
    assert people.call(heir, "POST", accept).status_code == 403
    assert offered(people, owner, vfolder, heir.word) == 200
    given = people.call(heir, "POST", accept)
    assert given.status_code == 200, given.text
    assert given.json()["owner"]["id"] == str(heir.id)
    assert given.json()["permission"] == "owner"
    # The new owner has no grant besides, the former one has nothing, the others have what they had.
    assert given.json()["shared_with"] == 1
    wait_for(lambda: people.call(owner, "GET", base).status_code == 404)
    assert people.call(guest, "GET", base).status_code == 200
    assert people.call(heir, "POST", accept).status_code == 403
    listed = people.call(heir, "GET", "/v1/vfolders?owned=true").json()["vfolders"]
    assert str(vfolder.id) in [one["id"] for one in listed]
    assert people.call(owner, "GET", "/v1/vfolders").json()["vfolders"] == []


def test_a_name_is_unique_among_what_an_owner_has_now(people: People) -> None:
    owner, heir = people.person(), people.person()

    def named(person: Person, name: str) -> tuple[int, str]:
        body = {"name": name, "volume": "local"}
        answer = people.call(person, "POST", "/v1/vfolders", body)
        return answer.status_code, answer.json().get("id", "")

    _, given = named(owner, "corpus")
    _, own = named(heir, "Corpus")
    base = f"/v1/vfolders/{given}"
    assert people.call(owner, "POST", f"{base}/owner", {"to": heir.word}).status_code == 200
    assert people.call(heir, "POST", f"{base}/owner/accept").status_code == 409
    assert people.call(heir, "PATCH", f"/v1/vfolders/{own}", {"name": "mine"}).status_code == 200
    wait_for(lambda: people.call(heir, "POST", f"{base}/owner/accept").status_code == 200)
    # It lies in the scope of its former owner, whose names it does not take any more.
    wait_for(lambda: named(owner, "corpus")[0] == 201)
    assert people.call(heir, "PATCH", base, {"name": "MINE"}).status_code == 409
    assert named(heir, "CORPUS")[0] == 409


def test_an_admin_accepts_for_a_group(people: People) -> None:
    owner, admin, member = people.person(), people.person(), people.person()
    group: UUID = people.group(admin, member, admins=(admin,))
    vfolder = people.vfolder(owner)
    accept = f"/v1/vfolders/{vfolder.id}/owner/accept"
    wait_for(lambda: people.call(admin, "GET", "/v1/me").json()["groups"])
    assert offered(people, owner, vfolder, f"group:{group}") == 200
    assert people.call(member, "POST", accept).status_code == 404
    wait_for(lambda: people.call(admin, "POST", accept).status_code == 200)
    seen = people.call(member, "GET", f"/v1/vfolders/{vfolder.id}")
    assert (seen.status_code, seen.json()["permission"]) == (200, "ro")
