"""Lines of the audit log about allowed openings, written behind the answers, many at a time.

A line costs more than a small file: a lock that all processes share, and a call to the store. A
change waits for its line; an opening need not, and those of a moment share both. A process that is
killed loses the lines of a moment.

A thread writes what waits. In a busy process the request that makes a batch whole writes it: two
threads that take turns at the interpreter cost more than the lines.
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
LOOK_SECONDS = 0.25
#: So many lines are a batch, and most lines of one write: other processes wait for its lock.
BATCH_LINES, BATCH_MAX = 100, 500


class Openings:
    """The lines of one process; the thread starts with the first one. Safe for threads."""

    def __init__(self, write: Callable[..., object]) -> None:
        """Write entries by `write`, which takes any number of them, in their order."""
        self._write = write
        self._waiting: deque[Callable[[], Any]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, make: Callable[[], Any]) -> None:
        """Write the entry that `make` returns soon; at once where too many wait."""
        waiting = len(self._waiting)
        if waiting >= WAITING_MAX:
            self._write(make())
            return
        self._waiting.append(make)
        if self._thread is None:
            self._start()
        elif waiting >= BATCH_LINES and self._lock.acquire(blocking=False):
            try:
                self._write_batch()
            finally:
                self._lock.release()

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
                self._write_batch()

    def _write_batch(self) -> None:
        count = min(len(self._waiting), BATCH_MAX)
        batch = [self._waiting.popleft() for _ in range(count)]
        if not self._wrote(batch):
            for make in batch:  # a defect in one line must not end the others
                self._wrote([make])

    def _wrote(self, batch: list[Callable[[], Any]]) -> bool:
        try:
            self._write(*(make() for make in batch))
        except Exception:  # noqa: BLE001 - the thread goes on for all others
            if len(batch) == 1:
                _log.exception("line of an opening lost")
            return False
        return True
