"""Long work survives restarts of everything, and finished work is not repeated."""

import os
import signal
from pathlib import Path

import pytest

from core.jobs import State
from tests.chaos.check import differences, ledger, violations
from tests.chaos.site import Setup, Site
from tests.support.brittlefs import Rule, mounted
from tests.support.node import wait_for
from tests.support.thoroughness import times
from tests.support.valkey import Valkey

pytestmark = [pytest.mark.part("fuse"), pytest.mark.part("rsync"), pytest.mark.slow]

#: How long the work takes without faults, in seconds.
WORK_SECONDS = float(os.environ.get("CHAOS_WORK_SECONDS", times(8, 20)))
RESTARTS = 3
HELPERS = 2
WRITE_SECONDS = 0.2
FILES = int(WORK_SECONDS * HELPERS / WRITE_SECONDS)
ITEM_SECONDS = 0.1
#: Longer than the copy, so that the exercise sees every restart, too.
ITEMS = int(2 * WORK_SECONDS / ITEM_SECONDS)
#: Work that may be repeated per restart: one or two files of each helper.
AGAIN_SECONDS_MAX = 2 * WRITE_SECONDS


def restart_everything(site: Site) -> None:
    """Kill both workers and the store, then start them again."""
    for worker in site.workers:
        worker.send(signal.SIGKILL)
    site.valkey.kill()
    for worker in site.workers:
        assert worker.process is not None
        worker.process.wait(60)
    site.valkey.start()
    site.start()


@pytest.mark.timeout(900)
def test_long_jobs_survive_three_restarts_of_everything(
    tmp_path: Path, valkey_alone: Valkey, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy in which every file is slow, and an exercise whose ledger has every effect."""
    (tmp_path / "fs").mkdir()
    with mounted(tmp_path / "fs") as volume:
        setup = Setup(path=volume.path, worker=f"tree-processes = {HELPERS}")
        setups = {"one": setup, "two": setup}
        site = Site(tmp_path, valkey_alone, 8, setups=setups, volume=volume.backing)
        source, target = site.filled(FILES), site.vfolder()
        # Files of the copy alone: the record beside them grows with every part, in each run.
        volume.rules(Rule("write", "*/staging/*/tree/*", delay_seconds=WRITE_SECONDS))
        site.start()
        try:
            clone = site.clone(source, target)
            exercise = site.exercise(ITEMS, round(ITEM_SECONDS * 1000))
            for number in range(1, RESTARTS + 1):
                share = number * FILES // (RESTARTS + 1)
                wait_for(lambda share=share: volume.seen() >= share, 120.0, site.story(clone))  # type: ignore[misc] # bound here
                restart_everything(site)
            ended = [site.wait_for_end(job, 120.0) for job in (clone, exercise)]
            assert [job.state for job in ended] == [State.SUCCEEDED] * 2
            attempts = [job.attempt for job in ended]
            written = volume.seen()
        finally:
            volume.heal()
            site.stop()
        assert attempts[0] == RESTARTS + 1
        assert violations(site.volume, {exercise.id: ITEMS}) == []
        paths = [site.backend.vfolder_path(vfolder) for vfolder in (source, target)]
        assert differences(*paths) == ""
        once = sum(1 for path in paths[0].rglob("f*") if path.is_file() and path.stat().st_size)
        again = (written - once) * WRITE_SECONDS / HELPERS / RESTARTS
        runs = len({line[0] for line in ledger(site.volume, exercise.id)})
    with capsys.disabled():
        print(  # noqa: T201 - the measured number is what this test is for
            f"\n{WORK_SECONDS:.0f} s of work, {RESTARTS} restarts: {again:.2f} s of a copy done"
            f" again per restart ({written} writes of {once} files);"
            f" the exercise took {runs} runs, no effect twice"
        )
    assert 0 <= again < AGAIN_SECONDS_MAX
