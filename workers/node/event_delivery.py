"""Deliver ends of jobs that no run published, in a thread of every worker's main process.

Ends that no task of Celery had are shown in Flower, too.

A run publishes the end of its own job at once. What it could not publish stays in the outbox: the
run was killed, the events' server was away, or the job ended without a run. The leader of the
cluster publishes it.

Notices for people wait in a queue of their own. A thread of its own posts them, in the leader: a
slow receiver delays no end of a job.
"""

import threading
from collections.abc import Callable

import redis

from core.events import EventPublisher
from core.settings import Settings
from core.telemetry import logger
from workers.node.flower_ends import FlowerEnds

#: Seconds between two looks at the outbox.
LOOK_SECONDS = 1.0
_log = logger(__name__)


class EventDelivery:
    """The threads that empty the outbox, and post notices where they are posted."""

    def __init__(self, settings: Settings, leads: Callable[[], bool], flower: FlowerEnds) -> None:
        """Take the settings, and a function that says whether this node is the leader."""
        self._leads = leads
        self._flower = flower
        self._publisher = EventPublisher(settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-delivery", daemon=True)
        self._posting: threading.Thread | None = None
        if settings.vfolder.notices.url:
            from core.quota.webhook import Webhook  # noqa: PLC0415 - loads urllib3

            self._webhook = Webhook(settings)
            self._posting = threading.Thread(target=self._post, name="notices", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        self._thread.start()
        if self._posting is not None:
            self._posting.start()

    def stop(self) -> None:
        """Look once more, and end; a post that is under way is repeated later, where it is lost."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            if self._leads():
                self._publisher.ended()
                self._flower.show()
            else:
                self._flower.pause()
        self._publisher.ended()

    def _post(self) -> None:
        """Post notices while this node leads; what is not posted waits in the store."""
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self._webhook.deliver(lambda: self._leads() and not self._stop.is_set())
            except redis.RedisError as error:
                _log.warning("notices not read", reason=type(error).__name__)
            except Exception:  # noqa: BLE001 - a defect in one notice must not end the thread of all
                _log.exception("notices not posted")
