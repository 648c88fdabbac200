"""Progress of a job: phases with counters, a rate, an ETA, and one sentence for people.

The API, the event stream, the CLI and Flower show the same sentence:
`copy 41%  3.1/7.5 TiB  812 MiB/s  eta 1h28m  18,204/51,000 files  2 errors`. An unknown value is
left out of the sentence and is null in the data. The percent is that of the job and never falls,
nor does a counter of a phase: work that is done again counts once. A job that has ended says the
whole: `cloned 9,624 files, 274 MiB in 1.3 s (206 MiB/s)`.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.jobs.control import Counter
from core.names import progress_text, size_text, took

#: The rate is measured over the last seconds, this many.
RATE_WINDOW_SECONDS = 30.0
#: There is no ETA before the phase is this old, unless more than `ETA_MIN_SHARE` is done.
ETA_MIN_SECONDS = 10.0
ETA_MIN_SHARE = 0.01
#: A job that counts nothing for this long is reported as stalled.
STALLED_SECONDS = 60.0
#: A job has no higher percent before its end.
PERCENT_RUNNING_MAX = 99.0
#: This many faults keep their path and reason; the rest are only counted.
FAULTS_MAX = 100

#: The counters that mean that an entry is done, for percent and ETA.
_DONE = (Counter.COPIED, Counter.VERIFIED, Counter.DELETED, Counter.SKIPPED, Counter.FAILED)
#: Members of a snapshot that are null once the run has ended.
_OF_A_RUN = ("eta_seconds", "stalled_seconds", "entry", "waits_for")
#: What a job was for is the first of these that it counted; the others only helped.
_PURPOSES = (Counter.COPIED, Counter.DELETED, Counter.VERIFIED, Counter.LISTED)


@dataclass(frozen=True, slots=True)
class JobSummary:
    """What a job that ended did, over all its phases and attempts; None is unknown."""

    sentence: str
    items: int | None = None
    size_bytes: int | None = None


@dataclass(slots=True)
class Phase:
    """A named part of a job with its own counters."""

    name: str
    started: float
    items: dict[Counter, int] = field(default_factory=dict)
    size_bytes: dict[Counter, int] = field(default_factory=dict)
    total_items: int | None = None
    total_bytes: int | None = None
    ended: float | None = None
    #: What was counted of work that is done again, entries and bytes: it is not counted twice.
    owed: dict[Counter, tuple[int, int]] = field(default_factory=dict)

    def add(self, counter: Counter, items: int, size_bytes: int) -> None:
        """Add to a counter; a negative amount says that this much is done again."""
        owed_items, owed_bytes = self.owed.get(counter, (0, 0))
        more_items, owed_items = _beyond(items, owed_items)
        more_bytes, owed_bytes = _beyond(size_bytes, owed_bytes)
        self.owed[counter] = owed_items, owed_bytes
        self.items[counter] = self.items.get(counter, 0) + more_items
        self.size_bytes[counter] = self.size_bytes.get(counter, 0) + more_bytes

    @property
    def went_back(self) -> bool:
        """Whether work of this phase is done again now."""
        return any(any(amounts) for amounts in self.owed.values())

    def done_items(self) -> int:
        """Return the number of entries done; in a phase that only lists, of those listed."""
        done = sum(self.items.get(counter, 0) for counter in _DONE)
        return done or self.items.get(Counter.LISTED, 0)

    def done_bytes(self) -> int:
        """Return the bytes done; in a phase that only lists, those listed."""
        done = sum(self.size_bytes.get(counter, 0) for counter in _DONE)
        return done or self.size_bytes.get(Counter.LISTED, 0)

    def share(self) -> float | None:
        """Return the done part of the phase, 0 to 1: the smaller of that of items and of bytes."""
        shares = [
            min(1.0, done / total)
            for done, total in (
                (self.done_items(), self.total_items),
                (self.done_bytes(), self.total_bytes),
            )
            if total
        ]
        return min(shares) if shares else None


def _beyond(amount: int, owed: int) -> tuple[int, int]:
    """Return what an amount adds to a counter that never falls, and what is owed then."""
    left = amount - owed
    return max(left, 0), max(-left, 0)


class Progress:
    """The counters of one run. One thread adds to them, another takes snapshots."""

    def __init__(
        self,
        clock: Any = time.monotonic,  # noqa: ANN401 - a callable clock
        *,
        percent: float | None = None,
        continues: bool = False,
    ) -> None:
        """Begin; `percent` is that of the attempt before, below which this one does not fall.

        `continues` says that there was an attempt before: then the time of the job is not known.
        """
        self._clock = clock
        self._continues = continues
        self._began = clock()
        self._percent = percent
        self._weights: Mapping[str, float] = {}
        self._lock = threading.Lock()
        self._phases: list[Phase] = []
        self._samples: deque[tuple[float, int, int]] = deque()
        self._moved = clock()
        self._entry = ""
        self._waits_for = ""
        self.faults: list[tuple[str, str]] = []
        self.fault_count = 0

    def phase(self, name: str) -> None:
        """Enter a phase; the previous phase ends."""
        with self._lock:
            now = self._clock()
            if self._phases:
                self._phases[-1].ended = now
            self._phases.append(Phase(name, now))
            self._samples.clear()
            self._moved = now
            self._waits_for = ""

    def wait(self, what: str) -> None:
        """Say that nothing moves before `what` is back; the next count or phase, or "", ends it."""
        with self._lock:
            self._waits_for = what

    def expect(self, items: int | None = None, size_bytes: int | None = None) -> None:
        """Set the totals of the phase."""
        with self._lock:
            current = self._current()
            current.total_items = items if items is not None else current.total_items
            current.total_bytes = size_bytes if size_bytes is not None else current.total_bytes

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Say which phases make the percent of the job, and their shares of its time.

        Without this each phase with a total counts as the complete job.
        """
        with self._lock:
            self._weights = weights

    def planned(self, phase: str) -> tuple[int | None, int | None]:
        """Return the totals of a phase, entries and bytes; None when they are not known."""
        with self._lock:
            found = [one for one in self._phases if one.name == phase]
            return (found[-1].total_items, found[-1].total_bytes) if found else (None, None)

    def sum(self, counter: Counter) -> int:
        """Return how many entries all phases counted."""
        with self._lock:
            return sum(phase.items.get(counter, 0) for phase in self._phases)

    @property
    def seconds(self) -> float | None:
        """The time since the beginning of the job; None when earlier attempts took some of it."""
        return None if self._continues else float(self._clock() - self._began)

    def count(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        """Add to a counter of the phase."""
        with self._lock:
            self._current().add(counter, items, size_bytes)
            if items > 0 or size_bytes > 0:
                self._moved = self._clock()
                self._waits_for = ""

    def entry(self, path: str) -> None:
        """Set the path of the present entry."""
        self._entry = path

    def fault(self, path: str, reason: str) -> None:
        """Record an entry that failed."""
        with self._lock:
            self.fault_count += 1
            if len(self.faults) < FAULTS_MAX:
                self.faults.append((path, reason))

    def _current(self) -> Phase:
        if not self._phases:
            self._phases.append(Phase("start", self._clock()))
        return self._phases[-1]

    def snapshot(self) -> dict[str, Any]:
        """Return everything as plain JSON values, with the sentence under `text`."""
        with self._lock:
            data = self._now()
        data["text"] = progress_text(data)
        return data

    def final(self, whole: JobSummary | None = None) -> dict[str, Any]:
        """Return the last snapshot; without `whole` it says where the job stopped."""
        with self._lock:
            data = self._now() | dict.fromkeys(_OF_A_RUN)
            if whole is not None:
                data |= self._all_of(whole)
        data["text"] = progress_text(data) if whole is None else whole.sentence
        return data

    def _now(self) -> dict[str, Any]:
        now, current = self._clock(), self._current()
        rate = self._rate(now, current)
        shown = self._with_counts(current)
        stalled = now - self._moved
        return {
            "waits_for": self._waits_for or None,
            "phase": f"wait for {self._waits_for}" if self._waits_for else current.name,
            "percent": self._risen(current),
            "done_items": shown.done_items(),
            "total_items": shown.total_items,
            "done_bytes": shown.done_bytes(),
            "total_bytes": shown.total_bytes,
            "bytes_per_second": rate[1],
            "items_per_second": rate[0],
            "eta_seconds": _eta(current, rate, now),
            "stalled_seconds": round(stalled) if stalled >= STALLED_SECONDS else None,
            "entry": self._entry or None,
            "errors": self.fault_count,
            "phases": [_phase_data(phase, now) for phase in self._phases],
        }

    def _all_of(self, whole: JobSummary) -> dict[str, Any]:
        """Return the members that differ at the end: sums of all phases, and complete."""
        items, size_bytes = self._sums()
        items = items if whole.items is None else whole.items
        size_bytes = size_bytes if whole.size_bytes is None else whole.size_bytes
        seconds = self.seconds
        return {
            "percent": 100.0,
            "done_items": items,
            "total_items": items,
            "done_bytes": size_bytes,
            "total_bytes": size_bytes,
            "items_per_second": items / seconds if seconds else None,
            "bytes_per_second": size_bytes / seconds if seconds else None,
        }

    def _sums(self) -> tuple[int, int]:
        """Return the entries and bytes of all phases that counted what the job was for."""
        for purpose in _PURPOSES:
            phases = [one for one in self._phases if one.items.get(purpose)]
            if phases:
                items = sum(one.items[purpose] for one in phases)
                return items, sum(one.size_bytes.get(purpose, 0) for one in phases)
        return 0, 0

    def _risen(self, current: Phase) -> float | None:
        """Return the percent of the job; it stays where it was rather than fall."""
        share = current.share()
        if self._weights:
            share = self._weighed(current, share)
        if share is not None:
            percent = min(round(share * 100, 1), PERCENT_RUNNING_MAX)
            self._percent = max(percent, self._percent or 0.0)
        return self._percent

    def _weighed(self, current: Phase, share: float | None) -> float | None:
        weights = self._weights
        if current.name not in weights or share is None:
            return None
        done = {one.name for one in self._phases if one.share() is not None} - {current.name}
        before = sum(weight for name, weight in weights.items() if name in done)
        return (before + share * weights[current.name]) / sum(weights.values())

    def _with_counts(self, current: Phase) -> Phase:
        """Return the phase whose counters are shown: the last with a total, else with a count."""
        if current.total_items:
            return current
        phases = list(reversed(self._phases))
        planned = (phase for phase in phases if phase.total_items and phase.items)
        begun = (phase for phase in phases if phase.items)
        return next(planned, next(begun, current))

    def _rate(self, now: float, current: Phase) -> tuple[float | None, float | None]:
        self._samples.append((now, current.done_items(), current.done_bytes()))
        # The last sample from before the window stays: where nothing moves, the rate is zero.
        while len(self._samples) > 1 and self._samples[1][0] <= now - RATE_WINDOW_SECONDS:
            self._samples.popleft()
        then, items, size = self._samples[0]
        if len(self._samples) == 1:
            then, items, size = current.started, 0, 0
        passed = now - then
        if passed <= 0 or self._waits_for or current.went_back:
            return None, None
        moved = current.done_items() - items, current.done_bytes() - size
        return _speed(moved[0], passed), _speed(moved[1], passed)


def _speed(moved: int, seconds: float) -> float | None:
    """Return a rate; None where nothing moved, or where what is counted became another."""
    return moved / seconds if moved > 0 else None


def _eta(phase: Phase, rate: tuple[float | None, float | None], now: float) -> int | None:
    share = phase.share()
    if share is None or (now - phase.started < ETA_MIN_SECONDS and share < ETA_MIN_SHARE):
        return None
    pairs = ((phase.total_items, phase.done_items()), (phase.total_bytes, phase.done_bytes()))
    etas = [
        (total - done) / speed
        for (total, done), speed in zip(pairs, rate, strict=True)
        if total and speed and done <= total
    ]
    return round(max(etas)) if etas else None


def _phase_data(phase: Phase, now: float) -> dict[str, Any]:
    return {
        "name": phase.name,
        "seconds": round((phase.ended or now) - phase.started, 3),
        "items": {counter.value: count for counter, count in phase.items.items()},
        "bytes": {counter.value: size for counter, size in phase.size_bytes.items() if size},
        "total_items": phase.total_items,
        "total_bytes": phase.total_bytes,
    }


def summary(
    done: str, amounts: Iterable[str], seconds: float | None = None, size_bytes: int | None = None
) -> str:
    """Return the sentence of a job that ended: `cloned 9,624 files, 274 MiB in 1.3 s (206 MiB/s)`.

    `amounts` are what was done, in words; `size_bytes` is what the rate is measured in. Without
    `seconds` neither time nor rate is known.
    """
    parts = [*amounts, size_text(size_bytes)] if size_bytes else list(amounts)
    text = f"{done} {', '.join(parts)}" if parts else done
    if seconds is None:
        return text
    rate = f" ({size_text(size_bytes / seconds)}/s)" if size_bytes and seconds > 0 else ""
    return f"{text} in {took(seconds)}{rate}"
