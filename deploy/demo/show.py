"""The output of the demonstration: one line per step with its time, one live line during work."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.live import Live
from rich.text import Text

#: Without a terminal, the progress of a job is printed this often.
_PLAIN_SECONDS = 10.0
_TITLE_WIDTH = 68


class DemoFailed(Exception):
    """A check failed, or an answer was wrong; one sentence, sometimes with a list."""


class Step:
    """A running step: its live line and its result."""

    def __init__(self, live: Live | None, console: Console, title: str) -> None:
        self._live = live
        self._console = console
        self._title = title
        self._printed = time.monotonic()
        self.found = ""

    def progress(self, text: str) -> None:
        """Rewrite the live line; without a terminal, print a line every `_PLAIN_SECONDS`."""
        if self._live is not None:
            self._live.update(_line("…", self._title, text, "cyan"))
        elif time.monotonic() - self._printed >= _PLAIN_SECONDS:
            self._printed = time.monotonic()
            self._console.print(f"  … {self._title}: {text}", highlight=False)


class Show:
    """The output of one demonstration."""

    def __init__(self) -> None:
        self._console = Console(soft_wrap=True)
        self._began = time.monotonic()
        self._status = 0

    def end_early(self, status: int) -> NoReturn:
        """End the demonstration with an exit status, as a signal's handler does.

        Raises:
            SystemExit: now. The interpreter loses what a handler raises within a finalizer, so the
                next step raises it again.
        """
        self._status = status
        sys.exit(status)

    def check(self) -> None:
        """Raise again what `end_early` raised, when that was lost.

        Raises:
            SystemExit: the demonstration has to end.
        """
        if self._status:
            sys.exit(self._status)

    def say(self, text: str) -> None:
        """Print a sentence."""
        self._console.print(text, highlight=False, markup=False)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Run one step; its line has the title, the result and the time."""
        self.check()
        began = time.monotonic()
        step = self._open(title)
        live = step._live  # noqa: SLF001 - the two classes belong together
        try:
            if live is not None:
                live.start()
            yield step
        finally:
            if live is not None:
                live.stop()
        took = time.monotonic() - began
        self._console.print(_line("✓", title, step.found, "green", took), highlight=False)

    def _open(self, title: str) -> Step:
        if not self._console.is_terminal:
            return Step(None, self._console, title)
        live = Live(_line("…", title, "", "cyan"), console=self._console, transient=True)
        return Step(live, self._console, title)

    def fail(self, text: str) -> None:
        """Print the reason of a failure."""
        self._console.print(Text(f"✗ {text}", style="red"))

    def end(self) -> None:
        """Print the last line."""
        took = time.monotonic() - self._began
        self._console.print(Text(f"All checks passed. {took:.1f} s in all.", style="bold green"))


def _line(mark: str, title: str, found: str, style: str, took: float | None = None) -> Text:
    text = Text(f"{mark} ", style=style)
    text.append(f"{title:<{_TITLE_WIDTH}}" if took is not None else title, style="default")
    if took is not None:
        text.append(f"{took:8.2f} s", style="bold")
    if found:
        text.append(f"   {found}", style="dim" if took is not None else "default")
    return text
