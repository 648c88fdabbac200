"""What a running job passes to the engines: when to stop, and where to count.

Engines (tree walks, copies, vendor clients) know only this protocol. Workers implement it on top of
the job record. Every method is cheap enough to be called for each entry.
"""

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

#: A pause looks this often whether the run ends (seconds).
LOOK_SECONDS = 0.2


class Counter(StrEnum):
    """What a phase counts, each in items and in bytes."""

    LISTED = "listed"
    SKIPPED = "skipped"
    COPIED = "copied"
    VERIFIED = "verified"
    DELETED = "deleted"
    FAILED = "failed"


class Interrupted(Exception):
    """Base: the run must stop now. What is done so far stays recorded in its manifest."""


class Cancelled(Interrupted):
    """A caller cancelled the job: the run removes what was not published yet."""


class Released(Interrupted):
    """The node drains or the job is paused: the run leaves everything; another run continues."""


class LeaseLost(Interrupted):
    """Another run may own the job already: the run changes nothing more, not even to clean up."""


def checked_pause(check: Callable[[], object], seconds: float) -> None:
    """Wait, and call `check` all the time: what it raises ends the pause."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check()
        time.sleep(min(left, LOOK_SECONDS))


class Control(Protocol):
    """The job as an engine sees it. An implementation is called from one thread only."""

    def check(self) -> None:
        """Return at once, or raise `Interrupted`. Engines call it before every effect."""

    def phase(self, name: str) -> None:
        """Enter a phase (plan, copy, verify, publish …) with its own counters."""

    def expect(self, items: int | None = None, size_bytes: int | None = None) -> None:
        """Set the totals of the phase, once they are known."""

    def count(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        """Add to a counter of the phase."""

    def entry(self, path: str) -> None:
        """Set the path of the present entry. People see it; it is never logged."""

    def wait(self, what: str) -> None:
        """Say that nothing moves before `what` is back; the next count, or "", ends it."""

    def fault(self, path: str, reason: str) -> None:
        """Record an entry that failed. Only the first ones are kept with path and reason."""


class Unattended:
    """A control for work without a job (sweeps, tests, tools): never stops, keeps sums."""

    def __init__(self) -> None:
        self.counts: dict[Counter, list[int]] = {}
        self.faults: list[tuple[str, str]] = []

    def check(self) -> None:
        """Return; nothing stops this work."""

    def phase(self, name: str) -> None:
        """Ignore phases: all counts go to one sum."""

    def expect(self, items: int | None = None, size_bytes: int | None = None) -> None:
        """Ignore totals."""

    def count(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        """Add to the sums."""
        sums = self.counts.setdefault(counter, [0, 0])
        sums[0] += items
        sums[1] += size_bytes

    def entry(self, path: str) -> None:
        """Ignore the current entry."""

    def wait(self, what: str) -> None:
        """Ignore waits."""

    def fault(self, path: str, reason: str) -> None:
        """Keep every fault."""
        self.faults.append((path, reason))
