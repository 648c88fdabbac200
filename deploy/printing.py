"""The output of the supervisor: people read it on a terminal, programs read JSON elsewhere.

The processes write lines of JSON. On a terminal each becomes one coloured line with one time and
one name, and no fact that is null. Elsewhere each line is one JSON object with `timestamp`,
`component`, `level` and `event`. A process that writes plain text, as the store does,
has its text under `event`.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import click
import orjson
from honcho.colour import get_colours
from honcho.printer import Message, Printer

from core.names import local_seconds, moment, printable, utc

#: Longer lines are printed in pieces.
LINE_BYTES = 65_536
OWN_NAME = "vfolder"
_STYLES: dict[str, dict[str, Any]] = {
    "debug": {"dim": True},
    "warning": {"fg": "yellow"},
    "error": {"fg": "red"},
    "critical": {"fg": "red", "bold": True},
}
_TIME, _NAME, _LEVEL = "timestamp", "component", "level"


class LinePrinter:
    """Prints to stdout; nothing more once its reader has gone away (`… | head`)."""

    def __init__(self, names: Sequence[str]) -> None:
        colours = get_colours()
        self._colours = {name: next(colours) for name in names}
        self._printer = Printer(sys.stdout, width=max(map(len, (*names, OWN_NAME))))
        self._for_people = sys.stdout.isatty()
        self._quiet = False

    def say(self, text: str) -> None:
        """Print a line of the supervisor itself."""
        self.show(OWN_NAME, text)

    def show(self, name: str, text: str | bytes) -> None:
        """Print a line of a process; bytes that are not UTF-8 are replaced."""
        event = _event_of(name, text)
        if self._for_people:
            at, colour = _local_time(event[_TIME]), self._colours.get(name)
            message = Message("line", _words(event), at, name, colour)
            self._unless_quiet(lambda: self._printer.write(message))
        else:
            self._print(orjson.dumps(event).decode())

    def greet(self, text: str) -> None:
        """Print the greeting: as text for people, as one event with its lines elsewhere."""
        if self._for_people:
            self._print(text)
            return
        first, *lines = [line.strip() for line in text.splitlines() if line.strip()]
        self._print(orjson.dumps(_event_of(OWN_NAME, first) | {"greeting": lines}).decode())

    def _print(self, text: str) -> None:
        self._unless_quiet(lambda: print(text, flush=True))  # noqa: T201 - this is the program's output

    def _unless_quiet(self, write: Callable[[], None]) -> None:
        if self._quiet:
            return
        try:
            write()
        except BrokenPipeError:
            self._go_silent()

    def _go_silent(self) -> None:
        self._quiet = True
        with suppress(OSError):  # so that the last flush of the interpreter does not fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _event_of(name: str, text: str | bytes) -> dict[str, Any]:
    """Return the event of a line: its JSON, or its text with the time of now."""
    line = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    try:
        found = orjson.loads(line) if line.startswith("{") else None
    except orjson.JSONDecodeError:
        found = None
    known = {_TIME: moment(time.time()), _LEVEL: "info", _NAME: name}
    if isinstance(found, dict) and "event" in found:
        return known | found
    return known | {"event": line}


def _words(event: dict[str, Any]) -> str:
    """Return `job ended  state=succeeded` in the style of its level, and a traceback below it."""
    facts = {
        key: value
        for key, value in event.items()
        if key not in (_TIME, _NAME) and value is not None
    }
    style = _STYLES.get(str(facts.pop(_LEVEL)), {})
    said = click.style(printable(str(facts.pop("event"))), **style)
    trace = str(facts.pop("exception", "")).splitlines()
    words = "  ".join([said, *(f"{key}={_fact(value)}" for key, value in facts.items())])
    return "\n".join([words, *map(printable, trace)])


def _local_time(at: object) -> datetime:
    """Return the local time of an event; now when it says none."""
    try:
        seconds = local_seconds(str(at))
    except ValueError:
        seconds = time.time()
    return utc(seconds).astimezone()


def _fact(value: object) -> str:
    """Return a fact as words: no syntax of a programming language."""
    match value:
        case None:  # within a list
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(map(_fact, value)) or "none"
        case float():
            return f"{value:.3g}"
    return printable(str(value))
