"""Transfers to a bucket that remove what the source has not, or want a source that stays."""

import os
from pathlib import Path
from typing import Any

import pytest

from core.names import VFolderId
from tests.stack.s3_site import (
    VOLUME,
    Site,
    beside,
    directories,
    keys_of,
    mounted,
    scope_bytes,
    site,
)
from tests.support.node import wait_for
from tests.support.object_storage import Fault

__all__ = ["site"]
pytestmark = pytest.mark.part("seaweedfs")

#: A request that removes many objects.
BATCH = ("POST", "[?&]delete")


@pytest.fixture(autouse=True)
def no_faults(site: Site) -> None:
    site.proxy.faults = []


def put(site: Site, vfolder: str, **files: bytes) -> None:
    """Write objects of a vfolder, as another program does; `__` is a slash."""
    for name, data in files.items():
        site.bucket.put(f"volume/{site.prefix_of(vfolder)}{name.replace('__', '/')}", data)


def keys(site: Site, vfolder: str) -> list[str]:
    """The keys of the files of a vfolder."""
    prefix = f"volume/{site.prefix_of(vfolder)}"
    found = (one.key[len(prefix) :] for one in site.bucket.walk(prefix))
    return sorted(key for key in found if key and not key.endswith("/"))


def source(site: Site) -> tuple[str, Path]:
    """A vfolder of files: one in a directory, and an empty directory."""
    vfolder = site.vfolder("local")
    top = mounted(site, vfolder)
    (top / "d").mkdir(mode=0o750)
    (top / "empty").mkdir()
    (top / "d/f").write_bytes(b"new bytes")
    return vfolder, top


def mirror(vfolder: str, target: str, **more: Any) -> dict[str, Any]:
    body = {"verb": "transfer", "volume": "local", "source": vfolder, "target": target}
    body |= {"target_volume": VOLUME, "target_path": "m", "on_conflict": "replace"}
    return {**body, "delete_extra": True, **more}


@pytest.mark.parametrize("kind", ["files", "objects"])
def test_what_the_source_has_not_is_removed_below_the_path_alone(site: Site, kind: str) -> None:
    vfolder, top = source(site)
    target, other, back = site.vfolder(), site.vfolder(), beside(vfolder)
    more: dict[str, Any] = {}
    if kind == "objects":
        sent = site.job(**mirror(vfolder, target, target_path="from", delete_extra=False))
        assert sent["state"] == "succeeded", sent
        more = {"volume": VOLUME, "source": target, "source_path": "from"}
    put(site, target, m__d__f=b"old", m__d__only=b"1234", m__gone__a__b=b"12", m__empty__x=b"1")
    put(site, target, m__a=b"", m2=b"stays", m2__x=b"stays", n__only=b"stays")
    put(site, other, m__only=b"stays")
    site.call("PATCH", "/quota-scope", qsid=target.partition("/")[0], options={"limit_bytes": 9999})
    before = scope_bytes(site, target)
    outside = [key for key in keys(site, target) if not key.startswith("m/")]

    ended = site.job(**mirror(vfolder, target, **more))
    assert ended["state"] == "succeeded", ended
    result = ended["result"]
    assert (result["files"], result["extra"], result["extra_removed"]) == (1, 4, 4), result
    assert not result["delete_extra_refused"]
    assert "4 extra were removed" in result["sentence"]
    assert keys(site, target) == sorted(["m/d/f", *outside])
    assert [name for name, *_ in site.names(target, "m")] == ["d", "empty"]
    assert site.names(target, "m/empty") == []
    assert keys(site, other) == ["m/only"]
    assert scope_bytes(site, target) - before == len("new bytes") - len("old1234121")

    again = site.job(**mirror(vfolder, target, **more))
    assert (again["state"], again["result"]["extra_removed"]) == ("succeeded", 0), again
    got = {"verb": "transfer", "source": target, "source_path": "m", "target": back}
    assert site.job(**got, target_volume="local")["state"] == "succeeded"
    assert directories(mounted(site, back)) == directories(top)


def test_what_rules_exclude_is_not_extra(site: Site) -> None:
    vfolder, _ = source(site)
    target = site.vfolder()
    put(site, target, m__gone__x=b"1", m__gone__log=b"1", m__keep__x=b"1", m__big=b"x" * 100)
    rules = {"filters": ["- log", "- /keep/"], "max_bytes": 50}
    ended = site.job(**mirror(vfolder, target, **rules))
    assert ended["state"] == "succeeded", ended
    assert keys(site, target) == ["m/big", "m/d/f", "m/gone/log", "m/keep/x"]


def test_a_new_target_has_nothing_to_remove_and_a_kept_file_stays(site: Site) -> None:
    vfolder, _ = source(site)
    target, new = site.vfolder(), beside(vfolder)
    made = site.job(**mirror(vfolder, new, target_path=""))
    assert (made["state"], made["result"]["files"]) == ("succeeded", 1), made
    put(site, target, m__d__f=b"old", m__empty__x=b"1", m__d__only=b"1")
    kept = site.job(**mirror(vfolder, target, on_conflict="skip"))
    assert kept["result"]["extra_removed"] == 2, kept
    assert kept["result"]["kept"] == 1
    assert keys(site, target) == ["m/d/f"]
    assert site.names(target, "m/empty") == []  # it is there


def test_a_mirror_replaces_entries_of_another_kind(site: Site) -> None:
    vfolder, top = source(site)
    target = site.vfolder()
    (top / "file").write_bytes(b"a file")
    (top / "link").symlink_to("file")
    for number in range(20):
        (top / f"d/{number}").write_bytes(b"1")
    put(site, target, m__d=b"a file", m__file__a__b=b"1", m__file__c=b"1", m__link__x=b"1")
    put(site, target, m__empty=b"a file")
    refused = site.job(**mirror(vfolder, target, delete_extra=False))
    assert refused["state"] == "failed", refused
    site.call("PATCH", "/quota-scope", qsid=target.partition("/")[0], options={"limit_bytes": 9999})
    ended = site.job(**mirror(vfolder, target))
    assert ended["state"] == "succeeded", ended
    names = [name for name, *_ in site.names(target, "m")]
    assert names == ["d", "empty", "file", "link"]
    assert site.names(target, "m/empty") == []
    wanted = ["m/d/f", *(f"m/d/{number}" for number in range(20)), "m/file", "m/link"]
    assert keys(site, target) == sorted(wanted)
    assert scope_bytes(site, target) == len("new bytes") + 20 + len("a file") + len("file")


def test_nothing_is_removed_when_a_part_of_the_source_was_not_copied(site: Site) -> None:
    vfolder, top = source(site)
    target = site.vfolder()
    os.mkfifo(top / "fifo")
    put(site, target, m__only=b"1")
    ended = site.job(**mirror(vfolder, target, on_error="skip"))
    assert ended["state"] == "partial", ended
    assert (ended["result"]["extra"], ended["result"]["extra_removed"]) == (1, 0), ended
    assert ended["result"]["delete_extra_refused"]
    assert keys(site, target) == ["m/d/f", "m/only"]


def test_a_mirror_that_is_killed_leaves_what_came_meanwhile(site: Site) -> None:
    """Before anything is removed its worker dies, and again when the storage is asked to."""
    vfolder, _ = source(site)
    target = site.vfolder()
    put(site, target, m__a__old=b"1", m__b__replaced=b"1", m__only=b"1")
    sending = Fault("PUT", f"{keys_of(target)}m/d/f$", 10**9, status=503, code="SlowDown")
    removing = Fault(*BATCH, 10**9, status=503, code="SlowDown")
    site.proxy.faults = [sending, removing]
    job = site.doors.call("POST", "/v1/jobs", **mirror(vfolder, target))["id"]
    wait_for(lambda: sending.hits, 60)
    put(site, target, m__a__late=b"1", m__b__replaced=b"another")
    site.kill_worker()
    site.proxy.faults = [removing]
    wait_for(lambda: removing.hits, 60)
    site.kill_worker()
    assert len(keys(site, target)) == 5
    site.proxy.faults = []
    ended = site.end(job)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 3), ended
    assert (ended["result"]["extra"], ended["result"]["extra_removed"]) == (3, 2)
    assert keys(site, target) == ["m/a/late", "m/b/replaced", "m/d/f"]


def test_a_removal_whose_answer_is_lost_is_complete(site: Site) -> None:
    vfolder, _ = source(site)
    target = site.vfolder()
    put(site, target, m__gone__x=b"1", m__only=b"1")
    lost = Fault(*BATCH, 2, after_effect=True)
    site.proxy.faults = [lost]
    ended = site.job(**mirror(vfolder, target))
    assert lost.hits
    assert ended["state"] == "succeeded", ended
    assert keys(site, target) == ["m/d/f"]
    assert [name for name, *_ in site.names(target, "m")] == ["d", "empty"]


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_strict_transfer_wants_a_source_that_does_not_change(site: Site, on_error: str) -> None:
    """A change before the file is sent is one, too: it came after the job began."""
    vfolder, top = source(site)
    strict = {"on_conflict": "fail", "target_path": "", "strict": True, "on_error": on_error}
    calm = site.job(**mirror(vfolder, beside(vfolder), **strict))
    assert calm["state"] == "succeeded", calm
    target = beside(vfolder)
    busy = Fault("PUT", f"{keys_of(target)}d/f$", 10**9, status=503, code="SlowDown")
    site.proxy.faults = [busy]
    job = site.doors.call("POST", "/v1/jobs", **mirror(vfolder, target, **strict))["id"]
    wait_for(lambda: busy.hits, 60)
    (top / "late").write_bytes(b"1")
    site.proxy.faults = []
    ended = site.end(job)
    if on_error == "skip":
        assert ended["state"] == "partial", ended
        assert keys(site, target) == ["d/f"]
        return
    assert ended["state"] == "failed", ended
    assert "changed while the job ran" in ended["error"]["detail"]
    assert not list(site.bucket.walk(f"volume/{VFolderId.parse(target).directory}"))
