"""Rescans: what is there against what is believed, what is odd, and what is put right."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.jobs.doorbell import ringer
from backends.quota import requested_limits
from backends.quota.quick_usage import ENTRIES_MAX
from core.jobs.store import JobStore
from core.names import QuotaScope, ScopeKind, VFolderId
from core.quota import QuotaLedger, scopes_at_thresholds
from core.quota.thresholds import EVENT
from core.redis import Database, connect
from tests.api.jobs.conftest import Site
from tests.api.jobs.test_soft_quota import limited, quota, scope_of, used
from tests.support.broadcasts import subscribed
from workers.node import Sweep

KIB = 1024


def rescan(site: Site, **more: Any) -> dict[str, Any]:
    return site.ended(site.begun("rescan", **more))


def lines(site: Site, job: dict[str, Any]) -> list[dict[str, Any]]:
    text = site.door.call("GET", job["links"]["report"]).text
    return [json.loads(line) for line in text.splitlines()]


def directory(vfid: str) -> str:
    scope = VFolderId.parse(vfid).scope
    assert scope
    return scope.directory


def test_what_agents_wrote_is_found_and_the_ledger_corrected(site: Site) -> None:
    vfid = limited(site, 100 * KIB)
    (site.path(vfid) / "by an agent").write_bytes(b"x" * 60 * KIB)
    assert used(site, vfid) == 0
    done = rescan(site, owner=scope_of(vfid))
    assert done["state"] == "succeeded"
    found = done["result"]
    assert (found["scopes"], found["vfolders"], found["entries"]) == (1, 1, 1)
    assert found["size_bytes"] == 60 * KIB
    assert found["drift"][0]["drift_bytes"] == -60 * KIB
    assert used(site, vfid) == 60 * KIB
    reported = lines(site, done)
    assert reported[0]["path"] == directory(vfid)
    assert reported[0]["reason"].startswith("drift: ")
    again = rescan(site, owner=scope_of(vfid))
    assert again["result"]["drifted"] == 0
    assert again["progress"]["errors"] == 0


def test_oddities_are_named_and_put_right_only_when_asked(site: Site) -> None:
    vfid = site.folder(a="1")
    top = site.settings.directory / "local" / directory(vfid)
    (top / "stranger").mkdir()
    prefix = next(name for name in ("ab", "ba") if not (top / name).exists())
    (top / prefix / "cd").mkdir(parents=True)
    (top / ".vfolder/staging/unknown").mkdir(parents=True)
    (top / ".vfolder/meta").mkdir()
    (top / ".vfolder/meta" / uuid4().hex).write_text("{}")
    wanted = {"unknown": 1, "empty-prefix": 1, "left-over": 1, "metadata-of-nobody": 1}
    done = rescan(site, owner=scope_of(vfid))
    assert done["result"]["found"] == wanted
    assert done["result"]["repaired"] == {}
    assert (top / prefix / "cd").exists()
    named = {line["path"].partition("/")[2] for line in lines(site, done) if "path" in line}
    assert {"stranger", f"{prefix}/cd", ".vfolder/staging/unknown"} <= named
    done = rescan(site, owner=scope_of(vfid), repair=True, kinds=["empty-prefix"])
    assert done["result"]["found"] == wanted
    assert done["result"]["repaired"] == {"empty-prefix": 1}
    assert len(list((top / ".vfolder/meta").iterdir())) == 1
    done = rescan(site, owner=scope_of(vfid), repair=True)
    assert done["result"]["repaired"] == {"metadata-of-nobody": 1}
    assert not list((top / ".vfolder/meta").iterdir())
    assert not (top / prefix).exists()
    assert (top / "stranger").exists(), "an unknown directory is not removed"
    assert (site.path(vfid) / "a").read_text() == "1"


def test_all_scopes_and_what_is_left_of_those_that_are_no_more(site: Site) -> None:
    gone = QuotaScope(ScopeKind.USER, uuid4())
    local = site.settings.directory / "local"
    with site_root(site) as root:
        requested_limits.keep(root, gone, requested_limits.RequestedLimit(1))
    QuotaLedger(site.redis, "local").record_count(gone.directory, 1, 0)
    (local / "what is this").write_text("?")
    vfid = site.folder(a="12345")
    done = rescan(site, repair=True)
    found = done["result"]
    assert found["scopes"] >= 1
    assert found["size_bytes"] >= 5
    for odd in ("limit-of-nobody", "figure-of-nobody"):
        assert found["found"][odd] == found["repaired"][odd] == 1
    assert found["found"]["unknown"] >= 1
    assert (local / "what is this").exists()
    with site_root(site) as root:
        assert requested_limits.find(root, gone) is None
    assert QuotaLedger(site.redis, "local").read(gone.directory).settled_bytes is None
    assert site.path(vfid).exists()
    (local / "what is this").unlink()


def site_root(site: Site) -> Any:
    from backends.base import Mount  # noqa: PLC0415 - only here
    from backends.mounted import PosixBackend  # noqa: PLC0415 - only here

    return PosixBackend(Mount("local", site.settings.directory / "local")).root()


def test_what_cannot_be_read_corrects_nothing(site: Site) -> None:
    vfid = limited(site, 100 * KIB)
    scope = directory(vfid)
    unreadable = site.settings.directory / "local" / scope / "ff"
    unreadable.symlink_to("nowhere")
    done = rescan(site, owner=scope_of(vfid))
    assert done["result"]["found"] == {"unknown": 1}
    unreadable.unlink()


@pytest.mark.parametrize("owner", ["noscope", "user:1", 7, "user:../.."])
def test_an_owner_is_a_scope(site: Site, owner: object) -> None:
    assert site.submit("rescan", owner=owner).status_code == 400


def test_thresholds_are_told_once(site: Site) -> None:
    vfid = limited(site, 100 * KIB)
    name = directory(vfid)
    others = scopes_at_thresholds(site.redis, "local")[95]  # scopes that other tests filled
    with (
        connect(site.settings, Database.EVENTS) as client,
        subscribed(client, "events_all") as channel,
    ):
        heard: list[dict[str, Any]] = []

        def published() -> list[int]:
            while message := channel.get_message(timeout=0.2):
                event = json.loads(message["data"])
                heard.extend([json.loads(event["payload"])] if event["name"] == EVENT else [])
            return [fact["percent"] for fact in heard if fact["scope"] == name]

        for size, wanted in ((79, []), (85, [80]), (85, [80]), (96, [80, 95])):
            (site.path(vfid) / "grows").write_bytes(b"x" * size * KIB)
            assert rescan(site, owner=scope_of(vfid))["state"] == "succeeded"
            assert published() == wanted, size
        assert scopes_at_thresholds(site.redis, "local")[95] == others + 1
        (site.path(vfid) / "grows").write_bytes(b"")
        rescan(site, owner=scope_of(vfid))
        assert scopes_at_thresholds(site.redis, "local")[95] == others
        (site.path(vfid) / "grows").write_bytes(b"x" * 91 * KIB)
        rescan(site, owner=scope_of(vfid))
        assert published() == [80, 95, 90]
    site.ended(site.begun("delete", vfolder=vfid))


def test_rescans_come_by_themselves(site: Site) -> None:
    store = JobStore(site.redis, ringer(site.settings))
    sweep = Sweep(site.settings, store, "local")
    site.redis.delete("vf:rescan-due:local")
    sweep()
    due = float(site.redis.get("vf:rescan-due:local") or 0)
    assert due > 0
    site.redis.set("vf:rescan-due:local", 1.0)
    sweep()
    jobs = site.door.call("GET", "/v1/jobs?verb=rescan&requester=sweep").json()["jobs"]
    assert len(jobs) == 1
    assert site.ended(jobs[0]["id"])["done"]
    assert float(site.redis.get("vf:rescan-due:local") or 0) > due - 86_400
    assert json.loads(site.redis.get("vf:rescan:local") or "{}")["as_of"]


def test_a_store_that_forgot_is_told_again(site: Site) -> None:
    vfid = limited(site, 100 * KIB)
    (site.path(vfid) / "a").write_bytes(b"x" * KIB)
    QuotaLedger(site.redis, "local").forget(directory(vfid))
    assert quota(site, vfid)["used_bytes"] is None
    assert rescan(site, owner=scope_of(vfid))["state"] == "succeeded"
    assert used(site, vfid) == KIB
    assert UUID(directory(vfid))


def test_a_limit_on_a_big_scope_asks_for_a_count(site: Site) -> None:
    vfid = site.folder(a="12345")
    top = site.path(vfid)
    for number in range(ENTRIES_MAX + 1000):  # the clock and the count are looked at now and then
        (top / f"{number}").touch()
    body = {"volume": "local", "qsid": scope_of(vfid), "options": {"limit_bytes": KIB}}
    assert site.door.call("PATCH", "/quota-scope", body).status_code == 204
    jobs = site.door.call("GET", f"/v1/jobs?verb=rescan&scope={scope_of(vfid)}").json()["jobs"]
    assert len(jobs) == 1
    assert site.ended(jobs[0]["id"])["state"] == "succeeded"
    assert used(site, vfid) == 5
    site.ended(site.begun("delete", vfolder=vfid))
