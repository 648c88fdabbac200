"""Celery's side of a job: a doorbell is only a doorbell, and faults lose nothing."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from celery.result import AsyncResult
from pytest_celery import CeleryTestSetup

from core.jobs import Job, Lane, State, queue_name
from core.jobs.job import new_id
from core.jobs.requests import UsageRequest
from core.jobs.store import TASK_PREFIX, JobStore, Submission
from core.names import VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.support.node import wait_for
from workers.node import ringer_of

pytestmark = pytest.mark.slow


@pytest.fixture
def jobs(settings: Settings, celery_setup: CeleryTestSetup) -> Iterator[JobStore]:
    assert celery_setup.ready(ping=False, control=True, docker=True)
    client = connect(settings, Database.JOBS)
    yield JobStore(client, ringer_of(celery_setup.app))
    client.close()


@pytest.fixture
def vfolder(settings: Settings) -> VFolderId:
    made = VFolderId.parse(f"user:{uuid4()}/{uuid4()}")
    directory = settings.volume_path(settings.volume["local"]) / Path(made.directory)
    (directory / "deep").mkdir(parents=True)
    (directory / "deep" / "file").write_bytes(b"12345")
    return made


def usage(jobs: JobStore, vfolder: VFolderId) -> Job:
    return jobs.submit(Submission(UsageRequest(volume="local", vfolder=str(vfolder))))


def ended(jobs: JobStore, job: Job, seconds: float = 120) -> Job:
    wait_for(lambda: jobs.get(job.id).state.ended, seconds, f"{job.id} does not end")
    return jobs.get(job.id)


def test_the_worker_serves_our_tasks_and_our_queues(
    celery_setup: CeleryTestSetup, jobs: JobStore
) -> None:
    inspect = celery_setup.app.control.inspect(timeout=60, limit=1)  # of one worker
    (tasks,) = inspect.registered().values()
    assert {"storage.clone", "storage.delete", "storage.usage"} <= set(tasks)
    (queues,) = inspect.active_queues().values()
    names = {queue["name"] for queue in queues}
    assert {queue_name("local", lane) for lane in Lane} <= names


def test_a_job_is_done_under_the_id_of_its_task(
    celery_setup: CeleryTestSetup, jobs: JobStore, vfolder: VFolderId
) -> None:
    job = usage(jobs, vfolder)
    assert ended(jobs, job).state is State.SUCCEEDED
    result = AsyncResult(job.id, app=celery_setup.app)
    wait_for(lambda: result.state == "SUCCESS", failure=lambda: f"Celery says {result.state}")
    assert "counted" in result.result


def test_doorbells_without_a_job_and_second_ones_change_nothing(
    celery_setup: CeleryTestSetup, jobs: JobStore, vfolder: VFolderId
) -> None:
    unknown = new_id()
    bell = {"queue": queue_name("local", Lane.FAST), "name": f"{TASK_PREFIX}usage"}
    celery_setup.app.send_task(args=[unknown], task_id=unknown, **bell)
    celery_setup.worker.wait_for_log(unknown)
    job = ended(jobs, usage(jobs, vfolder))
    before = job.document()
    celery_setup.app.send_task(args=[job.id], task_id=job.id, **bell)
    following = ended(jobs, usage(jobs, vfolder))  # behind the second bell, so that one was heard
    assert following.state is State.SUCCEEDED
    assert jobs.get(job.id).document() == before


def test_a_killed_worker_comes_back_to_what_was_submitted_meanwhile(
    celery_setup: CeleryTestSetup, jobs: JobStore, vfolder: VFolderId
) -> None:
    celery_setup.worker.kill()
    job = usage(jobs, vfolder)
    assert jobs.get(job.id).state is State.QUEUED
    celery_setup.worker.restart()
    assert ended(jobs, job).state is State.SUCCEEDED


def test_a_restarted_store_loses_no_job(
    celery_setup: CeleryTestSetup, jobs: JobStore, vfolder: VFolderId
) -> None:
    celery_setup.worker.kill()
    job = usage(jobs, vfolder)
    celery_setup.broker.kill()
    celery_setup.broker.restart()
    celery_setup.worker.restart()
    assert ended(jobs, job).state is State.SUCCEEDED
