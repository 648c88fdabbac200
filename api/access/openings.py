"""Lines of the audit log about allowed openings, written by one thread behind the answers.

A line costs more than a small file: a lock that all processes share, and a call to the store. A
change waits for its line; an opening need not. A process that is killed loses those of a moment.
"""

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from core.telemetry import logger

_log = logger(__name__)
#: With more lines waiting, the answer waits for its own.
WAITING_MAX = 10_000
#: How often the thread looks (seconds). To wake it for each line would cost as much as a file.
LOOK_SECONDS = 0.05


class Openings:
    """The lines of one process; the thread starts with the first one. Safe for threads."""

    def __init__(self, write: Callable[[Any], object]) -> None:
        self._write = write
        self._waiting: deque[Any] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, entry: object) -> None:
        """Write an entry soon; at once where too many wait."""
        if len(self._waiting) >= WAITING_MAX:
            self._write(entry)
            return
        self._waiting.append(entry)
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="openings", daemon=True)
                self._thread.start()
                atexit.register(self.drain)

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            self.drain()

    def drain(self) -> None:
        """Write what waits."""
        while self._waiting:
            with self._lock:
                entry = self._waiting.popleft() if self._waiting else None
            try:
                if entry is not None:
                    self._write(entry)
            except Exception:  # noqa: BLE001 - one line must not end the thread of all others
                _log.exception("line of an opening lost")
