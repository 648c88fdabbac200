"""Calls to storage that are nearly always quick, made on the thread at hand while that holds.

Handing each open to another thread (api/volumes/deadlines.py) costs more than the open. So a
volume is called directly as long as no call to it is overdue; from then on, until it answers
again, calls go through the deadlines, which end with 504 and cannot take more than a few threads.
A volume that hangs therefore keeps only the requests that came within the first second.
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
    """Knows, per volume, when its calls under way began."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._began: dict[str, dict[int, float]] = defaultdict(dict)

    def call(self, volume: str, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `act` here, or with a deadline when its volume is suspect.

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
            return self._deadlines.call(volume, act, *args, **kwargs)
        try:
            return act(*args, **kwargs)
        finally:
            with self._lock:
                del began[number]
