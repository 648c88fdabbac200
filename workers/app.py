"""The Celery app of a node: one task per verb, all with the same body.

The Celery task id is the job id, so Flower, `AsyncResult` and the job API speak of the same thing.
"""

import os
from typing import Any

from celery import Celery, Task

import celeryconfig
from core import settings as configuration
from core.jobs.requests import VERBS
from core.jobs.store import TASK_PREFIX, JobStore
from core.redis import Database, broker_url, celery_options, celery_url, connect, queue_settings
from core.settings import Settings
from core.telemetry import logger
from workers.node import OBSERVE_TASK, SWEEP_TASK, Sweep, observe, ringer_of
from workers.runner import JobCancelled, Runner

_log = logger(__name__)

#: What AsyncResult shows while a job runs.
PROGRESS_STATE = "PROGRESS"
_runners: dict[int, Runner] = {}


def make(settings: Settings) -> Celery:
    """The app with broker, result store and tasks."""
    app = Celery(
        "vfolder",
        broker=broker_url(settings),
        backend=celery_url(settings, Database.RESULTS),
    )
    app.config_from_object(celeryconfig)
    app.conf.broker_transport_options |= celery_options(settings)
    app.conf.update(queue_settings(settings))  # another broker knows none of the store's options
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
        here = task.request.hostname  # asked now: the heartbeat's thread has no request
        try:
            return _runner(app, settings)(job_id, lambda text: _tell(task, here, text, job_id))
        except JobCancelled:
            _tell_cancelled(task, here, job_id)
            raise


def _register_sweep(app: Celery, settings: Settings) -> None:
    @app.task(name=SWEEP_TASK)
    def sweep(volume: str) -> str:
        store = JobStore(connect(settings, Database.JOBS), ringer_of(app))
        return Sweep(settings, store, volume)()


def _register_observe(app: Celery, settings: Settings) -> None:
    @app.task(name=OBSERVE_TASK, ignore_result=True, send_events=False)
    def watch(volume: str) -> str:
        return observe(settings, volume)


def _runner(app: Celery, settings: Settings) -> Runner:
    """One runner per process: connections are not shared across a fork."""
    found = _runners.get(os.getpid())
    if found is None:
        ring = ringer_of(app)
        store = JobStore(connect(settings, Database.JOBS), ring)
        found = _runners[os.getpid()] = Runner(settings, store, ring)
    return found


def _tell(task: Task, node: str, text: str, job_id: str) -> None:
    """Show the progress sentence in Flower's Result column and to AsyncResult."""
    _quietly(lambda: _send_event(task, node, "task-progress", uuid=job_id, result=text))
    _quietly(lambda: task.update_state(job_id, PROGRESS_STATE, {"text": text}))


def _tell_cancelled(task: Task, node: str, job_id: str) -> None:
    facts = {"uuid": job_id, "terminated": False, "signum": None, "expired": False}
    _quietly(lambda: _send_event(task, node, "task-revoked", **facts))
    _quietly(lambda: task.update_state(job_id, "REVOKED", {"text": "cancelled"}))


def _send_event(task: Task, node: str, kind: str, **facts: Any) -> None:  # noqa: ANN401 - JSON values
    # Not Task.send_event: that one names the task of the calling thread's request.
    with task.app.events.default_dispatcher(hostname=node) as dispatcher:
        dispatcher.send(kind, **facts)


def _quietly(act: Any) -> None:  # noqa: ANN401 - a callable
    """What only watchers need must not hurt the work."""
    try:
        act()
    except Exception as error:  # noqa: BLE001 - any failure to show progress is only that
        _log.info("progress not shown", reason=type(error).__name__)


def from_environment() -> Celery:
    """The app of this node's configuration."""
    return make(configuration.load())
