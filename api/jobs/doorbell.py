"""The doorbell: the only module of the doors that uses Celery.

It sends by task name and without a result store. A result store would subscribe to a channel per
job and block while Redis is down. A doorbell that cannot be sent is logged. The job is already
recorded, so a worker's reaper rings again.
"""

from typing import Any

from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from core.errors import Unavailable
from core.jobs.store import Doorbell, Ringer
from core.redis import broker_url, celery_options, queue_settings
from core.settings import Settings
from core.telemetry import logger

_log = logger(__name__)
#: One attempt with short timeouts (seconds): a door must not wait for the broker.
_TRANSPORT = {
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
    "priority_steps": list(range(10)),
    "queue_order_strategy": "priority",
}
#: The longest time that a probe waits for the broker.
CONNECT_SECONDS = 2
_PUBLISH_ONCE: dict[str, Any] = {"max_retries": 0}


def check_broker(settings: Settings) -> None:
    """Connect to the broker within `CONNECT_SECONDS`.

    Raises:
        Unavailable: the broker does not answer.
    """
    try:
        with Connection(  # type: ignore[no-untyped-call] # kombu has no types here
            broker_url(settings),
            connect_timeout=CONNECT_SECONDS,
            transport_options=celery_options(settings),
        ) as connection:
            connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS)
    except (OperationalError, OSError) as error:
        raise Unavailable("The broker cannot be reached.") from error


def ringer(settings: Settings) -> Ringer:
    """Return the function that sends doorbells from this process; call it after the fork."""
    app = Celery("vfolder-door", broker=broker_url(settings), backend="disabled://")
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        broker_transport_options=_TRANSPORT | celery_options(settings),
        broker_connection_timeout=_TRANSPORT["socket_connect_timeout"],
        task_send_sent_event=True,
    )
    app.conf.update(queue_settings(settings))

    def ring(doorbell: Doorbell) -> None:
        try:
            app.send_task(
                doorbell.task,
                args=[doorbell.job],
                task_id=doorbell.job,
                queue=doorbell.queue,
                priority=doorbell.priority,
                argsrepr=f"({doorbell.title})",
                retry=False,
                retry_policy=_PUBLISH_ONCE,
            )
        except (OperationalError, OSError) as error:
            _log.warning("doorbell not sent", job_id=doorbell.job, reason=type(error).__name__)

    return ring
