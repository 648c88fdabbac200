"""The Celery app of a node: one task per verb, all with the same body.

The Celery task id is the job id, so Flower, `AsyncResult` and the job API use the same id. The
bodies are in `workers.tasks`, which only a worker loads, before it forks: beat and Flower know the
names and options of the tasks and run none.
"""

from celery import Celery, Task

import celeryconfig
from core import settings as configuration
from core.jobs.requests import VERBS
from core.jobs.store import TASK_PREFIX
from core.redis import Database, broker_url, celery_options, celery_url, queue_settings
from core.settings import Settings
from workers.schedule import OBSERVE_TASK, SWEEP_TASK


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
        from workers import tasks  # noqa: PLC0415 - only workers have it

        return tasks.run_job(task, settings, job_id)


def _register_sweep(app: Celery, settings: Settings) -> None:
    @app.task(name=SWEEP_TASK, send_events=False)
    def sweep(volume: str) -> str:
        from workers import tasks  # noqa: PLC0415 - only workers have it

        return tasks.sweep(app, settings, volume)


def _register_observe(app: Celery, settings: Settings) -> None:
    @app.task(name=OBSERVE_TASK, ignore_result=True, send_events=False)
    def watch(volume: str) -> str:
        from workers import tasks  # noqa: PLC0415 - only workers have it

        return tasks.observe(settings, volume)


def from_environment() -> Celery:
    """Return the app for this node's configuration."""
    return make(configuration.load())
