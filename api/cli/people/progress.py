"""The line of progress: rewritten on a terminal, one line per ten seconds elsewhere.

It goes to the error output, so that the output has results only.
"""

import shutil
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from api.cli.forms import Output
from core.names import printable, progress_text

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from vfolder_client import Job, TransferProgress

#: The shortest time between two lines: on a terminal, and elsewhere (seconds).
TERMINAL_SECONDS, LINE_SECONDS = 0.25, 10.0
#: The rate is measured over these last seconds.
RATE_SECONDS = 30.0
#: There is no ETA before so many seconds, unless more than this share is done.
ETA_MIN_SECONDS, ETA_MIN_SHARE = 10.0, 0.01
#: A transfer in which nothing moves for so long is stalled (seconds).
STALLED_SECONDS = 60.0
_PERCENT_RUNNING_MAX = 99.0
_CLEAR = "\r\x1b[K"


class _TerminalLine:
    """One line that changes."""

    def __init__(self, output: Output) -> None:
        self._terminal = sys.stderr.isatty()
        self._silent = output.is_data and not self._terminal
        self._next = time.monotonic() + (0 if self._terminal else LINE_SECONDS)
        self._shown = False

    @property
    def is_due(self) -> bool:
        """Whether it is time for a new text."""
        return not self._silent and time.monotonic() >= self._next

    def show(self, text: str) -> None:
        """Print a text in place of the one before."""
        self._next = time.monotonic() + (TERMINAL_SECONDS if self._terminal else LINE_SECONDS)
        safe = printable(text)
        if self._terminal:
            width = max(20, shutil.get_terminal_size().columns - 1)
            sys.stderr.write(f"{_CLEAR}{safe[:width]}")
        else:
            sys.stderr.write(f"{safe}\n")
        sys.stderr.flush()
        self._shown = True

    def end(self) -> None:
        """Remove the line from a terminal."""
        if self._terminal and self._shown:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()


class TransferLine:
    """The progress of an upload or download; called with each `TransferProgress`."""

    def __init__(self, output: Output) -> None:
        self._line = _TerminalLine(output)
        #: Seconds since the begin, and the bytes that had come then.
        self._past: deque[tuple[float, int]] = deque([(0.0, 0)])
        self._moved_at = 0.0

    def __call__(self, progress: "TransferProgress") -> None:
        """Show the progress, where it is time to."""
        self._remember(progress)
        if self._line.is_due:
            self._line.show(progress_text(self._data(progress)))

    def end(self) -> None:
        """Remove the line."""
        self._line.end()

    def _remember(self, progress: "TransferProgress") -> None:
        if progress.moved_bytes != self._past[-1][1]:
            self._moved_at = progress.seconds
        self._past.append((progress.seconds, progress.moved_bytes))
        while len(self._past) > 2 and self._past[1][0] < progress.seconds - RATE_SECONDS:  # noqa: PLR2004 - the oldest of the window, and one behind it
            self._past.popleft()

    def _data(self, progress: "TransferProgress") -> dict[str, Any]:
        """Return the figures as jobs have them; unknown ones are None."""
        (then, before), (now, moved) = self._past[0], self._past[-1]
        rate = (moved - before) / (now - then) if now > then else None
        total = progress.total_bytes
        share = progress.done_bytes / total if total else None
        stalled = now - self._moved_at
        left = None if total is None else total - progress.done_bytes
        known = now >= ETA_MIN_SECONDS or (share or 0) >= ETA_MIN_SHARE
        eta = round(left / rate) if known and left is not None and rate else None
        return {
            "phase": progress.verb,
            "percent": None if share is None else min(100 * share, _PERCENT_RUNNING_MAX),
            "done_bytes": progress.done_bytes,
            "total_bytes": total,
            "stalled_seconds": stalled if stalled >= STALLED_SECONDS else None,
            "bytes_per_second": rate,
            "eta_seconds": eta if stalled < STALLED_SECONDS else None,
            "done_items": progress.done_items,
            "total_items": progress.total_items,
            "errors": progress.errors,
        }


class JobLine:
    """The progress of a job."""

    def __init__(self, output: Output) -> None:
        self._line = _TerminalLine(output)

    def follow(self, job: "Job") -> "Job":
        """Show a job until it has ended, and return it.

        Raises:
            JobFailed: it ended in another way than success.
        """
        try:
            return job.wait(self._show)
        finally:
            self._line.end()

    def _show(self, job: "Job") -> None:
        if self._line.is_due and not job.done:
            self._line.show(f"{job.state}: {job.sentence}")
