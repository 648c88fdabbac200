"""The forms of output: tables for people, lines with tabs for pipes, JSON and YAML for programs."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Any

import click

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
#: Exit statuses of people's commands: no permission, not there, a limit is reached.
FORBIDDEN, ABSENT, LIMITED = 5, 6, 7
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


class ApiRefused(click.ClickException):
    """The door refused the request, or did not answer; `fields` name what is wrong with it."""

    def __init__(
        self, detail: str, hint: str = "", exit_code: int = FAILED, fields: tuple[str, ...] = ()
    ) -> None:
        super().__init__(detail)
        self.hint = hint
        self.fields = fields
        self.exit_code = exit_code  # type: ignore[misc] # click's own sub-classes do the same

    def show(self, file: Any = None) -> None:  # noqa: ANN401 - click's own signature
        """Print the error, and what to do next."""
        click.echo(f"Error: {printable(self.message)}", file=file, err=file is None)
        for field in self.fields:
            click.echo(f"  {printable(field)}", file=file, err=file is None)
        if self.hint:
            click.echo(f"Next: {printable(self.hint)}", file=file, err=file is None)


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
    from rich.console import Console  # noqa: PLC0415 - loading it takes as long as a short command
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

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


# -- Options ---------------------------------------------------------------------------------------
FORM_OPTION = click.option(
    "-o",
    "--output",
    type=click.Choice([form.value for form in Form]),
    help="The form of the output.",
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="As -o json.")


#: The names of the options of commands that call the manager door.
DOOR_OPTIONS = ("url", "secret_file", "output", "as_json")


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `-o` and `--json` to a command that calls no door; its argument is `output`."""

    @FORM_OPTION
    @JSON_OPTION
    @wraps(command)
    def wrapped(*given: Any, **options: Any) -> Any:  # noqa: ANN401 - click passes any
        for name in ("output", "as_json"):
            options.pop(name)
        return command(*given, output=chosen_output(), **options)

    return wrapped


def chosen_output() -> Output:
    """Return the form that the command, or a group above it, was given."""
    chosen = chosen_options("output", "as_json")
    form = Form.JSON if chosen["as_json"] else chosen["output"]
    return Output(form and Form(form))


def chosen_options(*names: str) -> dict[str, Any]:
    """Return options of a command and the groups above it: those nearest to its own name win."""
    context: click.Context | None = click.get_current_context()
    contexts = []
    while context is not None:
        contexts.append(context)
        context = context.parent
    return {
        name: next((found for one in contexts if (found := one.params.get(name))), None)
        for name in names
    }


def door_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--url`, `--secret-file`, `-o` and `--json`, which groups of commands take, too."""
    options = (
        click.option("--url", help="The manager door (VFOLDER_URL)."),
        click.option(
            "--secret-file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A file with the door's secret (VFOLDER_SECRET_FILE).",
        ),
        FORM_OPTION,
        JSON_OPTION,
    )
    for option in reversed(options):
        command = option(command)
    return command


def door_group(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a group take the options of its commands before their names."""

    @door_options
    @wraps(command)
    def wrapped(*given: Any, **options: Any) -> Any:  # noqa: ANN401 - click passes any
        for name in DOOR_OPTIONS:  # the commands read them from the context
            options.pop(name)
        return command(*given, **options)

    return wrapped
