"""What looks found and were allowed to see a moment ago, for one process of a door.

A program that reads many small files asks about the same vfolder again and again. The time is short
beside the one between two comparisons of a record with the store (`core/access/cache.py`): together
they are within the second in which every process sees a change. A change that this process makes
counts at once.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from api.access.records import FoundVFolder
from core.access import AccessCache, Caller, Decision

#: What was found is taken again for so long (seconds), of so many looks.
FOUND_SECONDS = 0.05
FOUND_MAX = 10_000
Seen = tuple[FoundVFolder, Decision]


class _Found(NamedTuple):
    """What a look found, until when (monotonic seconds), and what it rests on."""

    seen: Seen
    until: float
    #: How many changes the process had made before.
    changes: int
    #: Keeps the objects alive whose identities name the look.
    basis: tuple[object, ...]


class LooksBefore:
    """The looks of a moment. Safe for threads."""

    def __init__(self, cache: AccessCache, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._clock = clock
        self._found: dict[tuple[int, int, str, str], _Found] = {}

    def get(self, caller: Caller, act: str, text: str) -> Seen | None:
        """Return what the same look found."""
        known = self._found.get((id(caller.subject), id(caller.credential), act, text))
        if known is None or known.changes != self._cache.changes:
            return None
        return known.seen if self._clock() < known.until else None

    def add(self, caller: Caller, act: str, text: str, seen: Seen, changes: int) -> None:
        """Remember what a look found that began after so many changes of this process.

        A refusal is not kept, nor what is in the trash.
        """
        found, decision = seen
        if found.trash or not decision.allowed:
            return
        seconds = FOUND_SECONDS
        if decision.expires_at is not None:
            seconds = min(seconds, decision.expires_at - time.time())
        if len(self._found) >= FOUND_MAX:
            self._found.clear()
        subject, credential = caller.subject, caller.credential
        place = id(subject), id(credential), act, text
        basis = subject, credential
        self._found[place] = _Found(seen, self._clock() + seconds, changes, basis)
