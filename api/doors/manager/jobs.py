"""Routes of jobs: submit, list, follow, control; and the older routes that submit the same jobs."""

import time
from typing import Any

from flask import Response, request
from werkzeug.datastructures import MultiDict

from api.http import answer, no_content
from api.routes import (
    Resource,
    Route,
    RouteAnswer,
    current_door,
    job_answers,
    job_lists,
    job_retries,
    on_behalf,
    parameters,
)
from api.schemas import (
    AnyJobBody,
    Bandwidth,
    BandwidthBody,
    CloneVFolder,
    CloneVFolderBody,
    DeleteEntries,
    DeleteEntriesBody,
    JobDocument,
    JobLog,
    JobOrder,
    JobPage,
    JobPlan,
    VFolderBody,
    VFolderOfRequest,
)
from core.errors import (
    Conflict,
    JobNotFound,
    KeyReused,
    Locked,
    NotCancellable,
    QuotaScopeNotFound,
    TrashNotFound,
    UnknownVolume,
    VFolderExists,
    VFolderNotFound,
)

blueprint = Resource("jobs", __name__, description="Long operations.")
older_routes = Resource("bgtasks", __name__, description="Older routes for long work.")

_ACCEPTED = RouteAnswer(
    "Accepted; the body is the job.", JobDocument, headers=("Location", "Retry-After", "ETag")
)
_ACCEPTED_BGTASK = RouteAnswer(
    "Accepted; `bgtask_id` names the job.", JobDocument, headers=("Location", "Retry-After", "ETag")
)
_SUBMITS = (
    VFolderNotFound,
    TrashNotFound,
    VFolderExists,
    QuotaScopeNotFound,
    Locked,
    KeyReused,
)


@blueprint.operation(
    "POST",
    "/v1/jobs",
    Route(
        takes=AnyJobBody,
        gives={202: _ACCEPTED, 200: RouteAnswer("The plan.", JobPlan)},
        parameters=(job_answers.IDEMPOTENCY_KEY, job_answers.PREFER),
        refuses=_SUBMITS,
    ),
)
@on_behalf.on_request(lambda body: body.request)
def submit_job(body: JobOrder) -> Response:
    """Submit a job.

    A request that cannot succeed is refused at once. The same request joins the first job while
    that job is alive; with an `Idempotency-Key` also afterwards, for a day. With `plan` nothing is
    done: the answer says how the job would run, and lists every refusal. `Prefer: wait=N` delays
    the answer by up to N seconds, so that it may already have the result.
    """
    jobs, wanted = current_door().jobs, on_behalf.requested(body.request)
    if body.plan:
        return answer(current_door().planner.plan(wanted))
    deadline = int((time.time() + body.deadline_seconds) * 1000) if body.deadline_seconds else 0
    submission = on_behalf.submission(
        idempotency_key=job_answers.idempotency_key(),
        label=body.label,
        priority=body.priority,
        deadline_ms=deadline,
    )
    return job_answers.accepted(jobs.submit(wanted, submission))


@blueprint.operation(
    "GET",
    "/v1/jobs",
    Route(gives={200: RouteAnswer("One page.", JobPage)}, parameters=job_lists.FILTERS),
)
@on_behalf.on_own("jobs.list")
def list_jobs() -> Response:
    """List jobs, newest first.

    Filters: `state`, `verb`, `volume`, `scope`, `vfolder`, `requester`, `label`, and `since` (a
    moment as in RFC 3339). Where an id exists on two volumes, `vfolder=VOLUME/ID` names one.
    Pages: `limit` (50, at most 500) and `cursor` (from `next`). Jobs that start or end meanwhile do
    not shift the pages.
    """
    asked, arguments = on_behalf.person_request(), MultiDict(request.args)
    if asked is not None:
        if "requester" in arguments:
            raise job_lists.not_a_filter("requester")
        arguments["requester"] = asked.caller.subject.word
    query = job_lists.job_query(arguments)
    page = current_door().jobs.lists.page(query)
    return answer({"jobs": [job.document() for job in page.jobs], "next": page.next or None})


@blueprint.operation(
    "GET",
    "/v1/jobs/<job_id>",
    Route(
        gives={
            200: RouteAnswer(
                "The job. Until it ends, `Retry-After` says when to look again.",
                JobDocument,
                headers=("ETag",),
            ),
            304: RouteAnswer("Unchanged."),
        },
        parameters=(parameters.IF_NONE_MATCH, job_answers.PREFER),
        refuses=(JobNotFound,),
    ),
)
@on_behalf.on_job("jobs.read")
def get_job(job_id: str) -> Response:
    """Return a job.

    Send the `ETag` of the last answer as `If-None-Match` to get 304 while nothing has changed.
    `Retry-After` says when to look again. `Prefer: wait=N` delays the answer until the job ends,
    N seconds at most.
    """
    return job_answers.current(current_door().jobs.store.get(job_id))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/cancel",
    Route(
        gives={202: _ACCEPTED},
        parameters=(job_answers.PREFER,),
        refuses=(JobNotFound, NotCancellable),
    ),
)
@on_behalf.on_job("jobs.steer")
def cancel_job(job_id: str) -> Response:
    """Cancel a job.

    A job that never ran is cancelled at once; a running one cleans up first. The answer is 409 when
    the job has ended, or is past the point of no return.
    """
    return job_answers.accepted(current_door().jobs.cancel(job_id))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/pause",
    Route(
        gives={202: _ACCEPTED}, parameters=(job_answers.PREFER,), refuses=(JobNotFound, Conflict)
    ),
)
@on_behalf.on_job("jobs.steer")
def pause_job(job_id: str) -> Response:
    """Pause a job: it keeps its progress and continues after `resume`."""
    return job_answers.accepted(current_door().jobs.store.pause(job_id))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/resume",
    Route(
        gives={202: _ACCEPTED}, parameters=(job_answers.PREFER,), refuses=(JobNotFound, Conflict)
    ),
)
@on_behalf.on_job("jobs.steer")
def resume_job(job_id: str) -> Response:
    """Let a paused job continue."""
    return job_answers.accepted(current_door().jobs.store.pause(job_id, resume=True))


@blueprint.operation(
    "PUT",
    "/v1/jobs/<job_id>/bandwidth",
    Route(
        takes=BandwidthBody,
        gives={202: _ACCEPTED},
        parameters=(job_answers.PREFER,),
        refuses=(JobNotFound, Conflict),
    ),
)
@on_behalf.on_job("jobs.steer")
def set_job_bandwidth(body: Bandwidth, job_id: str) -> Response:
    """Limit the bandwidth of one job; null lifts the limit. It applies at the next heartbeat."""
    return job_answers.accepted(current_door().jobs.store.set_pace(job_id, body.bytes_per_second))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/retry",
    Route(
        gives={202: _ACCEPTED},
        parameters=(job_retries.ONLY, job_answers.IDEMPOTENCY_KEY, job_answers.PREFER),
        refuses=(JobNotFound, Conflict, *_SUBMITS),
    ),
)
@on_behalf.on_job("jobs.steer")
def retry_job(job_id: str) -> Response:
    """Submit the request of an ended job again, as a new job that is linked by `retry_of`.

    With `?only=failed` the new job has only those paths of a `delete-files` that failed; the other
    verbs are always retried completely. `Idempotency-Key` works as for a first request.
    """
    door = current_door()
    old = door.jobs.store.get(job_id)
    again = on_behalf.requested(job_retries.request_again(old))
    submission = on_behalf.retried(
        again,
        old.new_name,
        idempotency_key=job_answers.idempotency_key(),
        label=old.fields.get("label", ""),
        priority=old.priority,
        retry_of=old.id,
    )
    return job_answers.accepted(door.jobs.submit(again, submission))


@blueprint.operation(
    "DELETE",
    "/v1/jobs/<job_id>",
    Route(gives={204: RouteAnswer("Deleted.")}, refuses=(JobNotFound, Conflict)),
)
def forget_job(job_id: str) -> Response:
    """Delete the record, the log and the report of an ended job; this never cancels a job."""
    current_door().jobs.store.forget(job_id)
    return no_content()


@blueprint.operation(
    "GET",
    "/v1/jobs/<job_id>/log",
    Route(gives={200: RouteAnswer("The events of the job.", JobLog)}, refuses=(JobNotFound,)),
)
@on_behalf.on_job("jobs.read")
def get_job_log(job_id: str) -> Response:
    """List the events of a job: claimed, released, lost, cancelled …, with attempt and node."""
    jobs = current_door().jobs
    jobs.store.get(job_id)
    return answer({"events": jobs.lists.log(job_id)})


@blueprint.operation(
    "GET",
    "/v1/jobs/<job_id>/events",
    Route(
        gives={200: RouteAnswer("Events.", content_type="text/event-stream")},
        parameters=(job_answers.LAST_EVENT_ID,),
        refuses=(JobNotFound,),
    ),
)
@on_behalf.on_job("jobs.read")
def follow_job(job_id: str) -> Response:
    """Follow a job as server-sent events: its document at every change, then `done`.

    `Last-Event-ID` continues where a broken stream ended. A comment comes at least every ten
    seconds.
    """
    response = job_answers.followed(current_door().jobs.store.get(job_id))
    return on_behalf.keep_deciding(response)


def _delete_request(body: VFolderOfRequest) -> dict[str, Any]:
    return {"verb": "delete", "volume": body.volume, "vfolder": str(body.vfolder)}


def _clone_request(body: CloneVFolder) -> dict[str, Any]:
    return {
        "verb": "clone",
        "volume": body.volume,
        "source": str(body.source),
        "target": str(body.target),
        "target_volume": body.target_volume,
    }


def _removal_request(body: DeleteEntries) -> dict[str, Any]:
    return {
        "verb": "delete-files",
        "volume": body.volume,
        "vfolder": str(body.vfolder),
        "paths": [str(path) for path in body.paths],
        "recursive": body.recursive,
    }


def _submitted(request: dict[str, Any]) -> Response:
    wanted = on_behalf.requested(request)
    return job_answers.accepted(current_door().jobs.submit(wanted, on_behalf.submission()))


@older_routes.operation(
    "POST",
    "/folder/delete",
    Route(
        takes=VFolderBody,
        gives={202: _ACCEPTED_BGTASK},
        parameters=(job_answers.PREFER,),
        refuses=(Locked,),
    ),
)
@on_behalf.on_request(_delete_request)
def delete_vfolder(body: VFolderOfRequest) -> Response:
    """Delete a vfolder.

    It disappears at once, and its bytes are removed afterwards. An absent one is a success. On a
    volume that is not configured the job fails at once: callers wait for the event of its end.
    """
    request, submission = _delete_request(body), on_behalf.submission()
    jobs = current_door().jobs
    try:
        return job_answers.accepted(jobs.submit(request, submission))
    except UnknownVolume as error:
        return job_answers.accepted(jobs.submit_refused(request, submission, error))


@older_routes.operation(
    "POST",
    "/folder/clone",
    Route(
        takes=CloneVFolderBody,
        gives={202: _ACCEPTED_BGTASK},
        parameters=(job_answers.PREFER,),
        refuses=(VFolderNotFound, VFolderExists, Locked),
    ),
)
@on_behalf.on_request(_clone_request)
def clone_vfolder(body: CloneVFolder) -> Response:
    """Copy a vfolder to a new one; the source must exist, the target must not."""
    return _submitted(_clone_request(body))


@older_routes.operation(
    "POST",
    "/folder/file/delete-async",
    Route(
        takes=DeleteEntriesBody,
        gives={202: _ACCEPTED_BGTASK},
        parameters=(job_answers.PREFER,),
        refuses=(VFolderNotFound,),
    ),
)
@on_behalf.on_request(_removal_request)
def delete_entries_later(body: DeleteEntries) -> Response:
    """Remove entries of a vfolder in a job; absent ones are skipped."""
    return _submitted(_removal_request(body))
