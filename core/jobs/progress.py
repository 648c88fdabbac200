"""Progress of a job: phases with counters, a rate, an ETA, and one sentence for people.

The API, the event stream, the CLI and Flower show the same sentence:
`copy 41%  3.1/7.5 TiB  812 MiB/s  eta 1h28m  18,204/51,000 files  2 errors`. An unknown value is
left out of the sentence and is null in the data.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from core.jobs.control import Counter

#: The rate is measured over the last seconds, this many.
RATE_WINDOW_SECONDS = 30.0
#: There is no ETA before the phase is this old, unless more than `ETA_MIN_SHARE` is done.
ETA_MIN_SECONDS = 10.0
ETA_MIN_SHARE = 0.01
#: A job that counts nothing for this long is reported as stalled.
STALLED_SECONDS = 60.0
#: This many faults keep their path and reason; the rest are only counted.
FAULTS_MAX = 100

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_UNIT_STEP = 1024
_DECIMALS_BELOW = 10
#: The counters that mean that an entry is done, for percent and ETA.
_DONE = (Counter.COPIED, Counter.VERIFIED, Counter.DELETED, Counter.SKIPPED, Counter.FAILED)


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


class Progress:
    """The counters of one run. One thread adds to them, another takes snapshots."""

    def __init__(self, clock: Any = time.monotonic) -> None:  # noqa: ANN401 - a callable clock
        self._clock = clock
        self._lock = threading.Lock()
        self._phases: list[Phase] = []
        self._samples: deque[tuple[float, int, int]] = deque()
        self._moved = clock()
        self._entry = ""
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

    def expect(self, items: int | None = None, size_bytes: int | None = None) -> None:
        """Set the totals of the phase."""
        with self._lock:
            current = self._current()
            current.total_items = items if items is not None else current.total_items
            current.total_bytes = size_bytes if size_bytes is not None else current.total_bytes

    def count(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        """Add to a counter of the phase."""
        with self._lock:
            current = self._current()
            current.items[counter] = current.items.get(counter, 0) + items
            current.size_bytes[counter] = current.size_bytes.get(counter, 0) + size_bytes
            self._moved = self._clock()

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
            now = self._clock()
            current = self._current()
            rate = self._rate(now, current)
            eta = _eta(current, rate, now)
            shown = self._with_counts(current)
            stalled = now - self._moved
            data: dict[str, Any] = {
                "phase": current.name,
                "percent": _percent(current),
                "done_items": shown.done_items(),
                "total_items": shown.total_items,
                "done_bytes": shown.done_bytes(),
                "total_bytes": shown.total_bytes,
                "bytes_per_second": rate[1],
                "items_per_second": rate[0],
                "eta_seconds": eta,
                "stalled_seconds": round(stalled) if stalled >= STALLED_SECONDS else None,
                "entry": self._entry or None,
                "errors": self.fault_count,
                "phases": [_phase_data(phase, now) for phase in self._phases],
            }
        data["text"] = sentence(data)
        return data

    def _with_counts(self, current: Phase) -> Phase:
        """Return the phase whose counters are shown: the last one that has any."""
        counted = (phase for phase in reversed(self._phases) if phase.items)
        return current if current.total_items else next(counted, current)

    def _rate(self, now: float, current: Phase) -> tuple[float | None, float | None]:
        self._samples.append((now, current.done_items(), current.done_bytes()))
        while self._samples[0][0] < now - RATE_WINDOW_SECONDS and len(self._samples) > 1:
            self._samples.popleft()
        then, items, size = self._samples[0]
        if len(self._samples) == 1:
            then, items, size = current.started, 0, 0
        passed = now - then
        if passed <= 0:
            return None, None
        return (current.done_items() - items) / passed, (current.done_bytes() - size) / passed


def _percent(phase: Phase) -> float | None:
    share = phase.share()
    return None if share is None else round(share * 100, 1)


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


def sentence(data: dict[str, Any]) -> str:
    """Return the sentence of a snapshot; unknown parts are left out."""
    percent = data["percent"]
    parts = [data["phase"] + (f" {percent:.0f}%" if percent is not None else "")]
    if data["done_bytes"] or data["total_bytes"]:
        parts.append(_bytes_pair(data["done_bytes"], data["total_bytes"]))
    if data["stalled_seconds"] is not None:
        parts.append(f"stalled {duration(data['stalled_seconds'])}")
    elif data["bytes_per_second"]:
        parts.append(f"{size(data['bytes_per_second'])}/s")
    if data["eta_seconds"] is not None:
        parts.append(f"eta {duration(data['eta_seconds'])}")
    if data["total_items"]:
        parts.append(f"{data['done_items']:,}/{data['total_items']:,} files")
    elif data["done_items"]:
        parts.append(f"{data['done_items']:,} files")
    if data["errors"]:
        parts.append(f"{data['errors']:,} error{'s' if data['errors'] > 1 else ''}")
    return "  ".join(parts)


def _unit(number: float) -> int:
    unit = 0
    while number >= _UNIT_STEP and unit + 1 < len(_BYTE_UNITS):
        number /= _UNIT_STEP
        unit += 1
    return unit


def _scaled(number: float, unit: int) -> str:
    value = number / _UNIT_STEP**unit
    return f"{value:.1f}" if unit and value < _DECIMALS_BELOW else f"{value:.0f}"


def size(number: float) -> str:
    """Return a size for people: `812 MiB`, `3.1 TiB`."""
    unit = _unit(number)
    return f"{_scaled(number, unit)} {_BYTE_UNITS[unit]}"


def _bytes_pair(done: int, total: int | None) -> str:
    if total is None:
        return size(done)
    unit = _unit(max(done, total))
    return f"{_scaled(done, unit)}/{_scaled(total, unit)} {_BYTE_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Return a duration for people: `42s`, `3m05s`, `1h28m`, `2d04h`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02d}h"
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
