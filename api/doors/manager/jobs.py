"""Jobs: ask for them, follow them, stop them."""

import re
import time
from collections.abc import Iterator
from http import HTTPStatus

from flask import Response, request

from api.doors.manager.job_filters import asked_list
from api.http import answer, no_content
from api.jobs import WAIT_MAX_SECONDS, JobSubmission, pointer, retries, retry_after
from api.routes import Resource, Route, RouteAnswer, current_door
from api.schemas import (
    AnyJobBody,
    Bandwidth,
    BandwidthBody,
    JobDocument,
    JobLog,
    JobOrder,
    JobPage,
    JobPlan,
)
from api.streaming import ranges
from core.errors import (
    Conflict,
    JobNotFound,
    KeyReused,
    Locked,
    NotCancellable,
    QuotaScopeNotFound,
    TrashNotFound,
    Unavailable,
    VFolderExists,
    VFolderNotFound,
)
from core.jobs import Job

blueprint = Resource("jobs", __name__, description="Long operations.")

#: Longest Idempotency-Key that is accepted (characters).
KEY_MAX = 255
#: One preference of `Prefer` (RFC 7240): its name, and its value plain or quoted. Parameters that
#: follow are ignored.
_PREFERENCE = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*("[^"]*"|[^\s",;]*))?')
#: Digits of a number of seconds; more would be longer than any request waits.
_SECONDS_DIGITS_MAX = 9
#: Digits of a version of a job's record; longer ones are not ours.
_VERSION_DIGITS_MAX = 18
_ACCEPTED = RouteAnswer(
    "Accepted; the body is the job.", JobDocument, headers=("Location", "Retry-After")
)
_SUBMITS = (
    VFolderNotFound,
    TrashNotFound,
    VFolderExists,
    QuotaScopeNotFound,
    Locked,
    KeyReused,
)


def accepted(job: Job) -> Response:
    """202 with the job, where to find it and when to look again."""
    response = _document(_ended_within(job, _wait_seconds()), 202)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return response


def _document(job: Job, status: int = 200) -> Response:
    response = answer(current_door().jobs.document(job), status)
    response.headers["ETag"] = job.etag
    response.headers["Cache-Control"] = "no-store"
    if waits := _wait_seconds():
        response.headers["Preference-Applied"] = f"wait={min(waits, WAIT_MAX_SECONDS):g}"
    if status == HTTPStatus.ACCEPTED or not job.state.ended:
        response.headers["Retry-After"] = str(retry_after(job))
    return response


def _wait_seconds() -> float:
    """Return the seconds of `Prefer: wait=N`, 0 without it; the first of several counts."""
    for preference in _list_elements(request.headers.get("Prefer", "")):
        match = _PREFERENCE.match(preference)
        if match and match[1].lower() == "wait":
            text = (match[2] or "").strip('"')
            digits = text.isascii() and text.isdigit() and len(text) <= _SECONDS_DIGITS_MAX
            return float(text) if digits else 0.0
    return 0.0


def _list_elements(header: str) -> list[str]:
    """Return the elements of a list; a comma inside quotes does not separate."""
    return re.findall(r'(?:[^,"]|"[^"]*")+', header)


def _last_event_id() -> int:
    """Return the version that a broken event stream had reached (`Last-Event-ID`), or -1."""
    text = request.headers.get("Last-Event-ID", "").strip()
    known = text.isascii() and text.isdigit() and len(text) <= _VERSION_DIGITS_MAX
    return int(text) if known else -1


def _ended_within(job: Job, seconds: float) -> Job:
    """The job once it has ended or the time is over; at once when too many wait already."""
    try:
        return current_door().live.wait(job.id, seconds) if seconds else job
    except Unavailable:
        return job


@blueprint.operation(
    "POST",
    "/v1/jobs",
    Route(
        takes=AnyJobBody,
        gives={202: _ACCEPTED, 200: RouteAnswer("The plan.", JobPlan)},
        refuses=_SUBMITS,
    ),
)
def submit_job(body: JobOrder) -> Response:
    """Ask for a job.

    What cannot succeed is refused at once. The same request while the first is alive joins it; with
    an `Idempotency-Key` also afterwards, for a day. With `plan` nothing is done: the answer says
    how it would be done, and everything that stands against it. `Prefer: wait=N` delays the answer
    up to N seconds, so that it may already tell the end.
    """
    jobs = current_door().jobs
    if body.plan:
        return answer(current_door().planner.plan(body.request))
    deadline = int((time.time() + body.deadline_seconds) * 1000) if body.deadline_seconds else 0
    asked = JobSubmission(
        requester=body.requester,
        idempotency_key=_key(),
        label=body.label,
        priority=body.priority,
        deadline_ms=deadline,
    )
    return accepted(jobs.submit(body.request, asked))


def _key() -> str:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > KEY_MAX:
        raise pointer("Idempotency-Key", f"is longer than {KEY_MAX} characters")
    return key


@blueprint.operation("GET", "/v1/jobs", Route(gives={200: RouteAnswer("One page.", JobPage)}))
def list_jobs() -> Response:
    """List jobs, newest first.

    Filters: `state`, `verb`, `volume`, `scope`, `vfolder`, `requester`, `label`, and `since` (a
    moment as in RFC 3339); `limit` (50, at most 500) and `cursor` (from `next`). Jobs that come or
    end meanwhile do not shift the pages.
    """
    query = asked_list(request.args)
    page = current_door().jobs.lists.page(query)
    return answer({"jobs": [job.document() for job in page.jobs], "next": page.next or None})


@blueprint.operation(
    "GET",
    "/v1/jobs/<job_id>",
    Route(
        gives={
            200: RouteAnswer(
                "The job; while it lives, `Retry-After` says when to look again.", JobDocument
            ),
            304: RouteAnswer("Unchanged."),
        },
        refuses=(JobNotFound,),
    ),
)
def get_job(job_id: str) -> Response:
    """Look at a job.

    Send the `ETag` of the last answer as `If-None-Match` and get 304 while nothing has changed;
    `Retry-After` says when to look again. `Prefer: wait=N` delays the answer until the job ends,
    N seconds at most.
    """
    job = _ended_within(current_door().jobs.store.get(job_id), _wait_seconds())
    if ranges.client_has(job.etag):
        headers = {"ETag": job.etag, "Cache-Control": "no-store"}
        if not job.state.ended:
            headers["Retry-After"] = str(retry_after(job))
        return Response(status=304, headers=headers)
    return _document(job)


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/cancel",
    Route(gives={202: _ACCEPTED}, refuses=(JobNotFound, NotCancellable)),
)
def cancel_job(job_id: str) -> Response:
    """Ask a job to stop.

    A job that never ran is cancelled at once; a running one cleans up first. 409 when it has ended
    or is past the point of no return.
    """
    return accepted(current_door().jobs.cancel(job_id))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/pause",
    Route(gives={202: _ACCEPTED}, refuses=(JobNotFound, Conflict)),
)
def pause_job(job_id: str) -> Response:
    """Let a job rest: it keeps what it did and goes on after `resume`."""
    return accepted(current_door().jobs.store.pause(job_id))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/resume",
    Route(gives={202: _ACCEPTED}, refuses=(JobNotFound, Conflict)),
)
def resume_job(job_id: str) -> Response:
    """Let a resting job go on."""
    return accepted(current_door().jobs.store.pause(job_id, resume=True))


@blueprint.operation(
    "PUT",
    "/v1/jobs/<job_id>/bandwidth",
    Route(takes=BandwidthBody, gives={202: _ACCEPTED}, refuses=(JobNotFound, Conflict)),
)
def set_job_bandwidth(body: Bandwidth, job_id: str) -> Response:
    """Limit what one job moves; null lifts the limit. It follows at its next heartbeat."""
    return accepted(current_door().jobs.store.set_pace(job_id, body.bytes_per_second))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/retry",
    Route(gives={202: _ACCEPTED}, refuses=(JobNotFound, Conflict, *_SUBMITS)),
)
def retry_job(job_id: str) -> Response:
    """Ask again for what an ended job was asked: a new job, linked by `retry_of`.

    `?only=failed` asks again for those paths of a `delete-files` that failed; other verbs are tried
    again as a whole. `Idempotency-Key` holds as for a first request.
    """
    door = current_door()
    old = door.jobs.store.get(job_id)
    if not old.state.ended:
        raise Conflict("The job has not ended yet; cancel it first, or wait.", job_id=old.id)
    only = _only()
    asked = JobSubmission(
        requester=old.fields.get("requester", ""),
        idempotency_key=_key(),
        label=old.fields.get("label", ""),
        priority=old.priority,
        retry_of=old.id,
    )
    again = retries.only_failed(old, door.volume_access) if only else retries.whole(old)
    return accepted(door.jobs.submit(again, asked))


def _only() -> bool:
    unknown = set(request.args) - {"only"}
    if unknown:
        raise pointer(min(unknown), "is not a parameter of a retry")
    only = request.args.get("only")
    if only not in (None, "failed"):
        raise pointer("only", "must be failed, or left out")
    return only == "failed"


@blueprint.operation(
    "DELETE",
    "/v1/jobs/<job_id>",
    Route(gives={204: RouteAnswer("Forgotten.")}, refuses=(JobNotFound, Conflict)),
)
def forget_job(job_id: str) -> Response:
    """Forget a job that has ended: its record, its log and its report; this never cancels."""
    current_door().jobs.store.forget(job_id)
    return no_content()


@blueprint.operation(
    "GET",
    "/v1/jobs/<job_id>/log",
    Route(gives={200: RouteAnswer("What happened to it.", JobLog)}, refuses=(JobNotFound,)),
)
def get_job_log(job_id: str) -> Response:
    """Tell what happened to a job: claimed, released, lost, cancelled …, with attempt and node."""
    jobs = current_door().jobs
    jobs.store.get(job_id)
    return answer({"events": jobs.lists.log(job_id)})


@blueprint.operation(
    "GET",
    "/v1/jobs/<job_id>/events",
    Route(
        gives={200: RouteAnswer("Events.", content_type="text/event-stream")},
        refuses=(JobNotFound,),
    ),
)
def follow_job(job_id: str) -> Response:
    """Follow a job as server-sent events: its document at every change, then `done`.

    `Last-Event-ID` goes on where a broken stream ended. A comment comes every ten seconds at least.
    """
    door = current_door()
    door.jobs.store.get(job_id)
    stream = door.live.stream(job_id, _last_event_id())
    first = next(stream)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

    def chunks() -> Iterator[bytes]:
        yield first
        yield from stream

    return Response(chunks(), content_type="text/event-stream", headers=headers)
