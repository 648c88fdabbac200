"""The forms of output: tables for people, lines with tabs for pipes, JSON and YAML for programs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.names import printable

#: Exit statuses of the command; the last is a shell's for Ctrl-C.
OK, FAILED, USAGE, PARTIAL, CANCELLED, INTERRUPTED = 0, 1, 2, 3, 4, 130
#: The option of commands that read the configuration of this node.
CONFIG_FILE = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="The configuration file; searched like the node does when absent.",
)
_STYLES = {
    "running": "cyan",
    "cancelling": "yellow",
    "succeeded": "green",
    "partial": "yellow",
    "failed": "red",
    "cancelled": "dim",
}


class Form(StrEnum):
    """What `-o` takes."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


def is_terminal() -> bool:
    """Return whether the output is a terminal."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print the value as one line of JSON."""
    click.echo(json.dumps(value))


@dataclass(frozen=True, slots=True)
class Output:
    """The form that was requested; None is a table on a terminal, and lines with tabs elsewhere."""

    form: Form | None = None

    @property
    def is_data(self) -> bool:
        """Whether a program reads the output."""
        return self.form in (Form.JSON, Form.YAML)

    @property
    def is_wide(self) -> bool:
        """Whether a table has its further columns."""
        return self.form is Form.WIDE

    @property
    def for_people(self) -> bool:
        """Whether amounts have units, and tables have headers."""
        return self.form in (Form.TABLE, Form.WIDE) or (self.form is None and is_terminal())

    def data(self, value: Any) -> None:  # noqa: ANN401 - any JSON value
        """Print a value as one line of JSON, or as one document of YAML."""
        if self.form is not Form.YAML:
            print_json(value)
            return
        import yaml  # type: ignore[import-untyped] # noqa: PLC0415 - untyped; no other form pays for it

        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, explicit_start=True)
        click.echo(text, nl=False)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
        """Print rows; without any, say on the error output what is empty."""
        if not rows:
            click.echo(empty, err=True)
        elif self.for_people:
            _print_table(columns, rows)
        else:
            for row in rows:  # nothing is cut
                click.echo("\t".join(printable(cell) for cell in row))


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose cells never wrap but in the last column: ids can be copied."""
    safe = [[printable(cell) for cell in row] for row in rows]
    table = Table(box=None, header_style="bold", pad_edge=False)
    widths = [max(len(cell) for cell in column) for column in zip(columns, *safe, strict=True)]
    last = len(columns) - 1
    for number, name in enumerate(columns):
        fixed = number != last
        width = widths[number] if fixed else min(widths[number], max(len(name), 20))
        table.add_column(name, overflow="fold", no_wrap=fixed, min_width=width)
    for row in safe:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    console = Console()
    # A terminal that is narrower than the ids breaks their line itself, and copies it as one.
    console.width = max(console.width, sum(widths[:last]) + min(widths[last], 20) + 2 * last)
    console.print(table)
