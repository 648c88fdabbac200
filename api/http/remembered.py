"""What a process has just looked up, remembered for a moment."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """Values that end; the oldest goes when there are too many. Safe for threads."""

    def __init__(
        self, seconds: float, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Remember each value for so long, and `most` of them."""
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._lock = threading.Lock()
        self._values: dict[Hashable, tuple[T, float]] = {}

    def get(self, name: Hashable) -> T | None:
        """Return a value that has not ended."""
        found = self._values.get(name)
        return found[0] if found is not None and self._clock() < found[1] else None

    def add(self, name: Hashable, value: T) -> None:
        """Remember a value from now on."""
        ends = self._clock() + self._seconds
        with self._lock:
            self._values.pop(name, None)
            self._values[name] = value, ends
            if len(self._values) > self._most:
                del self._values[next(iter(self._values))]
