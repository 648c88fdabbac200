"""The output of the supervisor: people read it on a terminal, programs read JSON elsewhere.

The processes write lines of JSON. On a terminal each becomes one coloured line with one time and
one name. Elsewhere each line is one JSON object with `timestamp`, `component`, `level` and `event`.
A process that writes plain text, as the store does, has its text under `event`.
"""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson
from honcho.colour import get_colours

from core.names import local_seconds, moment

#: Longer lines are printed in pieces.
LINE_BYTES = 65_536
OWN_NAME = "vfolder"
_RESET = "\x1b[0m"
_LEVELS = {
    "debug": "\x1b[2m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[31;1m",
}
_TIME, _NAME, _LEVEL = "timestamp", "component", "level"


class LinePrinter:
    """Prints lines of processes; goes silent when the reader of the output has closed it."""

    def __init__(self, names: Sequence[str]) -> None:
        colours = get_colours()
        self._colours = {name: f"\x1b[{next(colours)}m" for name in names}
        self._width = max(map(len, (*names, OWN_NAME)))
        self._for_people = sys.stdout.isatty()
        self._quiet = False

    def say(self, text: str) -> None:
        """Print a line of the supervisor itself."""
        self.show(OWN_NAME, text)

    def show(self, name: str, text: str | bytes) -> None:
        """Print a line of a process; bytes that are not UTF-8 are replaced."""
        event = _event_of(name, text)
        self._print(self._line(name, event) if self._for_people else orjson.dumps(event).decode())

    def greet(self, text: str) -> None:
        """Print the greeting: as text for people, as one event with its lines elsewhere."""
        if self._for_people:
            self._print(text)
            return
        first, *lines = [line.strip() for line in text.splitlines() if line.strip()]
        self._print(orjson.dumps(_event_of(OWN_NAME, first) | {"greeting": lines}).decode())

    def _line(self, name: str, event: dict[str, Any]) -> str:
        """Return `10:15:42 worker  │ job ended  state=succeeded`, in colours."""
        facts = dict(event)
        at, level = facts.pop(_TIME), facts.pop(_LEVEL, "info")
        facts.pop(_NAME, None)
        said, trace = str(facts.pop("event", "")), facts.pop("exception", None)
        words = "  ".join(f"{key}={_fact(value)}" for key, value in facts.items())
        colour, shade = self._colours.get(name, ""), _LEVELS.get(level, "")
        head = f"{colour}{_clock(at)} {name:<{self._width}} |{_RESET}"
        text = f"{shade}{_visible(said)}{_RESET if shade else ''}"
        line = f"{head} {text}  {words}" if words else f"{head} {text}"
        return line if trace is None else f"{line}\n{trace}"

    def _print(self, text: str) -> None:
        if self._quiet:
            return
        try:
            print(text, flush=True)  # noqa: T201 - this is the program's output
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
    known = {_TIME: _now(), _LEVEL: "info", _NAME: name}
    if isinstance(found, dict) and "event" in found:
        return known | found
    return known | {"event": line}


def _now() -> str:
    return moment(time.time())


def _clock(at: object) -> str:
    """Return the local time of an event; now when it says none."""
    try:
        seconds = local_seconds(str(at))
    except ValueError:
        seconds = time.time()
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def _fact(value: object) -> str:
    """Return a fact as words: no syntax of a programming language."""
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(map(_fact, value)) or "none"
        case float():
            return f"{value:.3g}"
    return _visible(str(value))


def _visible(text: str) -> str:
    """Return the text with control characters escaped: the terminal does not obey them."""
    return "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in text)
