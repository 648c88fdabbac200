"""A clone cancelled in any phase leaves no target; a delete waits for the end of the clone."""

import pytest

from core.errors import NotCancellable
from core.jobs import Job, State
from core.names import VFolderId
from tests.chaos.check import differences, leftovers
from tests.chaos.site import Site
from tests.support.brittlefs import BrittleFS, Rule
from tests.support.node import wait_for

pytestmark = [pytest.mark.part("fuse"), pytest.mark.part("rsync")]

FILES = 30
#: The call at which each phase is caught, and the phase's name in the job's progress. The
#: path distinguishes directories of the target, which are in the staging, from those of the source.
PHASES = {
    "plan": ("readdir", "*/d[0-9]", 0, "plan"),
    "copy": ("write", "*/staging/*", FILES // 2, "copy"),
    "links": ("link", "*/staging/*", 0, "copy"),
    "seal": ("utimens", "*/staging/*/d[0-9]", 0, "seal"),
    "sync": ("fsync", "*/jobs/*", 0, ""),
    "before publish": ("fsync", "*/jobs/*", 1, "verify"),
}


def absent(site: Site, job: Job, target: VFolderId) -> None:
    assert not site.backend.vfolder_path(target).exists()
    wait_for(lambda: not leftovers(site.volume, job.id))


@pytest.mark.parametrize("caught", PHASES)
def test_a_cancelled_clone_leaves_no_target(brittle: tuple[Site, BrittleFS], caught: str) -> None:
    op, path, after, phase = PHASES[caught]
    site, volume = brittle
    source, target = site.filled(FILES), site.vfolder()
    volume.rules(Rule(op, path, hang=True, after=after))
    job = site.clone(source, target)
    volume.wait_for_hit()
    wait_for(lambda: phase in (site.look(job).member("progress") or {"phase": "-"})["phase"])
    site.store.cancel(job.id)
    site.wait_for_state(job, State.CANCELLING)
    volume.heal()
    assert site.wait_for_end(job).state is State.CANCELLED
    absent(site, job, target)
    with pytest.raises(NotCancellable):
        site.store.cancel(site.wait_for_end(site.clone(source, target)).id)


def test_a_clone_cancelled_while_it_verifies_leaves_no_target(
    brittle: tuple[Site, BrittleFS],
) -> None:
    site, volume = brittle
    source, target = site.filled(FILES), site.vfolder()
    volume.rules(Rule("utimens", "*/staging/*/d[0-9]", hang=True))
    job = site.clone(source, target)
    volume.wait_for_hit()
    volume.rules(Rule("readdir", "*/d[0-9]", hang=True))
    volume.wait_for_hit()
    wait_for(lambda: (site.look(job).member("progress") or {}).get("phase") == "verify")
    site.store.cancel(job.id)
    volume.heal()
    assert site.wait_for_end(job).state is State.CANCELLED
    absent(site, job, target)


def test_a_clone_that_is_being_published_is_not_cancelled(
    brittle: tuple[Site, BrittleFS],
) -> None:
    site, volume = brittle
    source, target = site.filled(FILES), site.vfolder()
    volume.rules(Rule("rename", "*/staging/*", hang=True))
    job = site.clone(source, target)
    volume.wait_for_hit()
    with pytest.raises(NotCancellable):
        site.store.cancel(job.id)
    assert not site.look(job).cancellable
    volume.heal()
    assert site.wait_for_end(job).state is State.SUCCEEDED
    paths = (site.backend.vfolder_path(vfolder) for vfolder in (source, target))
    assert differences(*paths) == ""


def test_a_cancel_takes_effect_though_the_process_of_the_job_dies(
    brittle: tuple[Site, BrittleFS],
) -> None:
    site, volume = brittle
    source, target = site.filled(FILES), site.vfolder()
    volume.rules(Rule("write", "*/staging/*", hang=True, after=FILES // 2))
    job = site.clone(source, target)
    volume.wait_for_hit()
    process = site.process_of(job)
    process.suspend()
    site.store.cancel(job.id)
    process.kill()
    volume.heal()
    found = site.wait_for_end(job)
    assert (found.state, found.losses) == (State.CANCELLED, 1)
    absent(site, job, target)


def test_a_delete_waits_for_the_clone_of_its_vfolder(brittle: tuple[Site, BrittleFS]) -> None:
    site, volume = brittle
    source, target = site.filled(FILES), site.vfolder()
    volume.rules(Rule("write", "*/staging/*", hang=True))
    clone = site.clone(source, target)
    volume.wait_for_hit()
    delete = site.delete(source)
    document = delete.document()
    assert document["waits_for"] == clone.id
    assert clone.id in document["state_reason"]
    volume.heal()
    assert site.wait_for_end(clone).state is State.SUCCEEDED
    assert site.wait_for_end(delete).state is State.SUCCEEDED
    assert not site.backend.vfolder_path(source).exists()
    files = [path for path in site.backend.vfolder_path(target).rglob("f*") if path.is_file()]
    assert len(files) == FILES
