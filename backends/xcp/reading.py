"""What XCP prints, read: lines of progress, the block at the end, and its complaints.

Both known forms of the block are read, old (`18 scanned, 0 matched, 17 copied, 0 error`) and new
(`Stats : 18 scanned, 17 copied, 18 indexed`). Counts above a million come rounded (`1.01M`).
"""

import re
from collections import deque
from dataclasses import dataclass, field

#: Lines at the end that are kept to be searched for complaints.
LINES_KEPT = 400
#: A line longer than this is cut: names in it are not needed.
LINE_MAX = 4096

_COUNT_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9}
_BYTE_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_COUNT = re.compile(r"(?<![\w.])([\d,]+(?:\.\d+)?)([KMGB]?) (?:different )?([a-z]+)\b")
_BYTES = re.compile(r"([\d,]+(?:\.\d+)?) ?([KMGTP]?)(?:i?B) (in|out)\b")
_STATUS = re.compile(r"^\s*STATUS\s*:\s*(\w+)\s*$")
_STATS = re.compile(r"^\s*(?:Stats\s*:\s*)?(?=[\d,.]+[KMGB]? scanned\b)")


@dataclass(frozen=True, slots=True)
class Tally:
    """What one line counts; a word that is not in it is absent."""

    counts: dict[str, int]
    in_bytes: int | None = None
    out_bytes: int | None = None


@dataclass(slots=True)
class Summary:
    """What a whole run printed, as far as it is needed.

    `status` is the word after `STATUS`, None when it never came; `counts` are those of the last
    line that has any; `complaints` are the lines that XCP itself calls errors.
    """

    status: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    out_bytes: int | None = None
    complaints: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))

    @property
    def errors(self) -> int:
        """Errors that were counted; complaints when none were counted."""
        counted = max(self.counts.get("error", 0), self.counts.get("errors", 0))
        return max(counted, len(self.complaints))

    @property
    def different(self) -> int:
        """Entries that a verification found to differ."""
        return max(self.counts.get("item", 0), self.counts.get("items", 0))

    def read(self, line: str) -> Tally | None:
        """Take one line; what it counts, when it is one of progress or of the end."""
        line = line[:LINE_MAX]
        self.tail.append(line)
        if found := _STATUS.match(line):
            self.status = found[1].upper()
        if "ERROR" in line:
            self.complaints.append(line)
        told = tally(line)
        if told is not None:
            self.counts = told.counts
            self.out_bytes = told.out_bytes if told.out_bytes is not None else self.out_bytes
        elif line.lstrip().startswith("Speed"):
            self.out_bytes = _bytes(line).get("out", self.out_bytes)
        return told

    def says(self, *words: str) -> bool:
        """Whether one of the last lines has one of these words."""
        return any(word in line for line in self.tail for word in words)


def tally(line: str) -> Tally | None:
    """Read a line that counts what was scanned; None for any other line."""
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
