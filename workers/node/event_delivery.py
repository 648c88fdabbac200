"""The courier: tells ends of jobs that nobody told, in a thread of every worker's main process.

A run tells its own job's end at once; what it could not tell (it was killed, the events' server was
away, the job ended without a run) is told here, by whichever node looks first.
"""

import threading

from core.events import EventPublisher
from core.settings import Settings

#: How often the outbox is looked at.
LOOK_SECONDS = 1.0


class EventDelivery:
    """The thread."""

    def __init__(self, settings: Settings) -> None:
        self._herald = EventPublisher(settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Look once more, and end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self._herald.ended()
        self._herald.ended()
