"""Calls to storage that are nearly always quick, made on the caller's thread while that is so.

To pass each open to another thread (`api/volumes/deadlines.py`) costs more than the open itself. So
a volume is called directly as long as no call to it is overdue. From then on, until that call
answers, calls go through the deadlines: they end with 504 and take only a few threads. A volume
that hangs therefore keeps only the requests of its first second.
"""

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from api.volumes.deadlines import Deadlines

#: A call that takes longer makes its volume suspect.
SUSPECT_SECONDS = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class InlineCalls:
    """Knows, for each volume, when its running calls began."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._began: dict[str, dict[int, float]] = defaultdict(dict)

    def call(self, volume: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on this thread, or with a deadline when its volume is suspect.

        Raises:
            DeadlineExceeded, Unavailable: as `Deadlines.call`.
        """
        number, now = next(self._numbers), time.monotonic()
        with self._lock:
            began = self._began[volume]
            suspect = now - next(iter(began.values()), now) > SUSPECT_SECONDS
            if not suspect:
                began[number] = now
        if suspect:
            return self._deadlines.call(volume, function, *args, **kwargs)
        try:
            return function(*args, **kwargs)
        finally:
            with self._lock:
                del began[number]
