"""Jobs for people: rows of lists, all facts of one, and the exit status."""

from typing import Any

import click

from api.cli.forms import CANCELLED, FAILED, OK, PARTIAL, Output
from core.names import duration, printable, size_text

#: The exit status for each final state of a job.
EXIT_CODES = {"succeeded": OK, "failed": FAILED, "partial": PARTIAL, "cancelled": CANCELLED}
#: Members of a job that repeat others or are for programs.
_LEFT_OUT = ("links", "bgtask_id")
JOB_COLUMNS = ("id", "verb", "state", "volume", "created", "how far")
WIDE_COLUMNS = ("id", "verb", "state", "volume", "created", "ended", "node", "attempt", "requester")


def job_row(job: dict[str, Any]) -> list[str]:
    """Return the columns of a job in a list."""
    return [job["id"], job["verb"], job["state"], job["volume"], job["created_at"], sentence(job)]


def show_jobs(jobs: list[dict[str, Any]], output: Output) -> None:
    """Print a list of jobs."""
    columns: tuple[str, ...] = JOB_COLUMNS
    rows = [job_row(job) for job in jobs]
    if output.is_wide:
        columns = (*WIDE_COLUMNS, JOB_COLUMNS[-1])
        names = ("ended_at", "node", "attempt", "requester")
        rows = [
            [*row[:-1], *(text_of(job[name]) for name in names), row[-1]]
            for job, row in zip(jobs, rows, strict=True)
        ]
    output.table(columns, rows, "No job matches.")


def sentence(job: dict[str, Any]) -> str:
    """Return one sentence about a job: its progress, why it waits, or how it ended."""
    if job["done"]:
        if job["error"]:
            return str(job["error"]["detail"])
        return str((job["result"] or {}).get("sentence") or job["state_reason"] or job["state"])
    progress = job["progress"] or {}
    if job["state"] == "running" and job["state_reason"] and progress.get("percent") is not None:
        return f"{job['state_reason']}, at {progress['percent']:g}%"
    return str(job["state_reason"] or progress.get("text") or job["state"])


def text_of(value: Any, name: str = "") -> str:  # noqa: ANN401 - any JSON value
    """Return a value for people; its name says its unit (`…_bytes`, `…_seconds`)."""
    if value is None:
        return "unknown" if name else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(text_of(one) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {text_of(one, key)}" for key, one in value.items()) or "none"
    if isinstance(value, int | float):
        return _amount(value, name)
    return str(value)


def _amount(value: float, name: str) -> str:
    word = name.rpartition(".")[2]
    if word.endswith("bytes_per_second"):
        return f"{size_text(value)}/s"
    if word.endswith("_bytes"):
        exact = f" ({value:,} bytes)" if size_text(value) != f"{value} B" else ""
        return f"{size_text(value)}{exact}"
    if word.endswith("_seconds"):
        return duration(value)
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def show_job(job: dict[str, Any]) -> None:
    """Print all facts of a job, one per line; unknown ones are left out."""
    facts = {key: value for key, value in job.items() if key not in _LEFT_OUT}
    facts["progress"] = (job["progress"] or {}).get("text")
    facts["error"] = (job["error"] or {}).get("detail")
    for name, value in facts.items():
        _show_fact(name, value)


def _show_fact(name: str, value: Any) -> None:  # noqa: ANN401 - any JSON value
    if value is None or value in ("", [], {}):
        return
    if isinstance(value, dict):
        for below, inner in value.items():
            _show_fact(f"{name}.{below}", inner)
    elif isinstance(value, list) and isinstance(value[0], dict):
        for number, inner in enumerate(value, 1):
            _show_fact(f"{name}.{number}", inner)
    else:
        click.echo(f"{name}: {printable(text_of(value, name))}")


def end_of(job: dict[str, Any]) -> int:
    """Return the exit status for the state of a job; 0 while it has not ended."""
    return EXIT_CODES.get(job["state"], OK)
