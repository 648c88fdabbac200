"""The commands `vfolder jobs`: submit jobs, list, follow and control them."""

import json
import sys
from typing import Any

import click

from api.cli.http import ApiRefused, Manager, check_success, manager_options, print_json, printable
from api.cli.output import end_of, job_row, sentence, show_job, show_table
from api.cli.watch import Watch, follow

COLUMNS = ("id", "verb", "state", "volume", "created", "how far")
#: A watch ends when the door does not answer for this long (seconds).
PATIENCE_SECONDS = 60.0
_JOB = click.argument("job")
_REPORT_CHUNK = 64 * 1024


@click.group()
def jobs() -> None:
    """Jobs: submit, list, follow, control."""


@jobs.command("list")
@click.option("--state", help="Only jobs in this state.")
@click.option("--verb", help="Only jobs of this verb.")
@click.option("--volume", help="Only jobs of this volume.")
@click.option("--scope", help="Only jobs of this quota scope.")
@click.option("--vfolder", help="Only jobs of this vfolder: its id, or VOLUME/ID.")
@click.option("--requester", help="Only jobs of this requester.")
@click.option("--label", help="Only jobs with this label.")
@click.option("--since", help="Only jobs submitted since this moment (RFC 3339).")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@manager_options
def list_jobs(door: Manager, *, as_json: bool, limit: int, **filters: str | None) -> None:
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
    if as_json:
        print_json({"jobs": found, "next": cursor})
        return
    show_table(COLUMNS, [job_row(job) for job in found])
    if cursor:
        click.echo(f"there are more; --limit {limit * 2} shows them", err=True)


@jobs.command()
@_JOB
@manager_options
def show(door: Manager, *, job: str, as_json: bool) -> None:
    """Show all facts of a job."""
    found = door.request_json("GET", f"/v1/jobs/{_id(job)}")
    print_json(found) if as_json else show_job(found)


@jobs.command()
@_JOB
@click.option(
    "--patience", default=PATIENCE_SECONDS, help="How long the door may not answer (seconds)."
)
@manager_options
def watch(door: Manager, *, job: str, patience: float, as_json: bool) -> None:
    """Follow a job to its end; the exit status says how it ended."""
    _follow(door, _id(job), patience, as_json=as_json)


def _follow(door: Manager, job: str, patience: float, *, as_json: bool) -> None:
    sys.exit(end_of(follow(Watch(door, job, patience), as_json=as_json)))


def _change(door: Manager, path: str, *, as_json: bool, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - as requests takes them
    found: dict[str, Any] = door.request_json("POST", path, **options)
    if as_json:
        print_json(found)
    else:
        click.echo(f"{found['id']}\t{found['state']}\t{printable(sentence(found))}")
    return found


@jobs.command()
@_JOB
@manager_options
def cancel(door: Manager, *, job: str, as_json: bool) -> None:
    """Cancel a job; its unfinished results are removed."""
    _change(door, f"/v1/jobs/{_id(job)}/cancel", as_json=as_json)


@jobs.command()
@_JOB
@manager_options
def pause(door: Manager, *, job: str, as_json: bool) -> None:
    """Pause a job; it keeps its progress."""
    _change(door, f"/v1/jobs/{_id(job)}/pause", as_json=as_json)


@jobs.command()
@_JOB
@manager_options
def resume(door: Manager, *, job: str, as_json: bool) -> None:
    """Let a paused job continue."""
    _change(door, f"/v1/jobs/{_id(job)}/resume", as_json=as_json)


@jobs.command()
@_JOB
@click.option(
    "--only-failed", is_flag=True, help="Retry only the paths that failed (delete-files)."
)
@click.option("--watch", "watched", is_flag=True, help="Follow the new job to its end.")
@manager_options
def retry(door: Manager, *, job: str, only_failed: bool, watched: bool, as_json: bool) -> None:
    """Submit the request of an ended job again, as a new job."""
    only = {"only": "failed"} if only_failed else {}
    again = _change(door, f"/v1/jobs/{_id(job)}/retry", params=only, as_json=as_json)
    if watched:
        _follow(door, again["id"], PATIENCE_SECONDS, as_json=as_json)


@jobs.command()
@_JOB
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl")
@manager_options
def report(door: Manager, *, job: str, form: str, as_json: bool) -> None:  # noqa: ARG001 - it is JSON already
    """Print every entry that failed in a job, with the reason."""
    path = f"/v1/jobs/{_id(job)}/report"
    with door.send("GET", path, params={"format": form}, stream=True) as response:
        check_success(response)
        for chunk in response.iter_content(_REPORT_CHUNK):
            sys.stdout.buffer.write(chunk)


@jobs.command()
@click.argument("verb")
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
    as_json: bool,
) -> None:
    """Submit a job: VERB and its FIELDS as name=text or name:=JSON.

    Repeat `paths` to make a list:

        vfolder jobs submit delete-files volume=local vfolder=ID paths=a paths=b recursive:=true
    """
    body = {"verb": verb, **_fields(fields)}
    headers = {"Idempotency-Key": key} if key else {}
    if plan:
        _plan(door.request_json("POST", "/v1/jobs", json=body | {"plan": True}), as_json=as_json)
        return
    found = _change(door, "/v1/jobs", json=body, headers=headers, as_json=as_json)
    if watched:
        _follow(door, found["id"], PATIENCE_SECONDS, as_json=as_json)


def _plan(plan: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(plan)
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


def _id(job: str) -> str:
    """Return the id if it can be part of a URL path."""
    if not job.replace("-", "").isalnum() or not job.isascii():
        raise ApiRefused("This is not the id of a job.", "`vfolder jobs list` shows the known jobs")
    return job
