"""What the tasks of a worker do: run a job, sweep a volume, observe a volume."""

import os
from collections.abc import Callable

from celery import Celery, Task

from core.jobs.store import JobStore
from core.redis import Database, connect
from core.settings import Settings
from core.telemetry import logger
from workers.node import CANCELLED_EVENT, Sweep, celery_internals, observe, ringer_of
from workers.runner import JobCancelled, Runner

__all__ = ["PROGRESS_STATE", "observe", "run_job", "sweep"]

_log = logger(__name__)

#: The state that AsyncResult shows while a job runs.
PROGRESS_STATE = "PROGRESS"
_runners: dict[int, Runner] = {}


def run_job(task: Task, settings: Settings, job_id: str) -> str:
    """Run the job of a doorbell; return one sentence that says how it went."""
    if job_id != task.request.id:
        raise ValueError("a doorbell's task id is its job id")
    node = task.request.hostname  # read now: the publishing thread has no request
    try:
        return _runner(task.app, settings)(
            job_id, lambda text: _show_progress(task, node, text, job_id)
        )
    except JobCancelled:
        _show_cancelled(task, node, job_id)
        raise


def sweep(app: Celery, settings: Settings, volume: str) -> str:
    """Sweep a volume once; return one sentence that says what was done."""
    store = JobStore(connect(settings, Database.JOBS), ringer_of(app))
    return Sweep(settings, store, volume)()


def _runner(app: Celery, settings: Settings) -> Runner:
    """Return this process's runner: connections are not shared across a fork."""
    runner = _runners.get(os.getpid())
    if runner is None:
        ring = ringer_of(app)
        store = JobStore(connect(settings, Database.JOBS), ring)
        runner = _runners[os.getpid()] = Runner(settings, store, ring)
    return runner


def _show_progress(task: Task, node: str, text: str, job_id: str) -> None:
    """Show the progress sentence in Flower's Result column and to AsyncResult."""
    _quietly(
        lambda: celery_internals.send_task_event(
            task.app, node, "task-progress", uuid=job_id, result=text
        )
    )
    _quietly(lambda: task.update_state(job_id, PROGRESS_STATE, {"text": text}))


def _show_cancelled(task: Task, node: str, job_id: str) -> None:
    facts = {"uuid": job_id, "result": "The job was cancelled."}
    _quietly(lambda: celery_internals.send_task_event(task.app, node, CANCELLED_EVENT, **facts))
    _quietly(lambda: task.update_state(job_id, "REVOKED", {"text": "cancelled"}))


def _quietly(operation: Callable[[], object]) -> None:
    """Do something for watchers; its failure is logged and does not affect the job."""
    try:
        operation()
    except Exception as error:  # noqa: BLE001 - the job does not depend on watchers
        _log.info("progress not shown", reason=type(error).__name__)
