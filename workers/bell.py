"""The doorbell as workers ring it: for the next job when one ends, and for jobs that still wait."""

from celery import Celery
from kombu.exceptions import OperationalError

from core.store import Bell, Ring
from core.telemetry import logger

_log = logger(__name__)


def bell_of(app: Celery) -> Bell:
    """A bell for workers; a bell that cannot be sent is rung again by the reaper."""

    def ring(it: Ring) -> None:
        try:
            app.send_task(
                it.task,
                args=[it.job],
                task_id=it.job,
                queue=it.queue,
                priority=it.priority,
                argsrepr=f"({it.title})",
                retry=False,
            )
        except (OperationalError, OSError) as error:
            _log.warning("doorbell not sent", job_id=it.job, reason=type(error).__name__)

    return ring
