"""The doorbell as workers ring it: for the next job when one ends, and for jobs that still wait."""

from celery import Celery
from kombu.exceptions import OperationalError

from core.jobs.store import Doorbell, Ringer
from core.telemetry import logger

_log = logger(__name__)

#: What both sides of a queue must agree on, taken from the app that consumes.
_SHARED = (
    "task_serializer",
    "accept_content",
    "task_send_sent_event",
    "task_create_missing_queue_type",
    "task_create_missing_queue_exchange_type",
)
#: A broker that does not answer must not keep the thread that rings from its other duties.
_PATIENCE = {"socket_timeout": 2, "socket_connect_timeout": 2}


def ringer_of(app: Celery) -> Ringer:
    """Return the function that sends doorbells from a worker.

    The reaper sends a doorbell again when the broker did not take it. The sending app has no result
    store: with one, Celery subscribes to a channel per doorbell, for ever, and hangs on it when the
    store is away.
    """
    sender = Celery(
        "vfolder-bell", broker=app.conf.broker_url, backend="disabled://", set_as_current=False
    )
    sender.conf.update({key: app.conf[key] for key in _SHARED})
    options = app.conf.broker_transport_options
    patience = _PATIENCE if "socket_timeout" in options else {}
    sender.conf.broker_transport_options = {**options, **patience}

    def ring(doorbell: Doorbell) -> None:
        try:
            sender.send_task(
                doorbell.task,
                args=[doorbell.job],
                task_id=doorbell.job,
                queue=doorbell.queue,
                priority=doorbell.priority,
                argsrepr=f"({doorbell.title})",
                retry=False,
            )
        except (OperationalError, OSError) as error:
            _log.warning("doorbell not sent", job_id=doorbell.job, reason=type(error).__name__)

    return ring
