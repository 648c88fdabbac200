"""The output of the supervisor: every line of every process, after the name of the process."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from honcho.colour import get_colours
from honcho.printer import Message, Printer

#: Longer lines are printed in pieces.
LINE_BYTES = 65_536
OWN_NAME = "vfolder"


class LinePrinter:
    """Prints lines of processes; goes silent when the reader of the output has closed it."""

    def __init__(self, names: Sequence[str]) -> None:
        colours = get_colours()
        self._colours = {name: next(colours) for name in names}
        self._printer = Printer(sys.stdout, width=max(map(len, (*names, OWN_NAME))))
        self._quiet = False

    def say(self, text: str) -> None:
        """Print a line of the supervisor itself."""
        self.show(OWN_NAME, text)

    def show(self, name: str, text: str | bytes) -> None:
        """Print the output of a process; bytes that are not UTF-8 are replaced."""
        if self._quiet:
            return
        now = datetime.now().astimezone()
        colour = self._colours.get(name)
        try:
            self._printer.write(Message("line", text, now, name, colour))
        except BrokenPipeError:
            self._go_silent()

    def plain(self, text: str) -> None:
        """Print text without a name before it (the greeting)."""
        try:
            print(text, flush=True)  # noqa: T201 - this is the program's output
        except BrokenPipeError:
            self._go_silent()

    def _go_silent(self) -> None:
        self._quiet = True
        with suppress(OSError):  # so that the last flush of the interpreter does not fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
