"""Faults of the store, of its connections and of doorbells; every effect happens once."""

import signal
import time

from core.jobs import Job, State
from core.jobs.store import Doorbell, JobStore, Submission
from tests.chaos.check import ledger, violations
from tests.chaos.node import ExerciseRequest
from tests.chaos.site import LEASE_SECONDS, VOLUME, Site
from tests.support.node import wait_for

ITEMS = 150
BEGUN = 10
#: Longer than a lease; the work of an exercise takes even longer.
FROZEN_SECONDS = 1.6 * LEASE_SECONDS
SLOW_MILLISECONDS = 200
RESETS = 8
RESET_PAUSE_SECONDS = 0.3


def begun(site: Site, milliseconds: int = 20) -> Job:
    """Return an exercise in the middle of its work; it does not end before `site.let_go`."""
    job = site.submit(site.held(ITEMS, milliseconds))
    site.wait_for_items(job, BEGUN)
    return job


def ended_well(site: Site, job: Job) -> Job:
    found = site.wait_for_end(job)
    assert found.state is State.SUCCEEDED, found.document()
    assert violations(site.volume, {job.id: ITEMS}) == []
    return found


def test_the_store_is_killed_and_restarts_with_its_file(two_nodes: Site) -> None:
    running, waiting = begun(two_nodes), two_nodes.exercise(ITEMS)
    two_nodes.valkey.restart()
    two_nodes.let_go(running)
    assert ended_well(two_nodes, running).losses == 0
    assert ended_well(two_nodes, waiting).losses == 0


def test_the_store_is_frozen_for_longer_than_a_lease(two_nodes: Site) -> None:
    """Nothing happens from the end of the lease on, and no loss is counted for it."""
    job = begun(two_nodes, SLOW_MILLISECONDS)
    process = two_nodes.valkey.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    frozen = time.clock_gettime(time.CLOCK_MONOTONIC)
    try:
        time.sleep(FROZEN_SECONDS)
    finally:
        thawed = time.clock_gettime(time.CLOCK_MONOTONIC)
        process.send_signal(signal.SIGCONT)
    two_nodes.let_go(job)
    found = ended_well(two_nodes, job)
    begins = [float(line[2]) for line in ledger(two_nodes.volume, job.id)]
    assert not [at for at in begins if frozen + LEASE_SECONDS < at < thawed]
    assert found.losses == 0


def test_every_connection_is_reset_again_and_again(two_nodes: Site) -> None:
    job = begun(two_nodes)
    for _ in range(RESETS):
        two_nodes.reset_connections()
        time.sleep(RESET_PAUSE_SECONDS)
    two_nodes.let_go(job)
    found = ended_well(two_nodes, job)
    assert (found.attempt, found.losses) == (1, 0)


def test_a_lost_doorbell_is_rung_again(two_nodes: Site) -> None:
    silent = JobStore(two_nodes.client, lambda _ring: None)
    request = ExerciseRequest(volume=VOLUME, vfolder=str(two_nodes.vfolder()), items=ITEMS)
    job = silent.submit(Submission(request, ring_again_seconds=1.0))
    assert ended_well(two_nodes, job).attempt == 1


def test_a_doorbell_sent_three_times_runs_the_job_once(two_nodes: Site) -> None:
    job = two_nodes.exercise(ITEMS)
    doorbell = Doorbell(job.id, f"vol.{VOLUME}.bulk", 5, job.verb, "again")
    for _ in range(3):
        two_nodes.ring(doorbell)
    two_nodes.wait_for_items(job, BEGUN)
    for _ in range(3):
        two_nodes.ring(doorbell)
    found = ended_well(two_nodes, job)
    two_nodes.ring(doorbell)
    with two_nodes.valkey.client(2) as broker:
        wait_for(lambda: not list(broker.scan_iter(f"vol.{VOLUME}.bulk*")))
    assert two_nodes.look(job).version == found.version
    assert found.attempt == 1
