"""Output of jobs, nodes and volumes: tables on a terminal, columns with tabs elsewhere."""

import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.cli.http import CANCELLED, FAILED, OK, PARTIAL, printable

#: The exit status for each final state of a job.
EXIT_CODES = {"succeeded": OK, "failed": FAILED, "partial": PARTIAL, "cancelled": CANCELLED}
_STYLES = {
    "running": "cyan",
    "cancelling": "yellow",
    "succeeded": "green",
    "partial": "yellow",
    "failed": "red",
    "cancelled": "dim",
}


def is_terminal() -> bool:
    """Return whether the output is a terminal."""
    return sys.stdout.isatty()


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on a terminal; elsewhere one line per row with tabs, and nothing is cut."""
    safe = [[printable(cell) for cell in row] for row in rows]
    if not is_terminal():
        for row in safe:
            click.echo("\t".join(row))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in safe:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    Console().print(table)


def job_row(job: dict[str, Any]) -> list[str]:
    """Return the columns of a job in a list."""
    return [job["id"], job["verb"], job["state"], job["volume"], job["created_at"], sentence(job)]


def sentence(job: dict[str, Any]) -> str:
    """Return one sentence about a job: its progress, why it waits, or how it ended."""
    if job["done"]:
        if job["error"]:
            return str(job["error"]["detail"])
        return str((job["result"] or {}).get("sentence") or job["state_reason"] or job["state"])
    progress = (job["progress"] or {}).get("text")
    return str(job["state_reason"] or progress or job["state"])


def show_job(job: dict[str, Any]) -> None:
    """Print all facts of a job, one per line; unknown ones are left out."""
    facts = {key: value for key, value in job.items() if key not in ("links", "bgtask_id")}
    facts["progress"] = (job["progress"] or {}).get("text")
    facts["error"] = (job["error"] or {}).get("detail")
    for name, value in facts.items():
        if value is None or value == "":
            continue
        if isinstance(value, dict):
            for below, inner in value.items():
                click.echo(f"{name}.{below}: {printable(str(inner))}")
        else:
            click.echo(f"{name}: {printable(str(value))}")


def end_of(job: dict[str, Any]) -> int:
    """Return the exit status for the state of a job; 0 while it has not ended."""
    return EXIT_CODES.get(job["state"], OK)
