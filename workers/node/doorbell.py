"""Send doorbells from a worker: for the next job when one ends, and again for waiting jobs."""

from celery import Celery
from kombu.exceptions import OperationalError

from core.jobs.store import Doorbell, Ringer
from core.telemetry import logger

_log = logger(__name__)

#: Settings in which sender and consumer of a queue must agree, taken from the consuming app.
_SHARED = (
    "task_serializer",
    "accept_content",
    "task_send_sent_event",
    "task_create_missing_queue_type",
    "task_create_missing_queue_exchange_type",
)
#: Seconds: a broker that does not answer must not block the ringing thread for longer.
_TIMEOUTS = {"socket_timeout": 2, "socket_connect_timeout": 2}


def ringer_of(app: Celery) -> Ringer:
    """Return the function that sends doorbells from a worker.

    The reaper sends a doorbell again when the broker did not take it. The sending app has no result
    store: with one, Celery subscribes to a channel per doorbell, forever, and hangs on it when the
    store is away.
    """
    sender = Celery(
        "vfolder-bell", broker=app.conf.broker_url, backend="disabled://", set_as_current=False
    )
    sender.conf.update({key: app.conf[key] for key in _SHARED})
    options = app.conf.broker_transport_options
    timeouts = _TIMEOUTS if "socket_timeout" in options else {}
    sender.conf.broker_transport_options = {**options, **timeouts}

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
