"""Removed entries of people: kept by default, listed, restored; gone for good by an owner only."""

from core.names import VFolderId
from tests.api.people.conftest import People, Person, grant_to


def done(people: People, person: Person, method: str, path: str, body: object = None) -> str:
    """The id of a job of a request that has succeeded."""
    answer = people.call(person, method, path, body)
    assert answer.status_code == 202, answer.text
    job = people.ended(person, answer.json()["id"])
    assert job["state"] == "succeeded", job
    return str(job["id"])


def shared(people: People) -> tuple[Person, Person, VFolderId]:
    owner, guest = people.person(), people.person()
    vfolder = people.vfolder(owner, a="12345", b="1")
    people.grant(vfolder, grant_to(guest.word, "rwd"))
    return owner, guest, vfolder


def test_from_a_removal_to_its_restoration(people: People) -> None:
    _, guest, vfolder = shared(people)
    base = f"/v1/vfolders/{vfolder.id}"
    job = done(people, guest, "POST", f"{base}/delete", {"paths": ["a"]})
    assert people.call(guest, "GET", f"{base}/entry?path=a").status_code == 404
    (found,) = people.call(guest, "GET", f"{base}/trash").json()["trash"]
    assert (found["id"], found["count"], found["paths"]) == (job, 1, ["a"])
    assert found["size_bytes"] == 5
    restore = f"{base}/trash/{job}/restore"
    assert people.call(guest, "POST", f"{base}/directories", {"paths": ["a"]}).status_code == 201
    taken = people.call(guest, "POST", restore)
    assert (taken.status_code, taken.json()["paths"]) == (409, ["a"])
    moved = people.call(guest, "PATCH", f"{base}/entry?path=a", {"to": "c"})
    assert moved.status_code == 204
    done(people, guest, "POST", restore)
    assert people.call(guest, "GET", f"{base}/content?path=a").content == b"12345"
    assert people.call(guest, "GET", f"{base}/trash").json()["trash"] == []
    assert people.call(guest, "POST", restore).status_code == 404


def test_who_removes_for_good(people: People) -> None:
    owner, guest, vfolder = shared(people)
    base = f"/v1/vfolders/{vfolder.id}"
    for_good = {"paths": ["b"], "keep_seconds": 0}
    for seconds in (0, 0.001, 86_399):
        short = {"paths": ["b"], "keep_seconds": seconds}
        assert people.call(guest, "POST", f"{base}/delete", short).status_code == 403
    kept = done(people, guest, "POST", f"{base}/delete", {"paths": ["a"]})
    assert people.call(guest, "DELETE", f"{base}/trash/{kept}").status_code == 403
    done(people, owner, "DELETE", f"{base}/trash/{kept}")
    done(people, owner, "POST", f"{base}/delete", for_good)
    assert people.call(owner, "GET", f"{base}/trash").json()["trash"] == []
    wrong = people.call(owner, "POST", f"{base}/trash/not-an-id/restore")
    assert wrong.status_code == 400


def test_entries_of_one_vfolder_are_no_entries_of_another(people: People) -> None:
    owner = people.person()
    here, there = people.vfolder(owner, a="1"), people.vfolder(owner, a="2")
    job = done(people, owner, "POST", f"/v1/vfolders/{here.id}/delete", {"paths": ["a"]})
    for method, end in (("POST", "/restore"), ("DELETE", "")):
        path = f"/v1/vfolders/{there.id}/trash/{job}{end}"
        assert people.call(owner, method, path).status_code == 404
    # A deletion of the vfolder itself is none of its entries.
    deleted = done(people, owner, "DELETE", f"/v1/vfolders/{there.id}")
    done(people, owner, "POST", f"/v1/vfolders/{there.id}/restore", {})
    assert (
        people.call(owner, "DELETE", f"/v1/vfolders/{there.id}/trash/{deleted}").status_code == 404
    )
