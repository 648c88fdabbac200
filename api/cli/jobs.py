"""`vfolder jobs`: ask for jobs, look at them, follow them, stop them."""

import json
import sys
from typing import Any

import click

from api.cli.http import ApiRefused, Manager, good, manager_options, print_json, printable
from api.cli.output import end_of, job_row, sentence, show_job, show_table
from api.cli.watch import Watch, follow

COLUMNS = ("id", "verb", "state", "volume", "created", "how far")
#: A door that is away for this long (seconds) ends a watch.
PATIENCE_SECONDS = 60.0
_JOB = click.argument("job")
_REPORT_CHUNK = 64 * 1024


@click.group()
def jobs() -> None:
    """Long operations: ask, look, follow, stop."""


@jobs.command("list")
@click.option("--state", help="Only jobs in this state.")
@click.option("--verb", help="Only jobs of this verb.")
@click.option("--volume", help="Only jobs of this volume.")
@click.option("--scope", help="Only jobs of this quota scope.")
@click.option("--vfolder", help="Only jobs of this vfolder.")
@click.option("--requester", help="Only jobs that this requester asked for.")
@click.option("--label", help="Only jobs with this label.")
@click.option("--since", help="Only jobs asked for since this moment (RFC 3339).")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@manager_options
def list_jobs(door: Manager, *, as_json: bool, limit: int, **filters: str | None) -> None:
    """List jobs, newest first."""
    wanted = {name: value for name, value in filters.items() if value}
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(found) < limit:
        page: dict[str, Any] = {**wanted, "limit": min(500, limit - len(found))}
        if cursor:
            page["cursor"] = cursor
        answer = door.ask("GET", "/v1/jobs", params=page)
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
    """Show everything about a job."""
    found = door.ask("GET", f"/v1/jobs/{_id(job)}")
    print_json(found) if as_json else show_job(found)


@jobs.command()
@_JOB
@click.option("--patience", default=PATIENCE_SECONDS, help="Seconds a door may be away.")
@manager_options
def watch(door: Manager, *, job: str, patience: float, as_json: bool) -> None:
    """Follow a job to its end; the exit status tells how it ended."""
    _follow(door, _id(job), patience, as_json=as_json)


def _follow(door: Manager, job: str, patience: float, *, as_json: bool) -> None:
    sys.exit(end_of(follow(Watch(door, job, patience), as_json=as_json)))


def _moved(door: Manager, path: str, *, as_json: bool, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - as requests takes them
    found: dict[str, Any] = door.ask("POST", path, **options)
    if as_json:
        print_json(found)
    else:
        click.echo(f"{found['id']}\t{found['state']}\t{printable(sentence(found))}")
    return found


@jobs.command()
@_JOB
@manager_options
def cancel(door: Manager, *, job: str, as_json: bool) -> None:
    """Ask a job to stop; what it made so far goes away."""
    _moved(door, f"/v1/jobs/{_id(job)}/cancel", as_json=as_json)


@jobs.command()
@_JOB
@manager_options
def pause(door: Manager, *, job: str, as_json: bool) -> None:
    """Let a job rest; it keeps what it did."""
    _moved(door, f"/v1/jobs/{_id(job)}/pause", as_json=as_json)


@jobs.command()
@_JOB
@manager_options
def resume(door: Manager, *, job: str, as_json: bool) -> None:
    """Let a resting job go on."""
    _moved(door, f"/v1/jobs/{_id(job)}/resume", as_json=as_json)


@jobs.command()
@_JOB
@click.option("--only-failed", is_flag=True, help="Only what failed (delete-files).")
@click.option("--watch", "watched", is_flag=True, help="Follow the new job to its end.")
@manager_options
def retry(door: Manager, *, job: str, only_failed: bool, watched: bool, as_json: bool) -> None:
    """Ask again for what an ended job was asked: a new job."""
    only = {"only": "failed"} if only_failed else {}
    again = _moved(door, f"/v1/jobs/{_id(job)}/retry", params=only, as_json=as_json)
    if watched:
        _follow(door, again["id"], PATIENCE_SECONDS, as_json=as_json)


@jobs.command()
@_JOB
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl")
@manager_options
def report(door: Manager, *, job: str, form: str, as_json: bool) -> None:  # noqa: ARG001 - it is JSON already
    """Print every entry that a job could not do, with its reason."""
    path = f"/v1/jobs/{_id(job)}/report"
    with door.send("GET", path, params={"format": form}, stream=True) as response:
        good(response)
        for chunk in response.iter_content(_REPORT_CHUNK):
            sys.stdout.buffer.write(chunk)


@jobs.command()
@click.argument("verb")
@click.argument("fields", nargs=-1)
@click.option("--plan", is_flag=True, help="Only tell how it would be done.")
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
    """Ask for a job: VERB and its FIELDS as name=text or name:=JSON.

    A name given again makes a list:

        vfolder jobs submit delete-files volume=local vfolder=ID paths=a paths=b recursive:=true
    """
    body = {"verb": verb, **_fields(fields)}
    headers = {"Idempotency-Key": key} if key else {}
    if plan:
        _plan(door.ask("POST", "/v1/jobs", json=body | {"plan": True}), as_json=as_json)
        return
    found = _moved(door, "/v1/jobs", json=body, headers=headers, as_json=as_json)
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
        raise click.UsageError(f"{text} is not JSON; text is given with `=`.") from None


def _id(job: str) -> str:
    """An id as it may stand in a path; what cannot be one is unknown."""
    if not job.replace("-", "").isalnum() or not job.isascii():
        raise ApiRefused("That is no id of a job.", "`vfolder jobs list` shows the known jobs")
    return job
