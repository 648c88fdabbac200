"""What a running job hands down to the engines: when to stop, and where to count.

Engines (tree walks, copies, vendor clients) know only this protocol; workers implement it over the
job record. Everything here is cheap enough to be called for every entry.
"""

from enum import StrEnum
from typing import Protocol


class Counter(StrEnum):
    """What may be counted in a phase, each in items and in bytes."""

    LISTED = "listed"
    SKIPPED = "skipped"
    COPIED = "copied"
    VERIFIED = "verified"
    DELETED = "deleted"
    FAILED = "failed"


class Interrupted(Exception):
    """Base: the run must stop now; what is done so far stays recorded in its manifest."""


class Cancelled(Interrupted):
    """Somebody cancelled the job: clean up what never became visible."""


class Released(Interrupted):
    """The node drains or the job is paused: leave everything as it is, another run goes on."""


class LeaseLost(Interrupted):
    """Another run may own the job already: touch nothing any more, not even to clean up."""


class Control(Protocol):
    """The job's side of an engine's loop; implementations are safe to call from one thread."""

    def check(self) -> None:
        """Return at once, or raise `Interrupted`; called before every effect."""

    def phase(self, name: str) -> None:
        """Enter a named stretch (plan, copy, verify, publish …) with its own counters."""

    def expect(self, items: int | None = None, size_bytes: int | None = None) -> None:
        """Tell the totals of the phase, once they are known."""

    def count(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        """Add to a counter of the phase."""

    def entry(self, path: str) -> None:
        """Name the entry at work (shown to people, never logged)."""

    def fault(self, path: str, reason: str) -> None:
        """Record an entry that could not be done; a bounded number is kept with examples."""


class Unattended:
    """A control for tests, benchmarks and tools: never stops, keeps sums."""

    def __init__(self) -> None:
        self.counts: dict[Counter, list[int]] = {}
        self.faults: list[tuple[str, str]] = []

    def check(self) -> None:
        """Never stop."""

    def phase(self, name: str) -> None:
        """Ignore phases: all counts are summed."""

    def expect(self, items: int | None = None, size_bytes: int | None = None) -> None:
        """Ignore totals."""

    def count(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        """Add to the sums."""
        sums = self.counts.setdefault(counter, [0, 0])
        sums[0] += items
        sums[1] += size_bytes

    def entry(self, path: str) -> None:
        """Ignore the current entry."""

    def fault(self, path: str, reason: str) -> None:
        """Keep every fault."""
        self.faults.append((path, reason))
