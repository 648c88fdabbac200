"""What people do with vfolders, from making one to restoring it; and what they may not reach."""

import base64
import io
import os
import tarfile
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.api.people.conftest import People, Person, grant_to
from tests.support.node import wait_for
from vfolder_client.jobs import events

#: Paths that lead out of a vfolder, or to no entry.
HOSTILE = (
    "../outside",
    "a/../../outside",
    "/etc/passwd",
    "link-out",
    "link-out/secret",
    "link-up/secret",
    "..",
    "a\0b",
    "x" * 256,
    "%2e%2e/outside",
    "....//outside",
)


def made(people: People, person: Person, name: str, **more: Any) -> dict[str, Any]:
    response = people.call(
        person, "POST", "/v1/vfolders", {"name": name, "volume": "local", **more}
    )
    assert response.status_code == 201, response.text
    document: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"/v1/vfolders/local:{document['id']}"
    assert response.headers["ETag"] == f'"{document["revision"]}"'
    return document


def test_oneself(people: People) -> None:
    person = people.person()
    group = people.group(person, admins=(person,))
    wait_for(lambda: people.call(person, "GET", "/v1/me").json()["groups"])
    document = people.call(person, "GET", "/v1/me").json()
    assert document["subject"]["id"] == str(person.id)
    assert document["groups"] == [{"id": str(group), "admin": True}]
    assert document["credential"]["kind"] == "key"
    assert document["volumes"] == ["local", "second"]
    assert person.key not in str(document)


def test_from_a_new_vfolder_to_its_restoration(people: People) -> None:
    owner, friend = people.person(), people.person()
    vfolder = made(people, owner, "corpus")
    base = f"/v1/vfolders/{vfolder['id']}"
    assert vfolder["permission"] == "owner"
    answer = people.call(owner, "POST", f"{base}/directories", {"paths": ["a/b", "c"]})
    assert [one["status"] for one in answer.json()["results"]] == [201, 201]
    sent = upload(people, owner, base, "a/b/file.txt", b"hello, world")
    assert sent.status_code == 201
    rows = people.call(owner, "GET", f"{base}/entries?path=a/b").json()["entries"]
    assert [(one["name"], one["kind"], one["size_bytes"]) for one in rows] == [
        ("file.txt", "file", 12)
    ]
    entry = people.call(owner, "GET", f"{base}/entry?path=a/b/file.txt")
    content = people.call(owner, "GET", f"{base}/content?path=a/b/file.txt")
    assert content.content == b"hello, world"
    assert content.headers["ETag"] == entry.headers["ETag"]
    assert content.headers["Content-Disposition"].startswith("attachment")
    assert content.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in content.headers["Content-Security-Policy"]
    part = people.call(
        owner, "GET", f"{base}/content?path=a/b/file.txt", headers={"Range": "bytes=7-"}
    )
    assert (part.status_code, part.content) == (206, b"world")
    archive = people.call(owner, "GET", f"{base}/content?path=a&format=tar")
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as packed:
        assert "b/file.txt" in packed.getnames()
    share(people, owner, base, friend, "ro")
    wait_for(lambda: people.call(friend, "GET", base).status_code == 200)
    assert people.call(friend, "POST", f"{base}/directories", {"paths": ["x"]}).status_code == 403
    moved = people.call(owner, "PATCH", f"{base}/entry?path=a/b/file.txt", {"to": "c/new.txt"})
    assert moved.status_code == 204
    assert people.call(owner, "GET", f"{base}/entry?path=a/b/file.txt").status_code == 404
    deleted = people.call(owner, "DELETE", base).json()
    assert people.ended(owner, deleted["id"])["state"] == "succeeded"
    assert deleted["requester"] == owner.word
    wait_for(lambda: people.call(friend, "GET", base).status_code == 404)
    kept = people.call(owner, "GET", base)
    assert kept.status_code == 200, kept.text
    assert kept.json()["trashed"] is True
    assert people.call(friend, "POST", f"{base}/restore", {}).status_code == 404
    restored = people.call(owner, "POST", f"{base}/restore", {}).json()
    assert people.ended(owner, restored["id"])["state"] == "succeeded"
    wait_for(lambda: people.call(friend, "GET", base).status_code == 200)
    again = people.call(friend, "GET", f"{base}/content?path=c/new.txt")
    assert again.content == b"hello, world"
    assert people.call(owner, "POST", f"{base}/purge").status_code == 404, "it is not in the trash"
    last = people.call(owner, "DELETE", base).json()
    assert people.ended(owner, last["id"])["state"] == "succeeded"
    wait_for(lambda: people.call(owner, "GET", base).json().get("trashed"))
    assert people.call(friend, "POST", f"{base}/purge").status_code == 404
    purged = people.call(owner, "POST", f"{base}/purge").json()
    assert people.ended(owner, purged["id"])["state"] == "succeeded"
    assert people.call(owner, "GET", base).status_code == 404


def upload(
    people: People, person: Person, base: str, path: str, data: bytes, **headers: str
) -> requests.Response:
    name = base64.b64encode(os.fsencode(path)).decode()
    given = {
        "Upload-Length": str(len(data)),
        "Upload-Metadata": f"relativePath {name}",
        "Content-Type": "application/offset+octet-stream",
        "Tus-Resumable": "1.0.0",
    }
    return people.call(person, "POST", f"{base}/uploads", headers={**given, **headers}, data=data)


def share(people: People, owner: Person, base: str, with_whom: Person, permission: str) -> str:
    body = {"to": with_whom.word, "permission": permission}
    answer = people.call(owner, "POST", f"{base}/grants", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_an_upload_in_pieces_is_its_subjects_alone(people: People) -> None:
    owner, other = people.person(), people.person()
    vfolder = people.vfolder(owner)
    grant = grant_to(other.word, "rw")
    people.grant(vfolder, grant)
    base = f"/v1/vfolders/{vfolder.id}"
    name = base64.b64encode(b"big.bin").decode()
    tus = {"Tus-Resumable": "1.0.0"}
    begun = people.call(
        other,
        "POST",
        f"{base}/uploads",
        headers={**tus, "Upload-Length": "10", "Upload-Metadata": f"relativePath {name}"},
    )
    assert begun.status_code == 201, begun.text
    url = begun.headers["Location"]
    piece = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    assert people.call(owner, "PATCH", url, headers=piece, data=b"01234").status_code == 404
    assert people.call(owner, "HEAD", url, headers=tus).status_code == 404
    assert people.call(owner, "DELETE", url, headers=tus).status_code == 404
    first = people.call(other, "PATCH", url, headers=piece, data=b"01234")
    assert (first.status_code, first.headers["Upload-Offset"]) == (204, "5")
    assert people.call(other, "HEAD", url, headers=tus).headers["Upload-Offset"] == "5"
    people.grant(vfolder)  # the permission is gone: the upload does not go on
    rest = {**piece, "Upload-Offset": "5"}

    def refused() -> bool:
        answer = people.call(other, "PATCH", url, headers={**rest, "Upload-Offset": "4"}, data=b"x")
        return answer.status_code == 404

    wait_for(refused)
    assert people.call(other, "PATCH", url, headers=rest, data=b"56789").status_code == 404
    assert not (people.path(vfolder) / "big.bin").exists()


def test_one_id_on_two_volumes_is_told_apart(people: People) -> None:
    owner, guest = people.person(), people.person()
    vfolder = people.vfolder(owner, here="local")
    people.fill(vfolder, "second", there="second")
    people.grant(vfolder, grant_to(guest.word, "ro"), volume="second")
    refused = people.call(owner, "GET", f"/v1/vfolders/{vfolder.id}")
    assert refused.status_code == 409
    choices = [f"local:{vfolder.id}", f"second:{vfolder.id}"]
    assert refused.json()["choices"] == choices
    for choice, name in zip(choices, ("here", "there"), strict=True):
        rows = people.call(owner, "GET", f"/v1/vfolders/{choice}/entries").json()["entries"]
        assert [row["name"] for row in rows] == [name]
    # Who sees one of them needs to name no volume, and learns nothing of the other one.
    found = people.call(guest, "GET", f"/v1/vfolders/{vfolder.id}/entries").json()["entries"]
    assert [row["name"] for row in found] == ["there"]
    assert people.call(guest, "GET", f"/v1/vfolders/{choices[0]}").status_code == 404


def test_lists_have_what_the_caller_may_see(people: People) -> None:
    owner, other = people.person(), people.person()
    names = ["Beta", "alpha", "gamma"]
    for name in names:
        made(people, owner, name)
    made(people, other, "hidden")
    first = people.call(owner, "GET", "/v1/vfolders?limit=2").json()
    second = people.call(owner, "GET", f"/v1/vfolders?limit=2&cursor={first['next']}").json()
    found = [one["name"] for one in first["vfolders"] + second["vfolders"]]
    assert found == ["alpha", "Beta", "gamma"]
    assert second["next"] is None
    newest = people.call(owner, "GET", "/v1/vfolders?limit=2&sort=created_at").json()
    after = f"/v1/vfolders?limit=2&sort=created_at&cursor={newest['next']}"
    both = newest["vfolders"] + people.call(owner, "GET", after).json()["vfolders"]
    assert [one["name"] for one in both] == ["gamma", "alpha", "Beta"]
    biggest = people.call(owner, "GET", "/v1/vfolders?sort=used_bytes").json()["vfolders"]
    assert len(biggest) == len(names)
    only = people.call(owner, "GET", "/v1/vfolders?name=GAM").json()["vfolders"]
    assert [one["name"] for one in only] == ["gamma"]
    for wrong in (
        "cursor=x",
        "limit=0",
        "limit=1001",
        "owned=maybe",
        "sort=colour",
        f"cursor={newest['next']}",
        "colour=red",
        "limit=1&limit=2",
    ):
        assert people.call(owner, "GET", f"/v1/vfolders?{wrong}").status_code == 400, wrong
    newcomer = people.person()  # nothing is listed, and the parameters are checked
    assert people.call(newcomer, "GET", "/v1/vfolders?shared=maybe").status_code == 400


def test_a_name_is_unique_and_a_key_makes_one(people: People) -> None:
    owner = people.person()
    key = {"Idempotency-Key": uuid4().hex}
    body = {"name": "once", "volume": "local"}
    first = people.call(owner, "POST", "/v1/vfolders", body, headers=key)
    second = people.call(owner, "POST", "/v1/vfolders", body, headers=key)
    assert first.status_code == second.status_code == 201
    assert first.json()["id"] == second.json()["id"]
    other = people.call(owner, "POST", "/v1/vfolders", {**body, "name": "two"}, headers=key)
    assert other.status_code == 422
    taken = people.call(owner, "POST", "/v1/vfolders", {"name": "ONCE", "volume": "local"})
    assert taken.status_code == 409
    stranger = people.person()
    foreign = {"name": "x", "volume": "local", "owner": owner.word}
    assert people.call(stranger, "POST", "/v1/vfolders", foreign).status_code == 404
    for wrong in ("", "a/b", "x" * 201, "a\nb"):
        bad = people.call(owner, "POST", "/v1/vfolders", {"name": wrong, "volume": "local"})
        assert bad.status_code == 400, wrong


@pytest.mark.parametrize("path", HOSTILE)
def test_no_path_leads_out(people: People, path: str) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner, inside="1")
    tree = people.path(vfolder)
    outside = tree.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret").write_text("hidden bytes")
    (tree / "link-out").symlink_to(outside)
    (tree / "link-up").symlink_to("../outside")
    base = f"/v1/vfolders/{vfolder.id}"
    asked = {"params": {"path": path}}
    answers = [
        people.call(owner, "GET", f"{base}/content", **asked),
        people.call(owner, "GET", f"{base}/entries", **asked),
        people.call(
            owner, "PATCH", f"{base}/entry", {"to": "x"}, params={"path": f"{path}/secret"}
        ),
        people.call(owner, "PATCH", f"{base}/entry?path=inside", {"to": f"{path}/taken"}),
        people.call(owner, "POST", f"{base}/directories", {"paths": [f"{path}/new"]}),
        upload(people, owner, base, f"{path}/sent", b"x") if "\0" not in path else None,
    ]
    for answer in filter(None, answers):
        assert answer.status_code < 500
        assert b"hidden bytes" not in answer.content
        assert str(people.settings.directory) not in answer.text
    assert sorted(os.listdir(outside)) == ["secret"]
    assert not (tree.parent / "sent").exists()
    assert not (tree.parent / "taken").exists()


def test_tickets_end_with_the_permission(people: People) -> None:
    owner, guest = people.person(), people.person()
    vfolder = people.vfolder(owner, **{"a.txt": "hello"})
    people.grant(vfolder, grant_to(guest.word, "rw"))
    base = f"/v1/vfolders/{vfolder.id}"
    order = {"act": "download", "path": "a.txt"}
    ticket = people.call(guest, "POST", f"{base}/tickets", order).json()
    path = ticket["url"].removeprefix(people.door.url)
    assert people.door.send("GET", path).content == b"hello"
    archive = {"act": "archive", "paths": ["a.txt"]}
    packed = people.call(guest, "POST", f"{base}/tickets", archive).json()
    archive_path = packed["url"].removeprefix(people.door.url)
    assert people.door.send("GET", archive_path).status_code == 200
    people.grant(vfolder)
    wait_for(lambda: people.door.send("GET", path).status_code == 404)
    assert people.door.send("GET", archive_path).status_code == 404


def test_a_stream_of_a_job_has_its_end(people: People) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner, **{"a.txt": "1"})
    body = {"paths": ["a.txt"]}
    job = people.call(owner, "POST", f"/v1/vfolders/{vfolder.id}/delete", body).json()["id"]
    with people.call(owner, "GET", f"/v1/jobs/{job}/events", stream=True) as response:
        assert [name for _, name, _ in events(response.iter_content(None))][-1] == "done"
    mine = people.call(owner, "GET", "/v1/jobs?requester=me&verb=delete-files").json()["jobs"]
    assert [one["id"] for one in mine] == [job]
    assert people.call(owner, "GET", "/v1/jobs?requester=manager").status_code == 400
    assert people.call(people.person(), "GET", "/v1/jobs").json()["jobs"] == []


def test_a_member_cannot_give_back_the_grant_of_its_group(people: People) -> None:
    owner, member = people.person(), people.person()
    group = people.group(member)
    vfolder = people.vfolder(owner)
    people.grant(vfolder, grant := grant_to(f"group:{group}", "rwd"))
    base = f"/v1/vfolders/{vfolder.id}"
    wait_for(lambda: people.call(member, "GET", base).status_code == 200)
    assert people.call(member, "DELETE", f"{base}/grants/{grant.id}").status_code == 403
    assert people.call(member, "GET", base).status_code == 200


def test_a_grantee_may_leave(people: People) -> None:
    owner, guest, other = people.person(), people.person(), people.person()
    vfolder = people.vfolder(owner)
    base = f"/v1/vfolders/{vfolder.id}"
    mine = share(people, owner, base, guest, "ro")
    theirs = share(people, owner, base, other, "rw")
    wait_for(lambda: people.call(guest, "GET", base).status_code == 200)
    seen = people.call(guest, "GET", f"{base}/grants").json()["grants"]
    assert [one["id"] for one in seen] == [mine]
    assert people.call(guest, "DELETE", f"{base}/grants/{theirs}").status_code == 404
    assert people.call(guest, "DELETE", f"{base}/grants/{mine}").status_code == 204
    wait_for(lambda: people.call(guest, "GET", base).status_code == 404)
