"""With one setting RabbitMQ carries the doorbells; the store still has the records."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.jobs.doorbell import ringer
from core.jobs import State
from core.jobs.store import JobStore, Submission
from tests.chaos.check import differences, violations
from tests.chaos.site import VOLUME, Setup, Site
from tests.support.rabbit import Rabbit, running_rabbit
from tests.support.valkey import Valkey

pytestmark = [
    pytest.mark.part("rabbitmq"),
    pytest.mark.part("rsync"),
    pytest.mark.slow,
]

ITEMS = 120
BEGUN = 10
FILES = 40


@pytest.fixture
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    with running_rabbit(tmp_path_factory.mktemp("rabbit")) as server:
        yield server


def test_jobs_run_and_survive_a_killed_worker_by_rabbitmq(
    tmp_path: Path, valkey_alone: Valkey, rabbit: Rabbit
) -> None:
    """Doorbells are sent as the doors do, so both sides of the queues are real."""
    setup = Setup(jobs=f'broker = "{rabbit.url}"')
    site = Site(tmp_path, valkey_alone, 4, setups={"one": setup, "two": setup})
    site.ring = ringer(site.workers[0].settings)
    site.store = JobStore(site.client, site.ring)
    site.start()
    try:
        site.wait_for_nodes("one", "two")
        source, target = site.filled(FILES), site.vfolder()
        # No doorbell is sent again within the test: every run got its doorbell through RabbitMQ.
        job = site.store.submit(Submission(site.held(ITEMS), ring_again_seconds=3600.0))
        site.wait_for_items(job, BEGUN)
        kinds = rabbit.queues()
        assert kinds[f"vol.{VOLUME}.bulk"] == kinds[f"vol.{VOLUME}.fast"] == "quorum"
        worker = site.worker_of(job)
        worker.send(signal.SIGKILL)
        assert worker.process is not None
        worker.process.wait(60)  # the kernel ends the children of its pool with it
        site.let_go(job)
        found = site.wait_for_end(job)
        assert (found.state, found.losses, found.attempt) == (State.SUCCEEDED, 1, 2)
        assert found.fields["node"] == site.other_than(worker).name
        assert violations(site.volume, {job.id: ITEMS}) == []
        site.revive()
        site.wait_for_nodes("one", "two")
        clone = site.wait_for_end(site.clone(source, target))
        assert clone.state is State.SUCCEEDED, clone.document()
        paths = (site.backend.vfolder_path(vfolder) for vfolder in (source, target))
        assert differences(*paths) == ""
        many = [site.exercise(BEGUN) for _ in range(10)]
        assert {site.wait_for_end(each).state for each in many} == {State.SUCCEEDED}
    finally:
        site.stop()
