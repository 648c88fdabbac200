"""Deleted vfolders: kept as asked, brought back whole, purged when their time is over."""

import os
from typing import Any
from uuid import uuid4

import pytest

from api.jobs.doorbell import ringer
from backends.fs import layout
from core.jobs.store import JobStore
from core.names import VFolderId
from tests.api.jobs.conftest import Site
from tests.support.node import wait_for
from tests.support.trees import snapshot
from workers.node import Sweep

KEEP_SECONDS = 3600


def scope_of(vfid: str) -> str:
    return vfid.partition("/")[0]


def listed(site: Site, vfid: str) -> dict[str, Any]:
    path = f"/v1/volumes/local/scopes/{scope_of(vfid)}/trash"
    found: dict[str, Any] = site.door.call("GET", path).json()
    return found


def room(site: Site, vfid: str) -> set[str]:
    """What lies in the trash, seen from below."""
    scope = VFolderId.parse(vfid).scope
    assert scope
    path = site.settings.directory / "local" / layout.area(scope, layout.TRASH)
    try:
        return set(os.listdir(path))
    except FileNotFoundError:
        return set()


def deleted(site: Site, vfid: str, **more: Any) -> str:
    job = site.begun("delete", vfolder=vfid, keep_seconds=KEEP_SECONDS, **more)
    assert site.ended(job)["state"] == "succeeded"
    return job


def sweep(site: Site) -> str:
    return Sweep(site.settings, JobStore(site.redis, ringer(site.settings)), "local")()


def test_a_deleted_vfolder_is_kept_counted_and_brought_back(site: Site) -> None:
    vfid = site.folder(a="alpha", b="beta!")
    before = snapshot(site.path(vfid))
    job = deleted(site, vfid)
    assert not site.path(vfid).exists()
    found = listed(site, vfid)
    assert (found["size_bytes"], found["entries"]) == (10, 2)
    assert found["trash"][0]["id"] == job
    assert found["trash"][0]["vfolder"] == vfid
    assert found["trash"][0]["restorable"] is True
    ended = site.ended(site.begun("restore", vfolder=vfid))
    assert ended["state"] == "succeeded"
    assert ended["progress"]["text"].startswith(f"restored {vfid}, 10 B in ")
    assert ended["result"]["trash"] == job
    assert snapshot(site.path(vfid)) == before
    assert listed(site, vfid)["trash"] == []
    assert room(site, vfid) == set()


def test_without_a_wish_bytes_go_at_once(site: Site) -> None:
    vfid = site.folder(a="alpha")
    assert site.ended(site.begun("delete", vfolder=vfid))["state"] == "succeeded"
    assert room(site, vfid) == set()
    refused = site.submit("restore", vfolder=vfid)
    assert refused.status_code == 404
    assert refused.json()["title"] == "Not in the trash"


def test_each_deletion_of_an_id_can_be_named(site: Site) -> None:
    vfid = site.folder(a="first")
    first = deleted(site, vfid)
    site.path(vfid).mkdir(parents=True)
    (site.path(vfid) / "a").write_text("second")
    assert site.submit("restore", vfolder=vfid).status_code == 409
    second = deleted(site, vfid)
    assert [note["id"] for note in listed(site, vfid)["trash"]] == [second, first]
    assert site.ended(site.begun("restore", vfolder=vfid, trash=first))["state"] == "succeeded"
    assert (site.path(vfid) / "a").read_text() == "first"
    assert site.submit("restore", vfolder=vfid).status_code == 409
    plan = site.submit("restore", vfolder=vfid, plan=True).json()
    assert plan["would_start"] is False


@pytest.mark.parametrize("trash", ["../x", "{00000000-0000-0000-0000-000000000000}", "x" * 36, 7])
def test_an_id_is_an_id(site: Site, trash: object) -> None:
    vfid = site.folder()
    assert site.submit("restore", vfolder=vfid, trash=trash).status_code == 400
    assert site.submit("purge", vfolder=vfid, trash=trash).status_code == 400


@pytest.mark.parametrize("seconds", [-1, 1e12, "soon", True])
def test_a_time_is_a_time(site: Site, seconds: object) -> None:
    vfid = site.folder(a="1")
    assert site.submit("delete", vfolder=vfid, keep_seconds=seconds).status_code == 400
    assert site.path(vfid).exists()


def test_the_trash_of_an_unknown_scope_is_not_found(site: Site) -> None:
    path = f"/v1/volumes/local/scopes/user:{uuid4()}/trash"
    assert site.door.call("GET", path).status_code == 404
    assert site.door.call("GET", "/v1/volumes/local/scopes/noscope/trash").status_code == 400
    assert site.door.call("GET", path.replace("local", "other")).status_code == 400


def test_a_purge_takes_what_is_named_and_nothing_else(site: Site) -> None:
    vfid, other = site.folder(a="alpha"), site.folder(b="beta")
    job = deleted(site, vfid)
    stranger = site.ended(site.begun("purge", vfolder=other, trash=job))
    assert stranger["state"] == "partial"  # it lies in another scope: nothing was there
    twin = f"{scope_of(vfid)}/{uuid4().hex}"
    refused = site.ended(site.begun("purge", vfolder=twin, trash=job))
    assert refused["state"] == "failed"
    assert room(site, vfid) == {job, f"{job}.note"}
    ended = site.ended(site.begun("purge", vfolder=vfid, trash=job))
    assert ended["state"] == "succeeded"
    assert ended["result"]["existed"] is True
    assert room(site, vfid) == set()
    assert site.submit("restore", vfolder=vfid).status_code == 404
    again = site.ended(site.begun("purge", vfolder=vfid, trash=job))
    assert (again["state"], again["result"]["existed"]) == ("partial", False)


def test_the_sweep_purges_what_expired_and_leaves_the_rest(site: Site) -> None:
    over, kept = site.folder(a="alpha"), site.folder(b="beta")
    assert site.ended(site.begun("delete", vfolder=over, keep_seconds=0.001))["done"]
    job = deleted(site, kept)
    assert room(site, over)
    sweep(site)
    wait_for(lambda: not room(site, over))
    assert room(site, kept) == {job, f"{job}.note"}
    purges = site.door.call("GET", f"/v1/jobs?verb=purge&scope={scope_of(over)}").json()["jobs"]
    assert [purge["requester"] for purge in purges] == ["sweep"]
    assert site.ended(purges[0]["id"])["state"] == "succeeded"


def test_what_is_known_of_access_goes_with_the_vfolder(site: Site) -> None:
    vfid = site.folder(a="alpha")
    top = site.settings.directory / "local"
    record = top / layout.record(VFolderId.parse(vfid))
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_bytes(b"sealed")
    job = deleted(site, vfid)
    kept = top / layout.trashed_record(VFolderId.parse(vfid).scope, job)
    assert (record.exists(), kept.read_bytes()) == (False, b"sealed")
    sweep(site)
    assert kept.exists(), "its tree is there"
    assert site.ended(site.begun("restore", vfolder=vfid))["state"] == "succeeded"
    assert (record.read_bytes(), room(site, vfid)) == (b"sealed", set())
    job = deleted(site, vfid)
    assert site.ended(site.begun("purge", vfolder=vfid, trash=job))["state"] == "succeeded"
    assert room(site, vfid) == set()
    assert not record.exists()


def test_a_vfolder_that_is_removed_at_once_leaves_no_record(site: Site) -> None:
    vfid = site.folder(a="alpha")
    record = site.settings.directory / "local" / layout.record(VFolderId.parse(vfid))
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_bytes(b"sealed")
    assert site.ended(site.begun("delete", vfolder=vfid))["state"] == "succeeded"
    assert (record.exists(), room(site, vfid)) == (False, set())


def test_a_clone_begins_without_the_grants_of_its_source(site: Site) -> None:
    source = site.folder(a="alpha")
    target = f"{scope_of(source)}/{uuid4().hex}"
    top = site.settings.directory / "local"
    record = top / layout.record(VFolderId.parse(source))
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_bytes(b"sealed")
    former = top / layout.record(VFolderId.parse(target))
    former.write_bytes(b"of a vfolder that another tool removed")
    ended = site.ended(site.begun("clone", source=source, target=target))
    assert ended["state"] == "succeeded"
    assert site.path(target).exists()
    assert not former.exists()
    assert record.read_bytes() == b"sealed"


def test_a_running_purge_follows_the_rate_of_the_volume(site: Site) -> None:
    """At one entry per second the purge would take an hour."""
    entries, path = 3600, "/v1/volumes/local/purge-rate"
    vfid = site.folder(**{f"f{number}": "" for number in range(entries)})
    trash = deleted(site, vfid)

    def set_rate(rate: int | None) -> None:
        assert site.door.call("PUT", path, {"entries_per_second": rate}).status_code == 204

    def running() -> dict[str, Any]:
        found: dict[str, Any] = site.door.call("GET", path).json()
        return found

    def left() -> int:
        return len(os.listdir(tree)) if tree.exists() else 0

    scope = VFolderId.parse(vfid).scope
    assert scope
    tree = site.settings.directory / "local" / layout.area(scope, layout.TRASH) / trash
    none = {"purges": 0, "observed_entries_per_second": None, "as_of": None}
    assert running() == none | {"entries_per_second": None, "each_entries_per_second": None}
    set_rate(1)
    try:
        job = site.begun("purge", vfolder=vfid, trash=trash)
        # What it says of itself comes with a heartbeat, which also asks for the rate.
        found = wait_for(lambda: running() if running()["as_of"] else {}, 60)
        assert (found["entries_per_second"], found["purges"]) == (1, 1)
        assert 0 < found["observed_entries_per_second"] < entries
        assert 0 < left() < entries
        set_rate(1_000_000)
        ended = site.ended(job)
    finally:
        set_rate(None)
    assert ended["state"] == "succeeded"
    assert left() == 0
    assert running()["purges"] == 0
    assert site.door.call("GET", "/v1/volumes/none/purge-rate").status_code == 400


@pytest.mark.parametrize("rate", [0, -1, 1.5, "7", True, 1_000_000_001, 10**400])
def test_a_wrong_rate_changes_nothing(site: Site, rate: object) -> None:
    path = "/v1/volumes/local/purge-rate"
    assert site.door.call("PUT", path, {"entries_per_second": rate}).status_code == 400
    assert site.door.call("GET", path).json()["entries_per_second"] is None
    assert site.door.call("PUT", path, {}).status_code == 400
