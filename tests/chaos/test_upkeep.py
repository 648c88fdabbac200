"""Deletes, restores, purges and rescans, killed at any call; the next run ends them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.fs import layout
from core.jobs import Job, State
from core.jobs.requests import DeleteRequest, PurgeRequest, RescanRequest, RestoreRequest
from core.jobs.store import JobLists
from core.names import VFolderId
from tests.chaos.check import differences
from tests.chaos.site import VOLUME, Site
from tests.support.brittlefs import BrittleFS, Rule
from tests.support.node import wait_for

pytestmark = [pytest.mark.part("fuse"), pytest.mark.part("rsync")]

FILES = 30
KEEP_SECONDS = 3600.0
NOTE = "*/trash/*.note*"


def keep(site: Site, vfolder: VFolderId) -> Job:
    request = DeleteRequest(volume=VOLUME, vfolder=str(vfolder), keep_seconds=KEEP_SECONDS)
    return site.submit(request)


def kept(site: Site, vfolder: VFolderId) -> Job:
    return succeeded(site, keep(site, vfolder))


def succeeded(site: Site, job: Job) -> Job:
    ended = site.wait_for_end(job)
    assert ended.state is State.SUCCEEDED, ended.document()
    return ended


def killed_at(brittle: tuple[Site, BrittleFS], rule: Rule, submit: Callable[[], Job]) -> Job:
    """Return a job whose process was killed in the call that the rule names, after its end."""
    site, volume = brittle
    volume.rules(rule)
    job = submit()
    volume.wait_for_hit()
    site.process_of(job).kill()
    wait_for(lambda: site.look(job).losses == 1)
    volume.heal()
    return succeeded(site, job)


def room(site: Site, vfolder: VFolderId) -> Path:
    return site.volume / layout.area(vfolder.scope, layout.TRASH)


def listed(site: Site, vfolder: VFolderId) -> set[str]:
    path = room(site, vfolder)
    return set(os.listdir(path)) if path.exists() else set()


@pytest.mark.parametrize(
    ("op", "path"),
    [("create", NOTE), ("rename", NOTE), ("rename", "*"), ("readdir", "*/trash/*/d3")],
)
def test_a_delete_into_the_trash_is_killed(
    brittle: tuple[Site, BrittleFS], op: str, path: str
) -> None:
    site, _ = brittle
    vfolder, twin = site.filled(FILES), site.vfolder()
    succeeded(site, site.clone(vfolder, twin))
    rule = Rule(op, path, hang=True, after=1 if path == "*" else 0)
    job = killed_at(brittle, rule, lambda: keep(site, vfolder))
    assert not site.backend.vfolder_path(vfolder).exists()
    assert {job.id, f"{job.id}.note"} <= listed(site, vfolder)
    facts = job.member("result")["trash"]
    assert facts["size_bytes"] > 0
    succeeded(site, site.submit(RestoreRequest(volume=VOLUME, vfolder=str(vfolder))))
    paths = (site.backend.vfolder_path(one) for one in (vfolder, twin))
    assert differences(*paths) == ""


@pytest.mark.parametrize(("op", "path"), [("rename", "*/trash/*"), ("unlink", NOTE)])
def test_a_restore_is_killed(brittle: tuple[Site, BrittleFS], op: str, path: str) -> None:
    site, _ = brittle
    vfolder, twin = site.filled(FILES), site.vfolder()
    succeeded(site, site.clone(vfolder, twin))
    deleted = kept(site, vfolder)
    request = RestoreRequest(volume=VOLUME, vfolder=str(vfolder))
    killed_at(brittle, Rule(op, path, hang=True), lambda: site.submit(request))
    paths = (site.backend.vfolder_path(one) for one in (vfolder, twin))
    assert differences(*paths) == ""
    assert not {deleted.id, f"{deleted.id}.note"} & listed(site, vfolder)


@pytest.mark.parametrize(("op", "after"), [("rename", 0), ("unlink", FILES // 2), ("rmdir", 2)])
def test_a_purge_is_killed(brittle: tuple[Site, BrittleFS], op: str, after: int) -> None:
    site, _ = brittle
    vfolder = site.filled(FILES)
    deleted = kept(site, vfolder)
    request = PurgeRequest(volume=VOLUME, vfolder=str(vfolder), trash=deleted.id)
    rule = Rule(op, "*/trash/*", hang=True, after=after)
    killed_at(brittle, rule, lambda: site.submit(request))
    assert not {deleted.id, f"{deleted.id}.note"} & listed(site, vfolder)


def test_a_half_purged_vfolder_is_not_restored(brittle: tuple[Site, BrittleFS]) -> None:
    site, volume = brittle
    vfolder = site.filled(FILES)
    deleted = kept(site, vfolder)
    purge = PurgeRequest(volume=VOLUME, vfolder=str(vfolder), trash=deleted.id)
    volume.rules(Rule("unlink", "*/trash/*/f7", error="EIO"))
    assert site.wait_for_end(site.submit(purge)).state is State.PARTIAL
    volume.heal()
    restore = site.wait_for_end(site.submit(RestoreRequest(volume=VOLUME, vfolder=str(vfolder))))
    assert restore.state is State.FAILED
    assert restore.member("error")["title"] == "Not in the trash"
    succeeded(site, site.submit(purge))
    assert not {deleted.id, f"{deleted.id}.note"} & listed(site, vfolder)


def test_a_rescan_is_killed_and_continues(brittle: tuple[Site, BrittleFS]) -> None:
    site, _ = brittle
    vfolders = [site.filled(FILES) for _ in range(4)]
    last = max(vfolders, key=lambda one: str(one.directory))
    rule = Rule("readdir", f"*{last.directory}/d5", hang=True)
    request = RescanRequest(volume=VOLUME)
    job = killed_at(brittle, rule, lambda: site.submit(request))
    whole = succeeded(site, site.submit(request)).member("result")
    found = job.member("result")
    for name in ("scopes", "vfolders", "entries", "size_bytes"):
        assert found[name] == whole[name]
    log = [line for line in JobLists(site.client).log(job.id) if line["kind"] == "claimed"]
    assert len(log) == 2
