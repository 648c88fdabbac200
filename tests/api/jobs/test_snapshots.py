"""On a real btrfs: the verb `snapshot`, and what rescans and restores are where it holds limits."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from api.jobs.doorbell import ringer
from backends.fs import descriptors
from backends.systems.btrfs import subvolumes
from core.jobs.store import JobStore
from core.names import VFolderId
from core.redis import Database, connect
from tests.api.jobs.conftest import Site
from tests.support.doors import running_door, settings_in
from tests.support.loops import mounted
from tests.support.node import wait_for
from tests.support.trees import snapshot
from tests.support.valkey import running_valkey
from tests.support.worker import running_worker
from workers.node import Sweep

pytestmark = pytest.mark.part("btrfs")

MORE = """
[volume.local2]
backend = "btrfs"
path = "{top}"
[vfolder.doors]
processes = 1
"""
VOLUME = "local2"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("kept")
    make = ["mkfs.btrfs", "-q", "-m", "single", "-d", "single"]
    with (
        mounted(directory / "btrfs", make, size_bytes=256 << 20) as top,
        running_valkey(directory / "valkey") as valkey,
    ):
        settings = settings_in(directory, valkey.url, MORE.format(top=top))
        with (
            running_door("manager", settings) as door,
            running_worker(settings, VOLUME),
            connect(settings, Database.JOBS) as client,
        ):
            yield Site(settings, door, client)


def folder(site: Site) -> str:
    vfid = f"user:{uuid4()}/{uuid4().hex}"
    made = site.door.call("POST", "/folder/create", {"volume": VOLUME, "vfid": vfid})
    assert made.status_code == 204, made.text
    return vfid


def path(site: Site, vfid: str) -> Path:
    return site.settings.directory / "btrfs/top" / VFolderId.parse(vfid).directory


def act(site: Site, vfid: str, action: str, **more: Any) -> dict[str, Any]:
    body = {"volume": VOLUME, "vfolder": vfid, "action": action, **more}
    return site.ended(site.begun("snapshot", **body))


def names(site: Site, vfid: str) -> list[str]:
    listed = act(site, vfid, "list")
    assert listed["state"] == "succeeded", listed
    return [one["name"] for one in listed["result"]["snapshots"]]


def test_a_snapshot_in_place_of_its_vfolder(kept: Site) -> None:
    vfid = folder(kept)
    top = path(kept, vfid)
    (top / "sub").mkdir()
    (top / "sub/a").write_text("before")
    was = snapshot(top)
    assert act(kept, vfid, "create", name="first")["state"] == "succeeded"
    (top / "sub/a").write_text("after")
    (top / "late").write_text("late")
    later = snapshot(top)
    request = {"volume": VOLUME, "vfolder": vfid, "action": "restore", "name": "first"}
    refused = kept.submit("snapshot", **request)
    assert refused.status_code == 409, "it asks for a word of its own"
    other = f"{vfid.partition('/')[0]}/{uuid4().hex}"
    for wrong in ({"target": other}, {"action": "create"}, {"keep_seconds": 0}):
        answer = kept.submit("snapshot", **{**request, "over": True, **wrong})
        assert answer.status_code == 400, answer.text
    assert snapshot(top) == later
    done = act(kept, vfid, "restore", name="first", over=True)
    assert done["state"] == "succeeded", done
    assert snapshot(top) == was
    assert names(kept, vfid) == ["first"]
    trash = done["result"]["trash"]
    assert (trash["id"], trash["restorable"]) == (done["id"], True)
    # It is taken back: what the restore brought goes, and what was there returns.
    gone = kept.begun("delete-files", volume=VOLUME, vfolder=vfid, paths=["sub"], recursive=True)
    assert kept.ended(gone)["state"] == "succeeded"
    more = {"volume": VOLUME, "vfolder": vfid, "trash": done["id"], "entries": True}
    back = kept.ended(kept.begun("restore", **more))
    assert back["state"] == "succeeded", back
    assert snapshot(top) == later
    again = act(kept, vfid, "restore", name="absent", over=True)
    assert again["state"] == "failed"
    assert snapshot(top) == later
    absent = kept.submit("snapshot", **{**request, "vfolder": other, "over": True})
    assert absent.status_code == 404


def test_kept_brought_back_and_let_go(kept: Site) -> None:
    vfid = folder(kept)
    (path(kept, vfid) / "sub").mkdir()
    (path(kept, vfid) / "sub/a").write_text("before")
    was = snapshot(path(kept, vfid))
    made = act(kept, vfid, "create", name="first")
    assert made["state"] == "succeeded", made
    assert made["result"]["snapshot"]["name"] == "first"
    assert made["result"]["snapshot"]["expires_at"] is None
    assert made["lane"] == "fast"
    twice = act(kept, vfid, "create", name="first")
    assert twice["error"]["title"] == "The snapshot exists"
    (path(kept, vfid) / "sub/a").write_text("after")
    target = f"{vfid.partition('/')[0]}/{uuid4().hex}"
    back = act(kept, vfid, "restore", name="first", target=target)
    assert back["state"] == "succeeded", back
    assert snapshot(path(kept, target)) == was
    assert (path(kept, vfid) / "sub/a").read_text() == "after"
    again = kept.submit(
        "snapshot", volume=VOLUME, vfolder=vfid, action="restore", name="first", target=target
    )
    assert again.status_code == 409
    assert names(kept, vfid) == ["first"]
    assert act(kept, vfid, "delete", name="first")["result"]["existed"] is True
    gone = act(kept, vfid, "delete", name="first")
    assert (gone["state"], gone["result"]["existed"]) == ("partial", False)
    assert gone["result"]["sentence"].startswith("deleted nothing: the snapshot first of ")
    assert names(kept, vfid) == []
    gone = act(kept, vfid, "restore", name="first", target=target[:-4] + "0000")
    assert gone["error"]["title"] == "No such snapshot"


def test_the_sweep_lets_go_in_time(kept: Site) -> None:
    vfid = folder(kept)
    short = act(kept, vfid, "create", name="short", keep_seconds=0.001)
    assert short["result"]["snapshot"]["expires_at"]
    act(kept, vfid, "create", name="long", keep_seconds=3600)
    act(kept, vfid, "create", name="for-ever")
    Sweep(kept.settings, JobStore(kept.redis, ringer(kept.settings)), VOLUME)()
    wait_for(lambda: set(names(kept, vfid)) == {"long", "for-ever"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "create"},
        {"action": "keep", "name": "a"},
        {"action": "create", "name": "../a"},
        {"action": "create", "name": "a", "keep_seconds": 0},
        {"action": "list", "name": "a"},
        {"action": "delete", "name": "a", "target": f"user:{uuid4()}/{uuid4().hex}"},
    ],
)
def test_what_does_not_fit_is_refused(kept: Site, wrong: dict[str, Any]) -> None:
    vfid = f"user:{uuid4()}/{uuid4().hex}"
    refused = kept.submit("snapshot", volume=VOLUME, vfolder=vfid, **wrong)
    assert refused.status_code == 400


def test_a_volume_without_snapshots_says_so(kept: Site) -> None:
    refused = kept.submit("snapshot", vfolder=kept.folder(), action="create", name="a")
    assert refused.status_code == 400
    assert refused.json()["title"] == "Unsupported operation"


def scope(vfid: str) -> dict[str, str]:
    return {"volume": VOLUME, "qsid": vfid.partition("/")[0]}


def test_a_limit_changed_behind_our_back_is_told_and_set_again(kept: Site) -> None:
    vfid = folder(kept)
    options = {"limit_bytes": 32 << 20}
    assert kept.door.call("PATCH", "/quota-scope", {**scope(vfid), "options": options}).ok
    (path(kept, vfid) / "a").write_bytes(b"x" * (4 << 20))
    top = path(kept, vfid).parents[2]
    subprocess.run(["sync", "-f", top], check=True)
    asked = {"volume": VOLUME, "owner": scope(vfid)["qsid"]}
    found = kept.ended(kept.begun("rescan", **asked))["result"]
    assert (found["found"], found["vfolders"], found["size_bytes"]) == ({}, 1, 4 << 20)
    # at the top of the volume: the subvolume's own path would be refused once it is full
    group = f"0/{kept_id(top)}"
    subprocess.run(["btrfs", "qgroup", "limit", "64M", group, top.parent], check=True)
    found = kept.ended(kept.begun("rescan", **asked))["result"]
    assert (found["found"], found["repaired"]) == ({"limit-changed": 1}, {})
    found = kept.ended(kept.begun("rescan", repair=True, **asked))["result"]
    assert found["repaired"] == {"limit-changed": 1}
    assert kept.door.call("GET", "/quota-scope", scope(vfid)).json()["limit_bytes"] == 32 << 20


def kept_id(top: Path) -> int:
    with descriptors.opened(str(top)) as directory:
        return subvolumes.id_of(directory)


def test_a_restore_into_a_scope_over_its_limit_is_refused(kept: Site) -> None:
    vfid = folder(kept)
    (path(kept, vfid) / "a").write_bytes(b"x" * (4 << 20))
    job = kept.begun("delete", volume=VOLUME, vfolder=vfid, keep_seconds=600)
    assert kept.ended(job)["state"] == "succeeded"
    subprocess.run(["sync", "-f", kept.settings.directory / "btrfs/top"], check=True)
    options = {"limit_bytes": 1 << 20}
    assert kept.door.call("PATCH", "/quota-scope", {**scope(vfid), "options": options}).ok
    refused = kept.ended(kept.begun("restore", volume=VOLUME, vfolder=vfid))
    assert refused["error"]["title"] == "Quota exceeded"
    assert kept.door.call("DELETE", "/quota-scope/quota", scope(vfid)).ok
    back = kept.ended(kept.begun("restore", volume=VOLUME, vfolder=vfid))
    assert back["state"] == "succeeded", back
    assert (path(kept, vfid) / "a").stat().st_size == 4 << 20
