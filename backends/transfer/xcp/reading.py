"""Parse the output of XCP: progress lines, the block at the end, and error lines.

Both known forms of the block are parsed, old (`18 scanned, 0 matched, 17 copied, 0 error`) and new
(`Stats : 18 scanned, 17 copied, 18 indexed`). XCP rounds counts above a million (`1.01M`).
"""

import re
from collections import deque
from dataclasses import dataclass, field

#: How many of the last lines are kept, to search them for errors.
LINES_KEPT = 400
#: Longer lines are cut: the names in them are not needed.
LINE_MAX = 4096

_COUNT_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9}
_BYTE_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_COUNT = re.compile(r"(?<![\w.])([\d,]+(?:\.\d+)?)([KMGB]?) (?:different )?([a-z]+)\b")
_BYTES = re.compile(r"([\d,]+(?:\.\d+)?) ?([KMGTP]?)(?:i?B) (in|out)\b")
_STATUS = re.compile(r"^\s*STATUS\s*:\s*(\w+)\s*$")
_STATS = re.compile(r"^\s*(?:Stats\s*:\s*)?(?=[\d,.]+[KMGB]? scanned\b)")


@dataclass(frozen=True, slots=True)
class Tally:
    """The counters of one line; a counter that the line lacks is absent."""

    counts: dict[str, int]
    in_bytes: int | None = None
    out_bytes: int | None = None


@dataclass(slots=True)
class Summary:
    """The parts of a run's output that are needed.

    `status` is the word after `STATUS`; None without such a line. `counts` come from the last line
    that has any. `complaints` are the lines that XCP itself marks as errors.
    """

    status: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    out_bytes: int | None = None
    complaints: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))

    @property
    def errors(self) -> int:
        """Return the number of counted errors, or of error lines when nothing was counted."""
        counted = max(self.counts.get("error", 0), self.counts.get("errors", 0))
        return max(counted, len(self.complaints))

    @property
    def different(self) -> int:
        """Return how many entries differ after a verification."""
        return max(self.counts.get("item", 0), self.counts.get("items", 0))

    def read(self, line: str) -> Tally | None:
        """Take one line; return its counters, if it has any."""
        line = line[:LINE_MAX]
        self.tail.append(line)
        if found := _STATUS.match(line):
            self.status = found[1].upper()
        if "ERROR" in line:
            self.complaints.append(line)
        output = tally(line)
        if output is not None:
            self.counts = output.counts
            self.out_bytes = output.out_bytes if output.out_bytes is not None else self.out_bytes
        elif line.lstrip().startswith("Speed"):
            self.out_bytes = _bytes(line).get("out", self.out_bytes)
        return output

    def says(self, *words: str) -> bool:
        """Return whether one of the last lines contains one of these words."""
        return any(word in line for line in self.tail for word in words)


def tally(line: str) -> Tally | None:
    """Parse a line with scan counters; None for any other line."""
    if not _STATS.match(line):
        return None
    moved = _bytes(line)
    counts = {
        word: _number(number, _COUNT_UNITS[unit]) for number, unit, word in _COUNT.findall(line)
    }
    return Tally(counts, moved.get("in"), moved.get("out"))


def _bytes(line: str) -> dict[str, int]:
    return {way: _number(number, _BYTE_UNITS[unit]) for number, unit, way in _BYTES.findall(line)}


def _number(text: str, unit: int) -> int:
    return round(float(text.replace(",", "")) * unit)
