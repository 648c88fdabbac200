"""Deliver ends of jobs that no run published, in a thread of every worker's main process.

A run publishes the end of its own job at once. What it could not publish stays in the outbox: the
run was killed, the events' server was away, or the job ended without a run. The first node that
looks publishes it.
"""

import threading

from core.events import EventPublisher
from core.settings import Settings

#: Seconds between two looks at the outbox.
LOOK_SECONDS = 1.0


class EventDelivery:
    """The thread that empties the outbox."""

    def __init__(self, settings: Settings) -> None:
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
            self._publisher.ended()
        self._publisher.ended()
