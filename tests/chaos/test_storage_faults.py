"""The storage is full, broken, stale or hung: a job fails completely, or continues afterwards."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.jobs import Job, State
from core.names import VFolderId
from tests.chaos.check import differences, leftovers, violations
from tests.chaos.site import VOLUME, Setup, Site
from tests.support.brittlefs import BrittleFS, Rule, mounted
from tests.support.node import wait_for
from tests.support.valkey import Valkey

pytestmark = [pytest.mark.part("fuse"), pytest.mark.part("rsync")]

FILES = 30
STAGED = "*/staging/*"
#: Size of a small volume.
SMALL_BYTES = 8 * 1024**2


def absent(site: Site, job: Job, target: VFolderId) -> None:
    """Check that the target never existed, and that nothing of the job is left."""
    assert not site.backend.vfolder_path(target).exists()
    wait_for(lambda: not leftovers(site.volume, job.id))


def equal(site: Site, source: VFolderId, target: VFolderId) -> None:
    paths = (site.backend.vfolder_path(vfolder) for vfolder in (source, target))
    assert differences(*paths) == ""


@pytest.mark.parametrize(
    ("error", "code", "verify"),
    [
        ("ENOSPC", "storage_create_unavailable", "size"),
        ("EDQUOT", "quota-scope_update_conflict", "none"),
        ("EIO", "storage-proxy_request_unreachable", "none"),
        ("ESTALE", "storage-proxy_request_unreachable", "size"),
    ],
)
def test_a_clone_that_cannot_write_fails_and_leaves_nothing(
    brittle: tuple[Site, BrittleFS], error: str, code: str, verify: str
) -> None:
    site, volume = brittle
    source, target = site.filled(FILES), site.vfolder()
    volume.rules(Rule("write", STAGED, error=error, after=FILES // 2))
    job = site.wait_for_end(site.clone(source, target, verify=verify))
    assert job.state is State.FAILED, job.document()
    assert job.member("error")["error_code"] == code, job.member("error")
    assert str(volume.path) not in str(job.document())
    absent(site, job, target)
    volume.heal()
    assert site.wait_for_end(site.clone(source, target)).state is State.SUCCEEDED
    equal(site, source, target)


@pytest.mark.parametrize("error", ["EIO", "ESTALE"])
def test_a_source_that_cannot_be_read_makes_no_target(
    brittle: tuple[Site, BrittleFS], error: str
) -> None:
    site, volume = brittle
    source, target = site.filled(FILES), site.vfolder()
    volume.rules(Rule("read", "*/f7", error=error))
    job = site.wait_for_end(site.clone(source, target))
    assert job.state is State.FAILED, job.document()
    assert job.member("error")["error_code"] == "storage-proxy_request_unreachable"
    absent(site, job, target)


@pytest.mark.parametrize(("op", "path"), [("mkdir", "*"), ("create", "*"), ("rename", STAGED)])
def test_a_volume_that_changes_no_names_fails_the_clone(
    brittle: tuple[Site, BrittleFS], op: str, path: str
) -> None:
    site, volume = brittle
    source, target = site.filled(FILES), site.vfolder()
    volume.rules(Rule(op, path, error="EIO"))
    job = site.wait_for_end(site.clone(source, target))
    assert job.state is State.FAILED, job.document()
    volume.heal()
    absent(site, job, target)


def test_a_published_clone_succeeds_though_its_staging_stays(
    brittle: tuple[Site, BrittleFS],
) -> None:
    site, volume = brittle
    source, target = site.filled(FILES), site.vfolder()
    volume.rules(Rule("unlink", STAGED, error="EIO"))
    job = site.wait_for_end(site.clone(source, target))
    assert job.state is State.SUCCEEDED, job.document()
    equal(site, source, target)
    volume.heal()
    left = leftovers(site.volume, job.id)
    assert left, "the sweep removes it"
    for path in left:
        subprocess.run(["rm", "-rf", path], check=True)


def test_a_delete_that_cannot_remove_everything_is_partial(brittle: tuple[Site, BrittleFS]) -> None:
    site, volume = brittle
    vfolder = site.filled(FILES)
    volume.rules(Rule("unlink", "*/f7", error="EIO"))
    job = site.wait_for_end(site.delete(vfolder))
    assert job.state is State.PARTIAL, job.document()
    assert job.member("result")["left"] > 0
    assert not site.backend.vfolder_path(vfolder).exists()
    volume.heal()
    for path in leftovers(site.volume):
        subprocess.run(["rm", "-rf", path], check=True)


@contextmanager
def small_volume(path: Path) -> Iterator[Path]:
    """A real file system that is full after a few MiB."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def test_a_disk_that_fills_up_while_a_clone_writes(tmp_path: Path, valkey_alone: Valkey) -> None:
    with small_volume(tmp_path / "small") as path:
        site = Site(tmp_path, valkey_alone, 1, setups={"node": Setup()}, volume=path)
        source, target = site.filled(FILES), site.vfolder()
        site.start()
        try:
            site.wait_for_nodes("node")
            (site.backend.vfolder_path(source) / "large").write_bytes(b"x" * (SMALL_BYTES * 2 // 3))
            job = site.wait_for_end(site.clone(source, target))
            assert job.state is State.FAILED, job.document()
            assert job.member("error")["error_code"] == "storage_create_unavailable"
            absent(site, job, target)
            (site.backend.vfolder_path(source) / "large").unlink()
            job = site.wait_for_end(site.clone(source, target))
            assert job.state is State.SUCCEEDED, job.document()
            equal(site, source, target)
        finally:
            site.stop()


def lives_and_reports_the_hang(site: Site, name: str) -> bool:
    record = next(node for node in site.nodes.all() if node["id"] == name)
    volume = record["volumes"][VOLUME]
    hangs = not volume["proven"] and "does not answer" in (volume["reason"] or "")
    return record["alive"] and hangs


def test_a_hanging_mount_is_reported_and_its_jobs_continue_after_repair(
    tmp_path: Path, valkey_alone: Valkey
) -> None:
    """One of two nodes hangs: it lives and reports that, the other does the new work."""
    with mounted(tmp_path) as volume:
        proving = "prove-seconds = 0.5\nprove-timeout = 1.0"
        setups = {"hung": Setup(path=volume.path, worker=proving), "fine": Setup()}
        site = Site(tmp_path, valkey_alone, 2, setups=setups, volume=volume.backing)
        hung, fine = site.workers
        source, target, other = site.filled(FILES), site.vfolder(), site.vfolder()
        hung.start()
        try:
            site.wait_for_nodes("hung")
            volume.rules(Rule("write", STAGED, hang=True))
            stuck = site.clone(source, target)
            volume.wait_for_hit()
            volume.rules(Rule(hang=True))
            fine.start()
            site.wait_for_nodes("fine")
            wait_for(lambda: lives_and_reports_the_hang(site, "hung"), 60)
            done = site.wait_for_end(site.clone(source, other))
            assert (done.state, done.fields["node"]) == (State.SUCCEEDED, "fine")
            assert site.look(stuck).state is State.RUNNING
            volume.heal()
            found = site.wait_for_end(stuck)
            assert (found.state, found.fields["node"]) == (State.SUCCEEDED, "hung")
            assert (found.attempt, found.losses) == (1, 0)
            equal(site, source, target)
            site.wait_for_nodes("hung", "fine")
            assert hung.process is not None
            assert hung.process.poll() is None
        finally:
            volume.heal()
            site.stop()


def test_a_child_killed_while_its_mount_hangs_leaves_the_fence_to_its_helpers(
    brittle: tuple[Site, BrittleFS],
) -> None:
    """No signal ends a helper that hangs in the kernel: it may still write after the repair."""
    site, volume = brittle
    source, target = site.filled(FILES), site.vfolder()
    volume.rules(Rule("write", STAGED, hang=True))
    job = site.clone(source, target)
    volume.wait_for_hit()
    run = site.look(job).run
    site.process_of(job).kill()
    wait_for(lambda: site.look(job).run not in ("", run), failure="no run took it over")
    calls = volume.seen()
    beaten = site.look(job).version + 4
    wait_for(lambda: site.look(job).version > beaten)
    assert site.look(job).member("progress")["phase"] == "start", (
        "it works while the old helpers hang"
    )
    assert volume.seen() == calls
    volume.heal()
    found = site.wait_for_end(job)
    assert (found.state, found.losses) == (State.SUCCEEDED, 1)
    equal(site, source, target)


def test_an_exercise_outlives_a_slow_volume(brittle: tuple[Site, BrittleFS]) -> None:
    """Every call takes longer than a tenth of the lease; no component takes that for death."""
    site, volume = brittle
    volume.rules(Rule("write", delay_seconds=0.2))
    job = site.exercise(10)
    found = site.wait_for_end(job)
    assert (found.state, found.losses) == (State.SUCCEEDED, 0)
    assert violations(site.volume, {job.id: 10}) == []
