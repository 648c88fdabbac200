"""The manager's routes about access: grants, mounts, explanations, and that none is there without.

The routes exist only with the table `[vfolder.access]`.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from redis import Redis

from backends.fs import layout
from core.access import Grant, RecordOwner, Seals, VFolderRecord, records
from core.access.audit import files
from core.names import VFolderId, moment
from core.settings import Settings
from tests.api.wire.conftest import new_vfid
from tests.support.doors import TICKET_SECRET, RunningDoor, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey

ROUTES = [
    ("POST", "/v1/access/forget"),
    ("POST", "/v1/access/check"),
    ("PUT", "/v1/vfolders/{}/grants"),
    ("GET", "/v1/vfolders/{}/mount"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Settings:
    return settings_in(tmp_path_factory.mktemp("access"), valkey.url, "[vfolder.access]")


@pytest.fixture(scope="module")
def door(place: Settings) -> Iterator[RunningDoor]:
    with running_door("manager", place) as running:
        yield running


class VFolder:
    """A vfolder of the door, made by the wire."""

    def __init__(self, door: RunningDoor, settings: Settings, scope: str = "") -> None:
        text = f"{scope}/{uuid4().hex}" if scope else new_vfid()
        self.id = VFolderId.parse(text)
        assert self.id.scope
        self.owner = self.id.scope.id
        body = {"volume": "local", "vfid": text}
        assert door.call("POST", "/folder/create", body).status_code == 204
        self._door = door
        self.record = settings.directory / "local" / layout.record(self.id)

    def grants(self, *grants: dict[str, Any], **options: Any) -> requests.Response:
        path = f"/v1/vfolders/{self.id.id}/grants"
        return self._door.call("PUT", path, {"grants": list(grants)}, **options)

    def mount(self, user: UUID, want: str = "rw") -> requests.Response:
        path = f"/v1/vfolders/{self.id.id}/mount?for=user:{user}&want={want}"
        return self._door.call("GET", path)

    def check(self, user: UUID, act: str, **more: Any) -> dict[str, Any]:
        body = {"subject": f"user:{user}", "act": act, "vfolder": str(self.id.id), **more}
        answer: dict[str, Any] = self._door.call("POST", "/v1/access/check", body).json()
        return answer

    def forget(self) -> None:
        body = {"vfolders": [str(self.id.id)]}
        assert self._door.call("POST", "/v1/access/forget", body).status_code == 204

    def write(self, **changes: Any) -> None:
        """Write a record as another process of the service does."""
        kind = "user" if str(self.id).startswith("user") else "group"
        fields: dict[str, Any] = {
            "id": self.id.id,
            "volume": "local",
            "scope": str(self.id.scope),
            "owner": RecordOwner(kind=kind, id=self.owner),
            **changes,
        }
        seals = Seals([TICKET_SECRET])
        text = seals.seal(VFolderRecord(**fields), records.place_of("local", self.id))
        self.record.parent.mkdir(parents=True, exist_ok=True)
        self.record.write_bytes(text)


@pytest.fixture
def vfolder(door: RunningDoor, place: Settings) -> VFolder:
    return VFolder(door, place)


def test_without_the_table_there_is_no_such_route(manager: RunningDoor) -> None:
    for method, path in ROUTES:
        answer = manager.send(method, path.format(uuid4()))
        assert answer.status_code == 404
        assert answer.json()["type"].endswith("storage/http/404")
        assert path.partition("/{")[0] not in str(manager.document)


def test_without_the_secret_nothing_answers(door: RunningDoor) -> None:
    for method, path in ROUTES:
        answer = requests.request(method, door.url + path.format(uuid4()), timeout=60)
        assert answer.status_code == 403


def test_a_vfolder_of_the_wire_has_no_record_until_it_is_changed(vfolder: VFolder) -> None:
    assert not vfolder.record.exists()
    found = vfolder.mount(vfolder.owner).json()
    assert found["path"].endswith(str(vfolder.id.directory))
    assert (found["read_only"], found["options"], found["permission"]) == (False, [], "owner")
    assert not vfolder.record.exists()
    vfolder.grants()
    assert os.stat(vfolder.record).st_mode & 0o777 == 0o600


def test_mounts_follow_the_grants_of_the_manager(vfolder: VFolder) -> None:
    user, other = uuid4(), uuid4()
    assert vfolder.mount(user).status_code == 404
    answer = vfolder.grants(
        {"to": f"user:{user}", "permission": "wd"},
        {"to": f"user:{other}", "permission": "ro", "note": "a look"},
    )
    assert (answer.json()["revision"], answer.headers["ETag"]) == (1, '"1"')
    assert [grant["permission"] for grant in answer.json()["grants"]] == ["rwd", "ro"]
    found = vfolder.mount(user).json()
    assert (found["permission"], found["read_only"]) == ("rwd", False)
    assert vfolder.mount(user, "ro").json()["options"] == ["ro"]
    assert vfolder.mount(other).json()["read_only"] is True
    vfolder.grants({"to": f"user:{user}", "permission": "ro"})
    assert vfolder.mount(other).status_code == 404
    assert vfolder.mount(user).json()["read_only"] is True


def test_the_owner_keeps_a_vfolder_that_the_manager_shares(
    door: RunningDoor, place: Settings
) -> None:
    """The path has no kind of scope, and the first record must not give it to a group."""
    user, group = uuid4(), uuid4()
    own = VFolder(door, place, f"user:{user}")
    assert own.grants({"to": f"user:{uuid4()}", "permission": "ro"}).status_code == 200
    assert own.mount(user).json()["permission"] == "owner"
    shared = VFolder(door, place, f"project:{group}")
    assert shared.grants({"to": f"user:{user}", "permission": "ro"}).status_code == 200
    admin = shared.check(uuid4(), "vfolders.delete", admin_of=[str(group)])
    assert admin["permission"] == "owner"


def test_a_grant_that_has_ended_gives_nothing(vfolder: VFolder) -> None:
    user = uuid4()
    ends = time.time() + 3600
    vfolder.grants({"to": f"user:{user}", "permission": "rw", "expires_at": moment(ends)})
    assert vfolder.mount(user).json()["expires_at"].startswith(moment(ends)[:16])
    past = moment(time.time() - 1)
    vfolder.grants({"to": f"user:{user}", "permission": "rw", "expires_at": past})
    assert vfolder.mount(user).status_code == 404


def test_the_list_of_the_manager_replaces_its_own_grants_only(vfolder: VFolder) -> None:
    person, managed = uuid4(), uuid4()
    own = Grant(id="own", to=f"user:{person}", permission="rw")
    vfolder.write(grants=(own,), revision=4)
    first = vfolder.grants({"to": f"user:{managed}", "permission": "ro"}).json()
    assert [grant["source"] for grant in first["grants"]] == ["local", "manager"]
    second = vfolder.grants({"to": f"user:{managed}", "permission": "rw"}).json()
    assert second["grants"][1]["id"] == first["grants"][1]["id"]
    assert vfolder.grants().json()["grants"][0]["id"] == "own"


def test_a_change_by_the_manager_is_in_the_audit_log(vfolder: VFolder, place: Settings) -> None:
    user = uuid4()
    vfolder.grants({"to": f"user:{user}", "permission": "wd"})
    lines = [
        json.loads(line)
        for path in files(place.state_dir / "audit")
        for line in path.read_text().splitlines()
        if str(vfolder.id.id) in line
    ]
    assert [(line["subject"], line["act"], line["before"], line["after"]) for line in lines] == [
        ("manager", "grants.replace", {}, {f"user:{user}": "rwd"})
    ]


def test_a_change_of_another_revision_is_refused(vfolder: VFolder) -> None:
    etag = vfolder.grants().headers["ETag"]
    assert vfolder.grants(headers={"If-Match": etag}).status_code == 200
    assert vfolder.grants(headers={"If-Match": etag}).status_code == 412


def test_every_process_changes_the_newest_revision(vfolder: VFolder) -> None:
    """The processes of a door cache records; a change never starts from an older one."""
    etag = vfolder.grants().headers["ETag"]
    for _ in range(20):
        vfolder.mount(vfolder.owner)
        answer = vfolder.grants(headers={"If-Match": etag, "Connection": "close"})
        assert answer.status_code == 200
        etag = answer.headers["ETag"]


@pytest.mark.parametrize(
    "grant",
    [
        {"to": "user:x", "permission": "rw"},
        {"to": f"operator:{UUID(int=1)}", "permission": "rw"},
        {"to": f"user:{UUID(int=1)}", "permission": "owner"},
        {"to": f"user:{UUID(int=1)}", "permission": "none"},
        {"to": f"user:{UUID(int=1)}", "permission": "rw", "expires_at": "soon"},
        {"to": f"user:{UUID(int=1)}", "permission": "rw", "expires_at": 5},
        {"to": f"user:{UUID(int=1)}", "permission": "rw", "more": 1},
        {"permission": "rw"},
    ],
)
def test_wrong_grants_are_refused(vfolder: VFolder, grant: dict[str, Any]) -> None:
    assert vfolder.grants(grant).status_code == 400
    assert not vfolder.record.exists()


def test_one_user_has_one_grant_of_the_manager(vfolder: VFolder) -> None:
    user = uuid4()
    both = [{"to": f"user:{text}", "permission": "ro"} for text in (str(user), user.hex)]
    assert vfolder.grants(*both).status_code == 400


def test_a_forged_record_gives_nothing_to_others(vfolder: VFolder) -> None:
    user = uuid4()
    vfolder.write(grants=(Grant(id="g", to=f"user:{user}", permission="rwd"),), revision=1)
    forged = vfolder.record.read_bytes().replace(b'"rwd"', b'"ro"')
    vfolder.record.write_bytes(forged)
    assert vfolder.mount(user).status_code == 404
    assert vfolder.mount(vfolder.owner).json()["permission"] == "owner"


def test_a_forged_record_gives_nothing_to_members(door: RunningDoor, place: Settings) -> None:
    """The true record may say that members have nothing."""
    group = uuid4()
    shared = VFolder(door, place, f"project:{group}")
    shared.write(group_permission="none", revision=1)
    shared.record.write_bytes(shared.record.read_bytes().replace(b'"none"', b'"rwd"'))
    assert shared.check(uuid4(), "entries.read", groups=[str(group)])["allowed"] is False


def test_a_record_of_another_vfolder_is_forged(door: RunningDoor, place: Settings) -> None:
    scope = f"user:{uuid4()}"
    mine, other = VFolder(door, place, scope), VFolder(door, place, scope)
    user = uuid4()
    mine.grants({"to": f"user:{user}", "permission": "rwd"})
    other.record.write_bytes(mine.record.read_bytes())
    assert mine.mount(user).status_code == 200
    assert other.mount(user).status_code == 404


def test_forgotten_records_are_read_again(door: RunningDoor, vfolder: VFolder) -> None:
    user = uuid4()
    assert vfolder.mount(user).status_code == 404
    vfolder.write(grants=(Grant(id="g", to=f"user:{user}", permission="ro"),), revision=1)
    body = {"vfolders": [str(vfolder.id.id)], "users": [str(user)], "groups": []}
    assert door.call("POST", "/v1/access/forget", body).status_code == 204
    assert vfolder.mount(user).status_code == 200
    vfolder.write(revision=2)
    assert door.call("POST", "/v1/access/forget", {"all": True}).status_code == 204
    assert vfolder.mount(user).status_code == 404


def test_a_deletion_by_the_manager_ends_access(
    door: RunningDoor, vfolder: VFolder, place: Settings, valkey: Valkey
) -> None:
    """The delete job raises the counter of the vfolder; a door follows within a second."""
    assert vfolder.mount(vfolder.owner).status_code == 200
    os.rmdir(place.directory / "local" / vfolder.id.directory)
    with Redis.from_url(f"{valkey.url}/0") as client:
        client.incr(f"vfolder:{vfolder.id.id.hex}:version")
    wait_for(lambda: vfolder.mount(vfolder.owner).status_code == 404, 60)


def test_an_older_record_is_forged(vfolder: VFolder) -> None:
    """A file that was copied back after a revocation is no grant."""
    user = uuid4()
    vfolder.grants({"to": f"user:{user}", "permission": "rwd"})
    kept = vfolder.record.read_bytes()
    assert vfolder.grants().json()["revision"] == 2
    vfolder.record.write_bytes(kept)
    vfolder.forget()
    assert vfolder.mount(user).status_code == 404
    assert vfolder.mount(vfolder.owner).json()["permission"] == "owner"
    vfolder.grants({"to": f"user:{user}", "permission": "ro"})
    vfolder.forget()
    assert vfolder.mount(user).json()["permission"] == "ro", "a new change counts"


def test_a_decision_is_explained(door: RunningDoor, place: Settings) -> None:
    group = uuid4()
    shared = VFolder(door, place, f"project:{group}")
    member = uuid4()
    shared.write(
        grants=(
            Grant(id="old", to=f"user:{member}", permission="rwd", expires_at=1.0),
            Grant(id="g", to=f"group:{group}", permission="rw"),
        ),
        revision=1,
    )
    said = shared.check(member, "entries.write", groups=[str(group)], scopes=["files:read"])
    assert (said["allowed"], said["reason"], said["hidden"]) == (False, "credential_scope", False)
    steps = {step["step"]: step for step in said["steps"]}
    assert steps["owner"]["counts"] is False
    assert steps["grant old"] | {"counts": False} == steps["grant old"]
    assert "has ended" in steps["grant old"]["detail"]
    assert (steps["grant g"]["counts"], steps["permission"]["gives"]) == (True, "rw")
    assert (steps["group"]["counts"], steps["group"]["gives"]) == (True, "ro")
    assert "files:write" in steps["credential"]["detail"]
    said = shared.check(member, "entries.write", groups=[str(group)])
    assert (said["allowed"], said["permission"], said["via"]) == (True, "rw", "grant:g")
    assert shared.check(member, "entries.write")["hidden"] is True
    admin = shared.check(member, "vfolders.delete", admin_of=[str(group)])
    assert (admin["allowed"], admin["permission"]) == (True, "owner")


def test_an_id_on_two_scopes_is_told_apart(door: RunningDoor, place: Settings) -> None:
    first = VFolder(door, place)
    twin = f"user:{uuid4()}/{first.id.id.hex}"
    assert door.call("POST", "/folder/create", {"volume": "local", "vfid": twin}).status_code == 204
    answer = first.mount(first.owner)
    assert answer.status_code == 409
    assert answer.json()["choices"]


@pytest.mark.parametrize(
    "query",
    ["", "for=user:x", f"for=group:{UUID(int=1)}", f"for=user:{UUID(int=1)}&want=rwd", "x=1"],
)
def test_wrong_queries_of_a_mount_are_refused(
    door: RunningDoor, vfolder: VFolder, query: str
) -> None:
    assert door.call("GET", f"/v1/vfolders/{vfolder.id.id}/mount?{query}").status_code == 400


@pytest.mark.parametrize("text", ["x", "local:x", f"none:{UUID(int=1)}", str(UUID(int=1)), "a..b"])
def test_what_is_not_there_is_404(door: RunningDoor, text: str) -> None:
    path = f"/v1/vfolders/{text}/mount?for=user:{UUID(int=1)}"
    assert door.call("GET", path).status_code == 404
    assert door.call("PUT", f"/v1/vfolders/{text}/grants", {"grants": []}).status_code == 404


def test_no_file_of_access_is_written_without_the_table(
    manager: RunningDoor, settings: Settings
) -> None:
    vfid = new_vfid()
    body = {"volume": "local", "vfid": vfid}
    assert manager.call("POST", "/folder/create", body).status_code == 204
    assert manager.call("GET", "/folder/mount", {**body, "subpath": "."}).status_code == 200
    top: Path = settings.directory / "local"
    assert not [*top.rglob("*.access"), *top.rglob("*.subject")]
