"""The mount of the volume goes away: jobs wait for it, or stay on the mount that they hold."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.fs import marker
from core.jobs import State
from core.jobs.requests import TransferRequest
from tests.chaos.check import differences, leftovers
from tests.chaos.every_verb import FILES, every_verb, path_of, succeeded
from tests.chaos.site import VOLUME, Setup, Site
from tests.support.mounts import Disk, disk, tmpfs
from tests.support.node import wait_for
from tests.support.valkey import Valkey
from workers.node import Sweep

pytestmark = [pytest.mark.part("root"), pytest.mark.part("rsync")]

#: A copy of the files takes some seconds.
SLOW_BYTES = 20_000
PROVING = "prove-seconds = 0.5"


@pytest.fixture
def lost(tmp_path: Path, valkey_alone: Valkey) -> Iterator[tuple[Site, Disk]]:
    """One node; its volume is a mount of its own."""
    with disk(tmp_path / "volume", tmp_path) as mount:
        setups = {"node": Setup(worker=PROVING)}
        site = Site(tmp_path, valkey_alone, 3, setups=setups, volume=mount.path)
        site.start()
        try:
            site.wait_for_nodes("node")
            yield site, mount
        finally:
            site.stop()


def not_proven(site: Site) -> bool:
    volume = next(node for node in site.nodes.all())["volumes"][VOLUME]
    return not volume["proven"] and "not available" in (volume["reason"] or "")


@pytest.mark.parametrize("known", [True, False], ids=["known", "not noticed yet"])
def test_jobs_of_every_verb_wait_for_the_mount(lost: tuple[Site, Disk], *, known: bool) -> None:
    """Nothing is done, absent or made meanwhile; then every job succeeds."""
    site, mount = lost
    requests = every_verb(site)
    source, target = site.filled(FILES), site.vfolder()
    mount.umount_idle()  # the idle node holds nothing of it
    if known:
        wait_for(lambda: not_proven(site))
    jobs = [site.submit(request) for request, _ in requests] + [site.clone(source, target)]
    wait_for(lambda: not_proven(site))
    beaten = site.client.hget("vf:nodes", "node")
    wait_for(lambda: site.client.hget("vf:nodes", "node") != beaten)
    assert [site.look(job).document() for job in jobs if site.look(job).state.ended] == []
    assert mount.bare() == []
    mount.mount()
    for job in jobs:
        assert succeeded(site, job).losses == 0
    assert all(done() for _, done in requests)
    assert differences(path_of(site, source), path_of(site, target)) == ""


def test_a_job_stays_on_the_mount_that_it_holds(lost: tuple[Site, Disk]) -> None:
    """The volume is unmounted lazily amid clone and transfer, and a directory takes its place."""
    site, mount = lost
    source, copy, sent = site.filled(FILES), site.vfolder(), site.vfolder()
    site.budgets.set(VOLUME, SLOW_BYTES)
    request = TransferRequest(volume=VOLUME, source=str(source), target=str(sent))
    jobs = [site.clone(source, copy), site.submit(request)]
    for job in jobs:
        wait_for(lambda job=job: "copied" in str(site.look(job).member("progress")))  # type: ignore[misc] # bound now
    with pytest.raises(RuntimeError, match="busy"):
        mount.umount()
    mount.umount("-l")
    mount.cover()
    wait_for(lambda: not_proven(site))
    site.budgets.set(VOLUME, None)
    for job in jobs:
        assert (succeeded(site, job).attempt, site.look(job).losses) == (1, 0)
    assert mount.bare() == []
    mount.mount()
    for target in (copy, sent):
        assert differences(path_of(site, source), path_of(site, target)) == ""
    for job in jobs:
        wait_for(lambda job=job: not leftovers(site.volume, job.id))  # type: ignore[misc] # bound now
    site.wait_for_nodes("node")


def test_another_file_system_in_its_place_is_not_the_volume(lost: tuple[Site, Disk]) -> None:
    site, mount = lost
    source, target, absent = site.filled(FILES), site.vfolder(), site.vfolder()
    mount.umount_idle()
    tmpfs(mount.path)
    delete, clone = site.delete(absent), site.clone(source, target)
    wait_for(lambda: not_proven(site))
    assert not any(site.look(job).state.ended for job in (delete, clone))
    assert os.listdir(mount.path) == []
    mount.umount_idle()
    mount.mount()
    succeeded(site, clone)
    assert (site.wait_for_end(delete).member("result") or {})["existed"] is False


def test_a_cancelled_job_waits_for_nothing(lost: tuple[Site, Disk]) -> None:
    site, mount = lost
    source, target = site.filled(FILES), site.vfolder()
    mount.umount_idle()
    wait_for(lambda: not_proven(site))
    job = site.clone(source, target)
    site.store.cancel(job.id)
    assert site.wait_for_end(job).state is State.CANCELLED
    assert mount.bare() == []


def test_a_sweep_does_nothing_without_the_mount(lost: tuple[Site, Disk]) -> None:
    site, mount = lost
    site.filled(FILES)
    settings = site.worker("node").settings
    before = sorted(mount.top.rglob("*"))
    mount.umount_idle()
    assert "is not available" in Sweep(settings, site.store, VOLUME)()
    assert mount.bare() == []
    assert sorted(mount.top.rglob("*")) == before
    mount.mount()
    assert "is not available" not in Sweep(settings, site.store, VOLUME)()
    assert (mount.path / marker.NAME).exists()
