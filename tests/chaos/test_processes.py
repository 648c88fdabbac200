"""Processes are killed, stopped, drained or poisoned; all work is still done exactly once."""

import signal

import psutil

from core.jobs import Job, State
from tests.chaos.check import ledger, leftovers, violations
from tests.chaos.site import BRITTLE_LOSSES, Site, Worker
from tests.support.brittlefs import BrittleFS
from tests.support.node import gone, wait_for

ITEMS = 120
#: Items that an exercise has done when the fault happens.
BEGUN = 10
#: Longest time of a drain and of an immediate end, even on a busy machine.
END_SECONDS = 60.0


def begun(site: Site) -> Job:
    """Return an exercise in the middle of its work; it does not end before `ended_well`."""
    job = site.submit(site.held(ITEMS))
    site.wait_for_items(job, BEGUN)
    return job


def ended_well(site: Site, job: Job) -> Job:
    """Check that every effect happened once and no file is left."""
    site.let_go(job)
    found = site.wait_for_end(job)
    assert found.state is State.SUCCEEDED, found.document()
    assert violations(site.volume, {job.id: ITEMS}) == []
    wait_for(lambda: not leftovers(site.volume, job.id))
    return found


def taken_over(site: Site, job: Job, former: Worker) -> Job:
    found = ended_well(site, job)
    assert found.fields["node"] == site.other_than(former).name
    assert found.attempt == 2
    return found


def test_the_pool_child_is_killed(two_nodes: Site) -> None:
    job = begun(two_nodes)
    two_nodes.process_of(job).kill()
    found = ended_well(two_nodes, job)
    assert (found.attempt, found.losses) == (2, 1)


def test_the_worker_is_killed(two_nodes: Site) -> None:
    """Its children end with it, so its jobs are free for the other node."""
    job = begun(two_nodes)
    worker = two_nodes.worker_of(job)
    children = [child.pid for child in worker.children()]
    worker.send(signal.SIGKILL)
    wait_for(lambda: gone(children), failure="children outlived their worker")
    assert taken_over(two_nodes, job, worker).losses == 1


def test_child_and_worker_are_killed(two_nodes: Site) -> None:
    job = begun(two_nodes)
    worker = two_nodes.worker_of(job)
    two_nodes.process_of(job).kill()
    worker.send(signal.SIGKILL)
    assert taken_over(two_nodes, job, worker).losses == 1


def test_a_killed_worker_that_restarts_puts_its_lost_jobs_back(two_nodes: Site) -> None:
    """The lease is an hour, so the job cannot come back by the reaper."""
    job = begun(two_nodes)
    worker = two_nodes.worker_of(job)
    worker.send(signal.SIGKILL)
    assert worker.process is not None
    worker.process.wait(END_SECONDS)
    two_nodes.client.zadd("vf:due", {job.id: 2**53})
    worker.start()
    assert ended_well(two_nodes, job).losses == 1


def test_a_stopped_run_does_nothing_when_it_wakes_after_its_lease(two_nodes: Site) -> None:
    """The fence makes the next run wait while the stopped run could still change data."""
    job = begun(two_nodes)
    process = two_nodes.process_of(job)
    run = two_nodes.look(job).run
    process.suspend()
    try:
        wait_for(lambda: two_nodes.look(job).run not in ("", run), failure="no run took it over")
        before = ledger(two_nodes.volume, job.id)
        assert {line[0] for line in before} == {run}
    finally:
        process.resume()
    found = ended_well(two_nodes, job)
    after = [line[0] for line in ledger(two_nodes.volume, job.id)]
    # It finishes the item at which it was stopped, and begins no other.
    assert after.count(run) <= len(before) + 1
    assert found.losses == 1


def test_a_whole_node_is_stopped_and_wakes_after_its_lease(two_nodes: Site) -> None:
    job = begun(two_nodes)
    worker = two_nodes.worker_of(job)
    assert worker.process is not None
    frozen = [psutil.Process(worker.process.pid), *worker.children()]
    run = two_nodes.look(job).run
    for process in frozen:
        process.suspend()
    try:
        wait_for(lambda: two_nodes.look(job).run not in ("", run), failure="no run took it over")
    finally:
        for process in frozen:
            process.resume()
    taken_over(two_nodes, job, worker)


def test_a_drained_node_ends_in_seconds_and_no_loss_is_counted(two_nodes: Site) -> None:
    job = begun(two_nodes)
    worker = two_nodes.worker_of(job)
    worker.send(signal.SIGTERM)
    assert worker.process is not None
    assert worker.process.wait(END_SECONDS) == 0
    two_nodes.wait_for_nodes(two_nodes.other_than(worker).name)
    assert taken_over(two_nodes, job, worker).losses == 0


def test_a_node_that_gets_sigquit_leaves_its_jobs_to_the_other(two_nodes: Site) -> None:
    job = begun(two_nodes)
    worker = two_nodes.worker_of(job)
    worker.send(signal.SIGQUIT)
    assert worker.process is not None
    worker.process.wait(END_SECONDS)
    taken_over(two_nodes, job, worker)


def test_a_job_that_kills_its_processes_fails_as_poison(
    brittle: tuple[Site, BrittleFS],
) -> None:
    site, _ = brittle
    job = site.exercise(ITEMS, deadly=BEGUN)
    found = site.wait_for_end(job)
    error = found.member("error")
    assert found.state is State.FAILED
    assert (error["code"], error["retriable"]) == ("poison", False)
    assert (found.losses, found.attempt) == (BRITTLE_LOSSES + 1, BRITTLE_LOSSES + 1)
    assert violations(site.volume, {job.id: BEGUN}) == []
    healthy = site.exercise(BEGUN)
    assert site.wait_for_end(healthy).state is State.SUCCEEDED
