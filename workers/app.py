"""The Celery app of a node: one task per verb, all with the same body.

The Celery task id is the job id, so Flower, `AsyncResult` and the job API use the same id.
"""

import os
from collections.abc import Callable

from celery import Celery, Task

import celeryconfig
from core import settings as configuration
from core.jobs.requests import VERBS
from core.jobs.store import TASK_PREFIX, JobStore
from core.redis import Database, broker_url, celery_options, celery_url, connect, queue_settings
from core.settings import Settings
from core.telemetry import logger
from workers.node import (
    CANCELLED_EVENT,
    OBSERVE_TASK,
    SWEEP_TASK,
    Sweep,
    celery_internals,
    observe,
    ringer_of,
)
from workers.runner import JobCancelled, Runner

_log = logger(__name__)

#: The state that AsyncResult shows while a job runs.
PROGRESS_STATE = "PROGRESS"
_runners: dict[int, Runner] = {}


def make(settings: Settings) -> Celery:
    """Return the app with broker, result store and tasks."""
    app = Celery(
        "vfolder",
        broker=broker_url(settings),
        backend=celery_url(settings, Database.RESULTS),
    )
    app.config_from_object(celeryconfig)
    app.conf.broker_transport_options |= celery_options(settings)
    app.conf.update(queue_settings(settings))  # another broker has none of the store's options
    app.conf.result_backend_transport_options = celery_options(settings)
    for verb in VERBS:
        _register(app, settings, TASK_PREFIX + verb)
    _register_sweep(app, settings)
    _register_observe(app, settings)
    return app


def _register(app: Celery, settings: Settings, name: str) -> None:
    @app.task(bind=True, name=name, ignore_result=False)
    def run(task: Task, job_id: str) -> str:
        if job_id != task.request.id:
            raise ValueError("a doorbell's task id is its job id")
        node = task.request.hostname  # read now: the publishing thread has no request
        try:
            return _runner(app, settings)(
                job_id, lambda text: _show_progress(task, node, text, job_id)
            )
        except JobCancelled:
            _show_cancelled(task, node, job_id)
            raise


def _register_sweep(app: Celery, settings: Settings) -> None:
    @app.task(name=SWEEP_TASK, send_events=False)
    def sweep(volume: str) -> str:
        store = JobStore(connect(settings, Database.JOBS), ringer_of(app))
        return Sweep(settings, store, volume)()


def _register_observe(app: Celery, settings: Settings) -> None:
    @app.task(name=OBSERVE_TASK, ignore_result=True, send_events=False)
    def watch(volume: str) -> str:
        return observe(settings, volume)


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


def from_environment() -> Celery:
    """Return the app for this node's configuration."""
    return make(configuration.load())
