"""The tables of routes in docs/wire.md, as data for the tests that hold them."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "wire.md"
#: The doors whose routes have a table, each below a heading of its own.
DOORS = ("manager", "client", "internal")
_SECTION = re.compile(r"^### The (\w+) door$(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
_CELLS = re.compile(r"^\| ([A-Z]+) \| (.*) \|$", re.MULTILINE)
_PATH = re.compile(r"`(/[^`]*)`")
_TEST = re.compile(r"`([^:`]+)::(\w+)`")


class Row(NamedTuple):
    """One route: where it is, how it answers, who reads it, for how long, and its test."""

    door: str
    method: str
    path: str
    #: Statuses of answers that are no refusals.
    success: frozenset[int]
    #: Released clients that call it; empty when none does.
    readers: frozenset[str]
    #: The least patient of them waits so long (seconds); None: without end, or none calls it.
    patience: int | None
    file: str
    test: str

    @property
    def name(self) -> str:
        """What a test of this row is called."""
        return f"{self.door} {self.method} {self.path}"


def rows() -> list[Row]:
    """Return every row of the tables.

    Raises:
        AssertionError: a row has not the columns that it should have.
    """
    return [
        _row(door, cells[1], cells[2].split(" | "))
        for door, table in _SECTION.findall(PAGE.read_text("utf-8"))
        for cells in _CELLS.finditer(table)
    ]


def _row(door: str, method: str, cells: list[str]) -> Row:
    path, success, readers, patience, test = cells
    route, holder = _PATH.search(path), _TEST.search(test)
    assert route, cells
    assert holder, cells
    return Row(
        door,
        method,
        route[1],
        frozenset(int(status) for status in re.findall(r"\d{3}", success)),
        frozenset(readers.split(", ")) - {"none"},
        int(patience.removesuffix(" s")) if patience.endswith(" s") else None,
        holder[1],
        holder[2],
    )
