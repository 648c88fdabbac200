"""The commands `vfolder jobs`: submit jobs, list, follow and control them."""

import json
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from api.cli.forms import INTERRUPTED, ApiRefused, Output, door_group
from api.cli.http import Manager, any_door_options, check_success, manager_options
from api.cli.moments import Moment
from api.cli.output import end_of, sentence, show_job, show_jobs
from api.cli.watch import Watch, follow
from core.jobs import State
from core.jobs.requests import VERBS
from core.names import moment, printable

#: A watch ends when the door does not answer for this long (seconds).
PATIENCE_SECONDS = 60.0
_JOB = click.argument("job")
#: Characters of an id that a prefix needs at least, and those of a complete one.
PREFIX_MIN, ID_LENGTH = 4, 36
#: Pages of jobs that are searched for a prefix.
PREFIX_PAGES = 40
_PAGE = 500
#: Hexadecimal digits of an id that are its time in milliseconds.
_TIME_DIGITS = 12
_ID = re.compile(r"[0-9a-f-]+", re.ASCII)
_LIST = "`vfolder jobs list` shows the known jobs"
#: Bytes of a report per write.
_REPORT_CHUNK = 64 * 1024


def _complete(words: Iterable[str]) -> Callable[..., list[str]]:
    """Return the completion of a value that is one of these words."""

    def complete(_context: click.Context, _parameter: click.Parameter, given: str) -> list[str]:
        return sorted(str(word) for word in words if str(word).startswith(given))

    return complete


@click.group()
@door_group
def jobs() -> None:
    """Jobs: submit, list, follow, control.

    With the key of `vfolder login` alone: those that you requested, and all but submit.
    """


@jobs.command("list")
@click.option("--state", help="Only jobs in this state.", shell_complete=_complete(State))
@click.option("--verb", help="Only jobs of this verb.", shell_complete=_complete(VERBS))
@click.option("--volume", help="Only jobs of this volume.")
@click.option("--scope", help="Only jobs of this quota scope.")
@click.option("--vfolder", help="Only jobs of this vfolder: its id, or VOLUME/ID.")
@click.option("--requester", help="Only jobs of this requester.")
@click.option("--label", help="Only jobs with this label.")
@click.option(
    "--since",
    type=Moment(),
    help="Only jobs submitted since then: 1h, yesterday, 2026-11-29, or RFC 3339.",
)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@any_door_options
def list_jobs(door: Manager, *, output: Output, limit: int, **filters: str | None) -> None:
    """List jobs, newest first."""
    chosen = {name: value for name, value in filters.items() if value}
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(found) < limit:
        page: dict[str, Any] = {**chosen, "limit": min(500, limit - len(found))}
        if cursor:
            page["cursor"] = cursor
        answer = door.request_json("GET", "/v1/jobs", params=page)
        found += answer["jobs"]
        cursor = answer["next"]
        if not cursor:
            break
    if output.is_data:
        output.data({"jobs": found, "next": cursor})
        return
    show_jobs(found, output)
    if cursor:
        click.echo(f"there are more; --limit {limit * 2} shows them", err=True)


@jobs.command()
@_JOB
@any_door_options
def show(door: Manager, *, job: str, output: Output) -> None:
    """Show all facts of a job."""
    found = door.request_json("GET", f"/v1/jobs/{_id(door, job)}")
    output.data(found) if output.is_data else show_job(found)


@jobs.command()
@_JOB
@click.option(
    "--patience", default=PATIENCE_SECONDS, help="How long the door may not answer (seconds)."
)
@any_door_options
def watch(door: Manager, *, job: str, patience: float, output: Output) -> None:
    """Follow a job to its end; the exit status says how it ended."""
    _follow(door, _id(door, job), patience, output)


def _follow(door: Manager, job: str, patience: float, output: Output) -> None:
    try:
        sys.exit(end_of(follow(Watch(door, job, patience), output)))
    except KeyboardInterrupt:
        click.echo(
            f"\nThe job goes on. `vfolder jobs watch {job}` follows it again, "
            f"`vfolder jobs cancel {job}` cancels it.",
            err=True,
        )
        sys.exit(INTERRUPTED)


def _change(door: Manager, path: str, output: Output, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - as requests takes them
    found: dict[str, Any] = door.request_json("POST", path, **options)
    if output.is_data:
        output.data(found)
    else:
        click.echo(f"{found['id']}\t{found['state']}\t{printable(sentence(found))}")
    return found


@jobs.command()
@_JOB
@any_door_options
def cancel(door: Manager, *, job: str, output: Output) -> None:
    """Cancel a job; its unfinished results are removed."""
    _change(door, f"/v1/jobs/{_id(door, job)}/cancel", output)


@jobs.command()
@_JOB
@any_door_options
def pause(door: Manager, *, job: str, output: Output) -> None:
    """Pause a job; it keeps its progress."""
    _change(door, f"/v1/jobs/{_id(door, job)}/pause", output)


@jobs.command()
@_JOB
@any_door_options
def resume(door: Manager, *, job: str, output: Output) -> None:
    """Let a paused job continue."""
    _change(door, f"/v1/jobs/{_id(door, job)}/resume", output)


@jobs.command()
@_JOB
@click.option(
    "--only-failed", is_flag=True, help="Retry only the paths that failed (delete-files)."
)
@click.option("--watch", "watched", is_flag=True, help="Follow the new job to its end.")
@any_door_options
def retry(door: Manager, *, job: str, only_failed: bool, watched: bool, output: Output) -> None:
    """Submit the request of an ended job again, as a new job."""
    only = {"only": "failed"} if only_failed else {}
    again = _change(door, f"/v1/jobs/{_id(door, job)}/retry", output, params=only)
    if watched:
        _follow(door, again["id"], PATIENCE_SECONDS, output)


@jobs.command()
@_JOB
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl")
@any_door_options
def report(door: Manager, *, job: str, form: str, output: Output) -> None:  # noqa: ARG001 - it is JSON already
    """Print every entry that failed in a job, with the reason."""
    path = f"/v1/jobs/{_id(door, job)}/report"
    with door.send("GET", path, params={"format": form}, stream=True) as response:
        check_success(response)
        for chunk in response.iter_content(_REPORT_CHUNK):
            sys.stdout.buffer.write(chunk)


@jobs.command()
@click.argument("verb", shell_complete=_complete(VERBS))
@click.argument("fields", nargs=-1)
@click.option("--plan", is_flag=True, help="Only show how the job would run.")
@click.option("--watch", "watched", is_flag=True, help="Follow the job to its end.")
@click.option("--key", default="", help="Idempotency-Key: the same key never makes two jobs.")
@manager_options
def submit(
    door: Manager,
    *,
    verb: str,
    fields: tuple[str, ...],
    plan: bool,
    watched: bool,
    key: str,
    output: Output,
) -> None:
    """Submit a job: VERB and its FIELDS as name=text or name:=JSON.

    Repeat `paths` to make a list:

        vfolder jobs submit delete-files volume=local vfolder=ID paths=a paths=b recursive:=true
    """
    body = {"verb": verb, **_fields(fields)}
    headers = {"Idempotency-Key": key} if key else {}
    if plan:
        _plan(door.request_json("POST", "/v1/jobs", json=body | {"plan": True}), output)
        return
    found = _change(door, "/v1/jobs", output, json=body, headers=headers)
    if watched:
        _follow(door, found["id"], PATIENCE_SECONDS, output)


def _plan(plan: dict[str, Any], output: Output) -> None:
    if output.is_data:
        output.data(plan)
    else:
        click.echo(f"method: {plan['method'] or 'unknown'}")
        for check in plan["checks"]:
            click.echo(printable(f"check {check['check']}: {check['outcome']}"))
        for job in plan["waits_for"]:
            click.echo(f"would wait for job {job}")
        for refusal in plan["refusals"]:
            click.echo(printable(f"refused: {refusal['detail']}"))
    sys.exit(0 if plan["would_start"] else 1)


def _fields(texts: tuple[str, ...]) -> dict[str, Any]:
    body: dict[str, Any] = {"paths": []}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.rstrip(":"):
            raise click.UsageError(f"{text}: write name=text or name:=JSON.")
        parsed: Any = value
        if name.endswith(":"):
            name, parsed = name[:-1], _json(value)
        if name == "paths" and isinstance(parsed, str):
            body["paths"].append(parsed)
        elif name != "paths" and name in body:
            raise click.UsageError(f"{name} is given twice.")
        else:
            body[name] = parsed
    if not body["paths"]:
        del body["paths"]
    return body


def _json(text: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(text)
    except ValueError:
        raise click.UsageError(f"{text} is not JSON; write name=text for text.") from None


def _id(door: Manager, job: str) -> str:
    """Return the complete id of a job for its id, or for the beginning of it.

    Raises:
        ApiRefused: the text is no id, or no job or several jobs have ids that begin with it.
    """
    text = job.lower()
    if not _ID.fullmatch(text) or len(text) < PREFIX_MIN:
        raise ApiRefused("This is not the id of a job.", _LIST)
    if len(text) >= ID_LENGTH:
        return text
    found = _beginning_with(door, text)
    if not found:
        raise ApiRefused(f"No job has an id that begins with {text}.", _LIST)
    if len(found) > 1:
        raise ApiRefused(
            f"Several jobs have ids that begin with {text}: {', '.join(found)}.",
            "give more of the id",
        )
    return found[0]


def _beginning_with(door: Manager, prefix: str) -> list[str]:
    """Return two ids at most. An id begins with its time (RFC 9562), so older jobs are left out."""
    digits = prefix.replace("-", "")[:_TIME_DIGITS].ljust(_TIME_DIGITS, "0")
    page: dict[str, Any] = {"limit": _PAGE, "since": moment(int(digits, 16) / 1000)}
    found: list[str] = []
    for _ in range(PREFIX_PAGES):
        answer = door.request_json("GET", "/v1/jobs", params=page)
        found += [one["id"] for one in answer["jobs"] if one["id"].startswith(prefix)]
        if len(found) > 1 or not answer["next"]:
            return found[:2]
        page["cursor"] = answer["next"]
    if not found:
        raise ApiRefused("There are too many newer jobs to look for it.", "give the complete id")
    return found
