"""Deliver ends of jobs that no run published, in a thread of every worker's main process.

Ends that no task of Celery had are shown in Flower, too.

A run publishes the end of its own job at once. What it could not publish stays in the outbox: the
run was killed, the events' server was away, or the job ended without a run. The leader of the
cluster publishes it.
"""

import threading
from collections.abc import Callable

from core.events import EventPublisher
from core.settings import Settings
from workers.node.flower_ends import FlowerEnds

#: Seconds between two looks at the outbox.
LOOK_SECONDS = 1.0


class EventDelivery:
    """The thread that empties the outbox."""

    def __init__(self, settings: Settings, leads: Callable[[], bool], flower: FlowerEnds) -> None:
        """Take the settings, and a function that says whether this node is the leader."""
        self._leads = leads
        self._flower = flower
        self._publisher = EventPublisher(settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-delivery", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Look once more, and end."""
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
