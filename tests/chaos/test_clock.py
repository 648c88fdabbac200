"""A node whose clock is an hour ahead or behind: leases and ends use only the store's clock."""

import signal
import subprocess
from pathlib import Path

import pytest
from celery import Celery

from core.jobs import State
from tests.chaos.check import differences, violations
from tests.chaos.site import VOLUME, Setup, Site
from tests.support.node import wait_for
from tests.support.valkey import Valkey
from workers.schedule import SWEEP_TASK

pytestmark = [pytest.mark.part("compiler"), pytest.mark.part("rsync")]

ITEMS = 100
BEGUN = 10
FILES = 40
HOUR_SECONDS = 3600
SOURCE = Path(__file__).parents[1] / "support" / "clock_off.c"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that shifts the clock, built for this machine."""
    built = tmp_path_factory.mktemp("clock") / "clock_off.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", built, SOURCE], check=True)
    return built


def off_by(seconds: int, library: Path) -> Setup:
    return Setup(environment={"LD_PRELOAD": str(library), "WALL_CLOCK_OFFSET": str(seconds)})


@pytest.mark.parametrize("offset", [HOUR_SECONDS, -HOUR_SECONDS], ids=["ahead", "behind"])
def test_a_node_whose_clock_is_off_by_an_hour(
    tmp_path: Path, valkey_alone: Valkey, library: Path, offset: int
) -> None:
    setups = {"off": off_by(offset, library), "true": Setup()}
    site = Site(tmp_path, valkey_alone, 5, setups=setups)
    off, true = site.workers
    source, target = site.filled(FILES), site.vfolder()
    off.start()
    try:
        site.wait_for_nodes("off")
        clone, job = site.clone(source, target), site.submit(site.held(ITEMS))
        done = site.wait_for_end(clone)
        assert (done.state, done.attempt) == (State.SUCCEEDED, 1)
        moments = [int(done.fields[f"{name}_at"]) for name in ("created", "started", "ended")]
        assert moments == sorted(moments)
        assert moments[-1] - moments[0] < HOUR_SECONDS * 1000
        true.start()
        site.wait_for_nodes("off", "true")
        site.let_go(job)
        found = site.wait_for_end(job)
        assert (found.state, found.attempt) == (State.SUCCEEDED, 1), "no node took it for dead"
        passed = site.submit(site.held(ITEMS))
        site.wait_for_items(passed, BEGUN)
        site.worker_of(passed).send(signal.SIGKILL)
        site.let_go(passed)
        assert site.wait_for_end(passed).losses == 1
        assert violations(site.volume, {job.id: ITEMS, passed.id: ITEMS}) == []
        paths = (site.backend.vfolder_path(vfolder) for vfolder in (source, target))
        assert differences(*paths) == ""
    finally:
        site.stop()


def test_a_sweep_with_a_clock_that_is_ahead_removes_no_recent_files(
    tmp_path: Path, valkey_alone: Valkey, library: Path
) -> None:
    """After the store returns without its last second, a live run must keep its files."""
    site = Site(tmp_path, valkey_alone, 6, setups={"ahead": off_by(24 * HOUR_SECONDS, library)})
    site.start()
    sender = Celery(broker=f"{valkey_alone.url}/2", backend=f"{valkey_alone.url}/3")
    try:
        site.wait_for_nodes("ahead")
        vfolder = site.vfolder()
        assert vfolder.scope is not None
        young = site.volume / vfolder.scope.directory / ".vfolder" / "staging" / "unknown"
        young.mkdir(parents=True)
        swept = sender.send_task(SWEEP_TASK, [VOLUME], queue=f"vol.{VOLUME}.bulk")
        assert "0 left-overs" in wait_for(lambda: swept.result if swept.ready() else "")
        assert young.exists()
        young.rmdir()
    finally:
        sender.close()
        site.stop()
