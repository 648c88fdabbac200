"""Many clones and deletes while workers, store and doorbells fail: each end is sent once."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from redis.exceptions import RedisError

from core.jobs import Job, State
from core.names import VFolderId
from tests.chaos.site import Site
from tests.core.events.reader import PATIENCE_SECONDS, Heard, Reader, kept_of
from tests.support.node import wait_for
from tests.support.thoroughness import times
from tests.support.valkey import Valkey, running_valkey

SEED = int(os.environ.get("CHAOS_SEED", "20261121"))
JOBS = times(40, 100)
#: Two rounds of all kinds of faults, or more.
FAULTS = int(os.environ.get("CHAOS_FAULTS", times(22, 60)))
FAULT_PAUSE_SECONDS = 0.35
SETTLE_SECONDS = 200.0
LAST = {State.SUCCEEDED: "bgtask_done", State.CANCELLED: "bgtask_cancelled"}


@pytest.fixture
def valkey_alone(tmp_path: Path) -> Iterator[Valkey]:
    (tmp_path / "valkey").mkdir()
    with running_valkey(tmp_path / "valkey") as server:
        yield server


def settled(site: Site, jobs: list[Job]) -> bool:
    try:
        published = not site.client.zcard("vf:outbox")
        return published and all(site.store.get(job.id).state.ended for job in jobs)
    except RedisError:
        return False


def keep_going(site: Site) -> None:
    site.wake()
    site.revive()


def remember(valkey: Valkey, jobs: list[Job], ends: dict[str, Heard]) -> None:
    """Note the kept end of each job: it is kept for five minutes; a busy machine needs longer."""
    with suppress(RedisError):
        found = kept_of(valkey.url, [job.id for job in jobs if job.id not in ends])
        ends.update({job: end for job, end in found.items() if end.name != "bgtask_updated"})


def running(site: Site) -> list[str]:
    try:
        return [str(job) for job in site.client.zrange("vf:ix:state:running", 0, -1)]
    except RedisError:
        return []


def is_busy(site: Site, jobs: list[Job]) -> bool:
    """Whether a fault has something to hit, or nothing will come any more."""
    keep_going(site)
    return bool(running(site)) or settled(site, jobs)


def disturb(site: Site, jobs: list[Job]) -> None:
    """Kill processes that run jobs until a job has lost a run."""

    def lost_one() -> bool:
        for job in running(site):
            process = site.store.get(job).fields.get("process", "")
            with suppress(psutil.NoSuchProcess, ValueError):  # it ended meanwhile
                psutil.Process(int(process.partition(":")[2])).kill()
        keep_going(site)
        return any(site.store.get(job.id).losses for job in jobs)

    wait_for(lost_one, SETTLE_SECONDS)


def expected(job: Job) -> tuple[str, str, str]:
    """What the manager must receive for a job: event, its vfolder, the other vfolder."""
    request = job.member("request")
    good = "success" if job.state is State.SUCCEEDED else "failure"
    if job.verb == "clone":
        return f"vfolder_clone_{good}", request["source"], request["target"]
    return f"vfolder_deletion_{good}", request["vfolder"], ""


def submit_all(site: Site, sources: list[VFolderId], doomed: list[VFolderId]) -> list[Job]:
    """Half clones, half deletes; some are cancelled at once or while they run."""
    jobs = []
    for number in range(JOBS // 2):
        jobs.append(site.clone(site.random.choice(sources), site.vfolder()))
        jobs.append(site.delete(doomed[number]))
        if number % 10 == 0:
            site.store.cancel(jobs[-2].id)
    return jobs


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_clones_and_deletes_under_faults(tmp_path: Path, valkey_alone: Valkey) -> None:
    site = Site(tmp_path, valkey_alone, SEED)
    sources = [site.filled(120) for _ in range(4)]
    doomed = [site.filled(30) for _ in range(JOBS // 2)]
    ends: dict[str, Heard] = {}
    try:
        with Reader(valkey_alone.url) as reader:
            jobs = submit_all(site, sources, doomed)
            site.start()
            disturb(site, jobs)
            for _ in range(FAULTS):
                wait_for(lambda: is_busy(site, jobs), SETTLE_SECONDS)
                site.fault()
                time.sleep(FAULT_PAUSE_SECONDS * site.random.uniform(0.5, 1.5))
                keep_going(site)
                remember(valkey_alone, jobs, ends)
            until = time.monotonic() + SETTLE_SECONDS
            while not settled(site, jobs):
                keep_going(site)
                assert time.monotonic() < until, site.faults
                remember(valkey_alone, jobs, ends)
                time.sleep(0.1)
            remember(valkey_alone, jobs, ends)
            ended = [site.store.get(job.id) for job in jobs]
            # The reader may still wait for an answer of the store that was killed.
            wait_for(lambda: len(reader.stream) >= len(ended), PATIENCE_SECONDS * 2)
            time.sleep(1.0)  # a second event would have arrived by now
            assert reader.errors == []
            heard = Counter(
                (h.name, h.fields["vfid"], h.fields.get("dst_vfid", "")) for h in reader.stream
            )
            assert heard == Counter(expected(job) for job in ended)
            for job in ended:
                check_the_story(reader, ends.get(job.id), job)
            assert {job.state for job in ended} >= {State.SUCCEEDED, State.CANCELLED}
            assert max(job.attempt for job in ended) > 1, "no job was disturbed: the faults missed"
    finally:
        site.stop()


def check_the_story(reader: Reader, found: Heard | None, job: Job) -> None:
    """The channel loses messages for a disconnected subscriber; the kept message remains."""
    story = reader.story(job.id)
    last = LAST.get(job.state, "bgtask_failed")
    assert story.count(last) <= 1, story
    assert set(story[:-1]) <= {"bgtask_updated"}, story
    assert found is not None, "no end was kept"
    assert found.name == last
