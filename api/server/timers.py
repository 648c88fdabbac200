"""Acts at their moments, on one thread that does nothing else and so is never late for long."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable


class Timers:
    """Begins its thread with the first alarm; acts must not wait for anything."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._begun = False

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Have it done after so many seconds."""
        at = time.monotonic() + seconds
        with self._changed:
            heapq.heappush(self._waiting, (at, next(self._numbers), act))
            if not self._begun:
                self._begun = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            elif self._waiting[0][0] == at:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            self._next()()

    def _next(self) -> Callable[[], None]:
        with self._changed:
            while True:
                left = self._waiting[0][0] - time.monotonic() if self._waiting else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(left)
