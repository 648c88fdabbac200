"""Jobs: ask for them, follow them, stop them."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flask import Response, request

from api.doors import current_door
from api.encoding import answer
from api.jobs import Asked, pointer, retry_after
from api.resources import Act, Answer, Resource
from api.schemas.jobs import AnyJobBody, AskedJob, JobDocument, JobLog, JobPage, JobPlan
from core.errors import (
    Conflict,
    JobNotFound,
    KeyReused,
    Locked,
    NotCancellable,
    QuotaScopeNotFound,
    VFolderExists,
    VFolderNotFound,
)
from core.jobs import Job
from core.store.lists import INDEXED, PAGE_DEFAULT, PAGE_MAX, Query

blueprint = Resource("jobs", __name__, description="Long operations.")

#: Longest Idempotency-Key that is accepted (characters).
KEY_MAX = 255
_ACCEPTED = Answer(
    "Accepted; the body is the job.", JobDocument, headers=("Location", "Retry-After")
)
_SUBMITS = (VFolderNotFound, VFolderExists, QuotaScopeNotFound, Locked, KeyReused)


def accepted(job: Job) -> Response:
    """202 with the job, where to find it and when to look again."""
    waits = _wait_wish()
    if waits:
        job = current_door().live.wait(job.id, waits)
    response = _document(job, 202)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if waits:
        response.headers["Preference-Applied"] = f"wait={waits:g}"
    return response


def _document(job: Job, status: int = 200) -> Response:
    response = answer(current_door().jobs.document(job), status)
    response.headers["ETag"] = job.etag
    response.headers["Cache-Control"] = "no-store"
    if not job.state.ended:
        response.headers["Retry-After"] = str(retry_after(job))
    return response


def _wait_wish() -> float:
    """The seconds of `Prefer: wait=N` (RFC 7240), 0 when not asked."""
    for wish in request.headers.get("Prefer", "").split(","):
        name, _, value = wish.strip().partition("=")
        if name.strip().lower() == "wait" and value.strip().isdigit():
            return float(value)
    return 0.0


@blueprint.act(
    "POST",
    "/v1/jobs",
    Act(
        takes=AnyJobBody,
        gives={202: _ACCEPTED, 200: Answer("The plan.", JobPlan)},
        refuses=_SUBMITS,
    ),
)
def submit_job(body: AskedJob) -> Response:
    """Ask for a job.

    What cannot succeed is refused at once. The same request while the first is alive joins it; with
    an `Idempotency-Key` also afterwards, for a day. With `plan` nothing is done: the answer says
    how it would be done, and everything that stands against it. `Prefer: wait=N` delays the answer
    up to N seconds, so that it may already tell the end.
    """
    jobs = current_door().jobs
    if body.plan:
        return answer(current_door().planner.plan(body.request))
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > KEY_MAX:
        raise pointer("Idempotency-Key", f"is longer than {KEY_MAX} characters")
    deadline = int((time.time() + body.deadline_seconds) * 1000) if body.deadline_seconds else 0
    asked = Asked(
        requester=body.requester,
        idempotency_key=key,
        label=body.label,
        priority=body.priority,
        deadline_ms=deadline,
    )
    return accepted(jobs.submit(body.request, asked))


@blueprint.act("GET", "/v1/jobs", Act(gives={200: Answer("One page.", JobPage)}))
def list_jobs() -> Response:
    """List jobs, newest first.

    Filters: `state`, `verb`, `volume`, `scope`, `vfolder`, `requester`, `label`, and `since` (a
    moment as in RFC 3339); `limit` (50, at most 500) and `cursor` (from `next`). Jobs that come or
    end meanwhile do not shift the pages.
    """
    arguments = request.args
    unknown = set(arguments) - {*INDEXED, "since", "limit", "cursor"}
    if unknown:
        raise pointer(min(unknown), "is not a filter of this list")
    query = Query(
        filters={name: arguments[name] for name in INDEXED if arguments.get(name)},
        limit=_limit(arguments.get("limit", "")),
        cursor=arguments.get("cursor", ""),
        since_ms=_since(arguments.get("since", "")),
    )
    page = current_door().jobs.lists.page(query)
    return answer({"jobs": [job.document() for job in page.jobs], "next": page.next or None})


def _limit(text: str) -> int:
    if not text:
        return PAGE_DEFAULT
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(PAGE_MAX))
    if not digits or not 1 <= int(text) <= PAGE_MAX:
        raise pointer("limit", f"must be a whole number from 1 to {PAGE_MAX}")
    return int(text)


def _since(text: str) -> int:
    if not text:
        return 0
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise pointer("since", "must be a moment as in RFC 3339") from None


@blueprint.act(
    "GET",
    "/v1/jobs/<job_id>",
    Act(
        gives={
            200: Answer("The job.", JobDocument, headers=("Retry-After",)),
            304: Answer("Unchanged."),
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
    waits = _wait_wish()
    door = current_door()
    job = door.live.wait(job_id, waits) if waits else door.jobs.store.get(job_id)
    if job.etag in request.headers.get("If-None-Match", ""):
        return Response(
            status=304, headers={"ETag": job.etag, "Retry-After": str(retry_after(job))}
        )
    return _document(job)


@blueprint.act(
    "POST",
    "/v1/jobs/<job_id>/cancel",
    Act(gives={202: _ACCEPTED}, refuses=(JobNotFound, NotCancellable)),
)
def cancel_job(job_id: str) -> Response:
    """Ask a job to stop.

    A job that never ran is cancelled at once; a running one cleans up first. 409 when it has ended
    or is past the point of no return.
    """
    return accepted(current_door().jobs.cancel(job_id))


@blueprint.act(
    "POST",
    "/v1/jobs/<job_id>/pause",
    Act(gives={202: _ACCEPTED}, refuses=(JobNotFound, Conflict)),
)
def pause_job(job_id: str) -> Response:
    """Let a job rest: it keeps what it did and goes on after `resume`."""
    return accepted(current_door().jobs.store.pause(job_id))


@blueprint.act(
    "POST",
    "/v1/jobs/<job_id>/resume",
    Act(gives={202: _ACCEPTED}, refuses=(JobNotFound, Conflict)),
)
def resume_job(job_id: str) -> Response:
    """Let a resting job go on."""
    return accepted(current_door().jobs.store.pause(job_id, resume=True))


@blueprint.act(
    "POST",
    "/v1/jobs/<job_id>/retry",
    Act(gives={202: _ACCEPTED}, refuses=(JobNotFound, Conflict, *_SUBMITS)),
)
def retry_job(job_id: str) -> Response:
    """Ask again for what an ended job was asked: a new job, linked by `retry_of`."""
    jobs = current_door().jobs
    old = jobs.store.get(job_id)
    if not old.state.ended:
        raise Conflict("The job has not ended yet; cancel it first, or wait.", job_id=old.id)
    asked = Asked(
        requester=old.fields.get("requester", ""),
        label=old.fields.get("label", ""),
        priority=old.priority,
        retry_of=old.id,
    )
    return accepted(jobs.submit(_request_of(old), asked))


def _request_of(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = job.member("request")
    return found


@blueprint.act(
    "GET",
    "/v1/jobs/<job_id>/log",
    Act(gives={200: Answer("What happened to it.", JobLog)}, refuses=(JobNotFound,)),
)
def get_job_log(job_id: str) -> Response:
    """Tell what happened to a job: claimed, released, lost, cancelled …, with attempt and node."""
    jobs = current_door().jobs
    jobs.store.get(job_id)
    return answer({"events": jobs.lists.log(job_id)})


@blueprint.act(
    "GET",
    "/v1/jobs/<job_id>/events",
    Act(gives={200: Answer("Events.", content_type="text/event-stream")}, refuses=(JobNotFound,)),
)
def follow_job(job_id: str) -> Response:
    """Follow a job as server-sent events: its document at every change, then `done`.

    `Last-Event-ID` goes on where a broken stream ended. A comment comes every ten seconds at least.
    """
    door = current_door()
    door.jobs.store.get(job_id)
    seen = request.headers.get("Last-Event-ID", "")
    stream = door.live.stream(job_id, int(seen) if seen.isascii() and seen.isdigit() else -1)
    first = next(stream)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

    def chunks() -> Iterator[bytes]:
        yield first
        yield from stream

    return Response(chunks(), content_type="text/event-stream", headers=headers)
