"""What a check found, as the examining process prints it, one line of JSON each."""

from typing import Literal

import msgspec
from msgspec import Struct

Status = Literal["ok", "not available", "wrong"]
#: Measured numbers by name; the name ends in its unit. A text says how something was measured.
Figures = dict[str, float | int | str]


class CheckResult(Struct, frozen=True):
    """One check: what was found, and for what is wrong, what an operator must change."""

    check: str
    status: Status
    text: str
    change: str | None = None
    seconds: float = 0.0
    figures: Figures = {}


class ProgressLine(Struct, frozen=True):
    """A line of the examining process: a check begins, or it has ended with its result."""

    check: str
    result: CheckResult | None = None


class Order(Struct, frozen=True):
    """What the examining process does; `clean` only removes what an earlier one left."""

    volume: str
    config: str
    write: bool = False
    big_bytes: int = 0
    clean: bool = False


class NotAvailable(Exception):
    """The check cannot be made here, or the volume does not have what it is about."""


class Wrong(Exception):
    """The check failed; `change` is what an operator must change."""

    def __init__(self, text: str, change: str) -> None:
        super().__init__(text)
        self.change = change


def encoded(line: ProgressLine) -> bytes:
    """Return a line of JSON, with its end."""
    return msgspec.json.encode(line) + b"\n"
