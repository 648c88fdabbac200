"""Snapshots of people on a real btrfs: who may what, and a restore to a new vfolder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.names import VFolderId
from tests.api.people.conftest import MORE, People, Person, running_people
from tests.support.loops import mounted
from tests.support.node import wait_for

pytestmark = pytest.mark.part("btrfs")

VOLUME = "kept"
ON_BTRFS = """
[volume.kept]
backend = "btrfs"
path = "{top}"
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    make = ["mkfs.btrfs", "-q", "-m", "single", "-d", "single"]
    with mounted(tmp_path_factory.mktemp("btrfs"), make, size_bytes=256 << 20) as top:
        more = MORE + ON_BTRFS.format(top=top)
        with running_people(tmp_path_factory.mktemp("kept"), more, VOLUME) as found:
            yield found


def done(people: People, person: Person, method: str, path: str, body: object = None) -> str:
    """The state in which a job of a request ended."""
    answer = people.call(person, method, path, body)
    assert answer.status_code == 202, answer.text
    return str(people.ended(person, answer.json()["id"])["state"])


def test_from_a_snapshot_to_a_new_vfolder(kept: People) -> None:
    owner, guest = kept.person(), kept.person()
    made = kept.call(owner, "POST", "/v1/vfolders", {"name": "first", "volume": VOLUME}).json()
    base = f"/v1/vfolders/{made['id']}"
    to_guest = {"to": guest.word, "permission": "ro"}
    grant = kept.call(owner, "POST", f"{base}/grants", to_guest).json()["id"]
    wait_for(lambda: kept.call(guest, "GET", base).status_code == 200)
    assert kept.call(owner, "POST", f"{base}/directories", {"paths": ["old"]}).status_code == 201
    assert kept.call(guest, "POST", f"{base}/snapshots", {"name": "s"}).status_code == 403
    assert kept.call(owner, "POST", f"{base}/snapshots", {"name": "a/b"}).status_code == 400
    assert done(kept, owner, "POST", f"{base}/snapshots", {"name": "s"}) == "succeeded"
    seen = kept.call(guest, "GET", f"{base}/snapshots")
    assert [one["name"] for one in seen.json()["snapshots"]] == ["s"], seen.text
    assert kept.call(owner, "POST", f"{base}/directories", {"paths": ["new"]}).status_code == 201
    own_id = VFolderId.parse(f"{owner.word}/{made['id']}")
    (Path(kept.settings.volume[VOLUME].path) / own_id.directory / "late").write_text("x")
    then, now = f"{base}/snapshots/s", base
    for path, names in ((then, ["old"]), (now, ["late", "new", "old"])):
        rows = kept.call(guest, "GET", f"{path}/entries").json()["entries"]
        assert [row["name"] for row in rows] == names
    assert kept.call(guest, "GET", f"{now}/content?path=late").content == b"x"
    assert kept.call(guest, "GET", f"{then}/content?path=late").status_code == 404
    assert kept.call(guest, "GET", f"{then}/content?path=&format=tar").status_code == 200
    for wrong, status in (("x/entries", 404), ("..%2Fs/entries", 404), ("s/entries?path=..", 400)):
        answer = kept.call(guest, "GET", f"{base}/snapshots/{wrong}")
        assert answer.status_code == status, answer.text
    stranger = kept.person()
    assert kept.call(stranger, "GET", f"{then}/entries").status_code == 404
    wanted = {"name": "as it was"}
    back = kept.call(guest, "POST", f"{base}/snapshots/s/restore", wanted)
    assert back.status_code == 202, back.text
    job = kept.ended(guest, back.json()["id"])
    assert job["state"] == "succeeded", job
    target = VFolderId.parse(job["request"]["target"])
    own = f"/v1/vfolders/{target.id}"
    # A change is seen within a second.
    wait_for(lambda: kept.call(guest, "GET", own).json()["name"] == "as it was")
    rows = kept.call(guest, "GET", f"{own}/entries").json()["entries"]
    assert [row["name"] for row in rows] == ["old"]
    assert kept.call(guest, "DELETE", f"{base}/snapshots/s").status_code == 403
    assert kept.call(owner, "PATCH", f"{base}/grants/{grant}", {"permission": "rwd"}).ok
    wait_for(lambda: kept.call(guest, "GET", base).json()["permission"] == "rwd")
    assert kept.call(guest, "DELETE", f"{base}/snapshots/s").status_code == 403
    assert done(kept, owner, "DELETE", f"{base}/snapshots/s") == "succeeded"
    assert kept.call(owner, "GET", f"{base}/snapshots").json()["snapshots"] == []


def test_a_snapshot_over_the_vfolder_is_for_its_owner(kept: People) -> None:
    owner, guest = kept.person(), kept.person()
    made = kept.call(owner, "POST", "/v1/vfolders", {"name": "again", "volume": VOLUME}).json()
    base = f"/v1/vfolders/{made['id']}"
    to_guest = {"to": guest.word, "permission": "rwd"}
    assert kept.call(owner, "POST", f"{base}/grants", to_guest).ok
    assert kept.call(owner, "POST", f"{base}/directories", {"paths": ["old"]}).status_code == 201
    assert done(kept, owner, "POST", f"{base}/snapshots", {"name": "s"}) == "succeeded"
    assert kept.call(owner, "PATCH", f"{base}/entry?path=old", {"to": "new"}).status_code == 204
    wait_for(lambda: kept.call(guest, "GET", base).status_code == 200)
    path, over = f"{base}/snapshots/s/restore", {"over": True}
    assert kept.call(guest, "POST", path, over).status_code == 403
    assert kept.call(kept.person(), "POST", path, over).status_code == 404
    for wrong in ({"name": "x"}, {"owner": owner.word}, {"keep_seconds": 0}, {"over": 1}):
        assert kept.call(owner, "POST", path, {**over, **wrong}).status_code == 400, wrong
    assert kept.call(owner, "POST", path, {"keep_seconds": 5}).status_code == 400
    assert done(kept, owner, "POST", path, {**over, "keep_seconds": 3600}) == "succeeded"
    rows = kept.call(guest, "GET", f"{base}/entries").json()["entries"]
    assert [row["name"] for row in rows] == ["old"], "its grants stay"
    (kept_there,) = kept.call(owner, "GET", f"{base}/trash").json()["trash"]
    assert kept_there["paths"] == ["new"]
    assert done(kept, guest, "POST", f"{base}/trash/{kept_there['id']}/restore") == "succeeded"
    rows = kept.call(guest, "GET", f"{base}/entries").json()["entries"]
    assert [row["name"] for row in rows] == ["new", "old"]
