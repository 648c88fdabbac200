"""Chaos: many faults on two nodes, and proof that nothing was lost or done twice."""

import os
import time
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from core.jobs import Job, State
from core.jobs.store import JobLists
from core.names import VFolderId
from tests.chaos.check import differences, leftovers, violations
from tests.chaos.site import BRISK_NODES, Site
from tests.support.node import wait_for
from tests.support.thoroughness import times
from tests.support.valkey import Valkey

SEED = int(os.environ.get("CHAOS_SEED", "20261121"))
#: Number of faults: two rounds of all kinds; the full proof needs 200.
FAULTS = int(os.environ.get("CHAOS_FAULTS", times(22, 200)))
EXERCISES, CLONES, DELETES, USAGES = times(12, 26), times(5, 14), times(3, 6), times(2, 4)
#: Bounds of the items of an exercise: work enough for all faults.
ITEMS = (times(200, 500), times(600, 1500))
FAULT_PAUSE_SECONDS = 0.35
#: Shorter than a freeze, and long enough that jobs proceed between two.
FREEZE_PAUSE_SECONDS = 1.0
SETTLE_SECONDS = 400.0


def all_ended(site: Site, jobs: list[Job]) -> bool:
    try:
        return all(site.store.get(job.id).state.ended for job in jobs)
    except RedisError:
        return False


def wait_until_ended(site: Site, jobs: list[Job], seconds: float = SETTLE_SECONDS) -> None:
    until = time.monotonic() + seconds
    while not all_ended(site, jobs):
        site.wake()
        site.revive()
        if time.monotonic() > until:
            left = [site.store.get(job.id) for job in jobs]
            story = [
                (
                    j.id,
                    j.verb,
                    j.state.value,
                    j.fields.get("reason"),
                    JobLists(site.client).log(j.id)[-5:],
                )
                for j in left
                if not j.state.ended
            ]
            raise AssertionError(f"not ended: {story}\n{site.faults[-20:]}")
        time.sleep(0.1)


def differs(site: Site, source: VFolderId, target: VFolderId) -> str:
    return differences(*(site.backend.vfolder_path(v) for v in (source, target)))


@pytest.mark.slow
@pytest.mark.part("rsync")
@pytest.mark.timeout(1800)
def test_many_faults(tmp_path: Path, valkey_alone: Valkey) -> None:
    site = Site(tmp_path, valkey_alone, SEED, setups=BRISK_NODES)
    sources = [site.filled(600) for _ in range(USAGES)]
    doomed = [site.filled(200) for _ in range(DELETES)]
    site.start()
    try:
        site.wait_for_nodes("one", "two")
        exercises = {}
        for _ in range(EXERCISES):
            items = site.random.randrange(*ITEMS)
            exercises[site.exercise(items).id] = items
        clones = [(site.random.choice(sources), site.vfolder()) for _ in range(CLONES)]
        others = [site.clone(source, target) for source, target in clones]
        others += [site.delete(vfolder) for vfolder in doomed]
        others += [site.usage(source) for source in sources]
        jobs = [site.store.get(job) for job in exercises] + others
        wait_for(lambda: any(site.look(job).state is State.RUNNING for job in jobs))
        for _ in range(FAULTS):
            site.fault()
            time.sleep(FAULT_PAUSE_SECONDS * site.random.uniform(0.5, 1.5))
            site.wake()
            site.revive()
        wait_until_ended(site, jobs)
        states = {job.id: site.store.get(job.id) for job in jobs}
        wrong = {i: j.document() for i, j in states.items() if j.state is not State.SUCCEEDED}
        assert not wrong, wrong
        assert violations(site.volume, exercises) == []
        assert [differs(site, *pair) for pair in clones] == [""] * len(clones)
        assert not [v for v in doomed if site.backend.vfolder_path(v).exists()]
        # A process that dies after the end of its job leaves the manifest to the sweep.
        wait_for(lambda: {path.suffix for path in leftovers(site.volume)} <= {".manifest"})
        attempts = sorted(job.attempt for job in states.values())
        assert attempts[-1] > 1, "no fault interrupted a job"
    finally:
        site.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_checker_notices_when_lease_and_fence_are_off(
    tmp_path: Path, valkey_alone: Valkey
) -> None:
    """The checker must find the same kind of run wrong when the safeguards are off."""
    site = Site(tmp_path, valkey_alone, SEED, ("--unsafe",), setups=BRISK_NODES)
    site.start()
    try:
        exercises = {site.exercise(300).id: 300 for _ in range(6)}
        jobs = [site.store.get(job) for job in exercises]
        until = time.monotonic() + SETTLE_SECONDS
        while not violations(site.volume, exercises) or not all_ended(site, jobs):
            site.freeze_child()
            time.sleep(FREEZE_PAUSE_SECONDS)
            site.wake()
            site.revive()
            if time.monotonic() > until:
                break
        found = violations(site.volume, exercises)
        assert any("more than once" in v or "another run" in v for v in found), found
    finally:
        site.stop()
