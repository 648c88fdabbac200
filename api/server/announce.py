"""Announces this node while its internal door is open: a thread of that door's one process."""

import threading

from core.cluster import RENEW_SECONDS, Discovery
from core.settings import Settings


class Announcer:
    """The thread."""

    def __init__(self, settings: Settings) -> None:
        self._discovery = Discovery(settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="discovery", daemon=True)

    def start(self) -> None:
        """Begin to announce."""
        self._thread.start()

    def stop(self) -> None:
        """Take the announcement back; returns when that is done or was tried."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._discovery.register()
            if self._stop.wait(RENEW_SECONDS):
                break
        self._discovery.withdraw()
