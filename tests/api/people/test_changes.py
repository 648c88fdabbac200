"""Changes of records start from the file: another process may have changed it a moment ago."""

import time
from uuid import UUID, uuid4

from msgspec import structs

from core.access import records
from core.names import VFolderId
from tests.api.people.conftest import People, grant_to
from tests.support.node import wait_for


def test_a_change_knows_the_revision_that_another_process_wrote(people: People) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner)
    path = f"/v1/vfolders/{vfolder.id}"
    record = records.implied("local", vfolder)
    for revision in range(1, 20, 2):
        assert people.call(owner, "GET", path).status_code == 200  # the process keeps what it read
        people.write(structs.replace(record, revision=revision), vfolder)
        headers = {"If-Match": f'"{revision}"'}
        answer = people.call(owner, "PATCH", path, {"name": f"n{revision}"}, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["ETag"] == f'"{revision + 1}"'


def test_a_vfolder_that_is_made_again_can_be_shared_again(people: People) -> None:
    """The index knows the revisions of the former one, which must not make the new ones forged."""
    owner, other = people.person(), people.person()
    body, key = {"name": "nightly", "volume": "local"}, {"Idempotency-Key": uuid4().hex}
    for night in range(2):
        made = people.call(owner, "POST", "/v1/vfolders", body, headers=key)
        assert made.status_code == 201, made.text
        path = f"/v1/vfolders/{made.json()['id']}"
        for note in ("a", "b", "c"):
            grant = {"to": other.word, "permission": "ro", "note": note}
            assert people.call(owner, "POST", f"{path}/grants", grant).status_code == 201
        found = people.call(owner, "GET", path).json()
        assert (found["name"], found["shared_with"]) == ("nightly", 1), night
        assert people.call(other, "GET", path).status_code == 200
        job = people.call(owner, "DELETE", f"{path}?keep_seconds=0").json()["id"]
        assert people.ended(owner, job)["state"] == "succeeded"
        # A door sees what another process has changed within a second.
        wait_for(lambda at=path: people.call(owner, "GET", at).status_code == 404)


def test_a_record_that_was_put_back_gives_nothing_in_lists_either(people: People) -> None:
    """The index knows a newer revision; an old copy of the file is no record."""
    owner, other = people.person(), people.person()
    body = {"name": "put back", "volume": "local"}
    vfolder = people.call(owner, "POST", "/v1/vfolders", body).json()["id"]
    grants = f"/v1/vfolders/{vfolder}/grants"
    grant = {"to": other.word, "permission": "ro"}
    shared = people.call(owner, "POST", grants, grant)
    (file,) = people.settings.directory.rglob(f"meta/{UUID(vfolder).hex}.access")
    old = file.read_bytes()
    path = f"{grants}/{shared.json()['id']}"
    assert people.call(owner, "DELETE", path).status_code == 204
    file.write_bytes(old)
    listed = people.call(owner, "GET", "/v1/vfolders").json()["vfolders"]
    assert [(one["id"], one["shared_with"]) for one in listed] == [(vfolder, 0)]
    assert people.call(other, "GET", "/v1/vfolders").json()["vfolders"] == []


def test_a_decision_is_kept_no_longer_than_what_it_rests_on(people: People) -> None:
    """A process keeps a yes, but neither beyond the end of a grant nor beyond its revocation."""
    owner, other = people.person(), people.person()
    revoked = people.vfolder(owner, a="1")
    path = f"/v1/vfolders/{revoked.id}"
    grant = {"to": other.word, "permission": "ro"}
    made = people.call(owner, "POST", f"{path}/grants", grant).json()

    def read(vfolder: VFolderId) -> int:
        found = people.call(other, "GET", f"/v1/vfolders/{vfolder.id}/content?path=a")
        return found.status_code

    assert [read(revoked) for _ in range(3)] == [200] * 3
    for seconds in (2.0, 8.0, 32.0):  # a slow machine reads three times in no two seconds
        end = time.time() + seconds
        ending = people.vfolder(owner, a="1")
        people.grant(ending, grant_to(other.word, "ro", ends_in=seconds))
        found = [read(ending) for _ in range(3)]
        if time.time() < end:
            break
    assert found == [200] * 3
    assert people.call(owner, "DELETE", f"{path}/grants/{made['id']}").status_code == 204
    assert read(revoked) == 404
    wait_for(lambda: read(ending) == 404, 60)
