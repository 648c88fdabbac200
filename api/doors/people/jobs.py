"""Routes of jobs, for their requesters and for operators: list, look, follow, steer, retry."""

from dataclasses import replace
from typing import Any

import msgspec
from flask import Response, request
from werkzeug.datastructures import MultiDict

from api.http import answer
from api.jobs import MANAGER, JobSubmission
from api.routes import (
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    current_door,
    job_answers,
    job_lists,
    job_reports,
    job_retries,
    needs,
    parameters,
)
from api.schemas import JobDocument, JobLog, JobPage, operators
from core.access import PersonClaims, Scope
from core.errors import (
    AccessForbidden,
    Conflict,
    Defect,
    KeyReused,
    Locked,
    NotCancellable,
    TrashNotFound,
    Unavailable,
    VFolderExists,
    VFolderNotFound,
)
from core.jobs import Job

blueprint = PeopleResource("jobs", __name__, description="Jobs of the caller.")

_FILTERS = tuple(one for one in job_lists.FILTERS if one.name != "requester")
_REQUESTER = parameters.in_query(
    "requester", "`me`, as without it. Operators: who submitted it; all without it.", type="string"
)
_ACCEPTED = {
    202: RouteAnswer(
        "Accepted; the body is the job.",
        JobDocument,
        headers=("Location", "Retry-After", "ETag"),
    )
}
#: Of the routes that pause a job and let it continue.
_STEERED = Route(
    takes=operators.MaybeReasonBody,
    gives=_ACCEPTED,
    parameters=(job_answers.PREFER,),
    refuses=(Conflict,),
)


def job_of(asked: PersonRequest) -> Job:
    """Return the job that the path names."""
    if asked.job is None:
        raise Defect("The route names no job.")
    return asked.job


@blueprint.operation(
    "GET",
    "/v1/jobs",
    Route(gives={200: RouteAnswer("One page.", JobPage)}, parameters=(*_FILTERS, _REQUESTER)),
)
@needs("jobs.list", operators="queue.read")
def list_my_jobs(asked: PersonRequest) -> Response:
    """List the jobs that the caller requested, newest first; filters as at the manager door.

    Operators get those of all requesters. A key that is bound to vfolders lists those about them;
    a page may have fewer then.
    """
    arguments = MultiDict(request.args)
    if arguments.getlist("requester") == ["me"]:
        arguments["requester"] = asked.caller.subject.word
    elif not asked.is_operator:
        if "requester" in arguments:
            raise job_lists.not_a_filter("requester")
        arguments["requester"] = asked.caller.subject.word
    page = current_door().jobs.lists.page(job_lists.job_query(arguments))
    jobs = [job for job in page.jobs if asked.service.is_covered(asked.caller, job)]
    return answer({"jobs": [job.document() for job in jobs], "next": page.next or None})


@blueprint.operation(
    "GET",
    "/v1/jobs/<job_id>",
    Route(
        gives={
            200: RouteAnswer("The job.", JobDocument, headers=("ETag",)),
            304: RouteAnswer("Unchanged."),
        },
        parameters=(parameters.IF_NONE_MATCH, job_answers.PREFER),
    ),
)
@needs("jobs.read")
def get_my_job(asked: PersonRequest) -> Response:
    """Return a job. `Prefer: wait=N` delays the answer until the job ends, N seconds at most."""
    return job_answers.current(job_of(asked))


@blueprint.operation(
    "GET",
    "/v1/jobs/<job_id>/log",
    Route(gives={200: RouteAnswer("The events of the job.", JobLog)}),
)
@needs("jobs.read")
def get_my_job_log(asked: PersonRequest) -> Response:
    """List the events of a job: claimed, released, lost, cancelled …, with attempt and node."""
    return answer({"events": current_door().jobs.lists.log(job_of(asked).id)})


@blueprint.operation(
    "GET",
    "/v1/jobs/<job_id>/events",
    Route(
        gives={200: RouteAnswer("Events.", content_type="text/event-stream")},
        parameters=(job_answers.LAST_EVENT_ID,),
        refuses=(Unavailable,),
    ),
)
@needs("jobs.read")
def follow_my_job(asked: PersonRequest) -> Response:
    """Follow a job as server-sent events: its document at every change, then `done`."""
    asked.service.streams.check(asked.caller.subject.word)
    return asked.keep_deciding(job_answers.followed(job_of(asked)))


@blueprint.operation(
    "GET",
    "/v1/jobs/<job_id>/report",
    replace(job_reports.REPORT, refuses=(*job_reports.REPORT.refuses, Conflict)),
)
@needs("jobs.read")
def get_my_job_report(asked: PersonRequest) -> Response:
    """Return every entry that failed in a job; see the same route of the manager door."""
    return job_reports.report_of(job_of(asked))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/cancel",
    Route(
        takes=operators.MaybeReasonBody,
        gives=_ACCEPTED,
        parameters=(job_answers.PREFER,),
        refuses=(NotCancellable,),
    ),
)
@needs("jobs.steer", noted=True)
def cancel_my_job(body: operators.GivenReason, asked: PersonRequest) -> Response:
    """Cancel a job; see the same route of the manager door. The audit log keeps a reason."""
    asked.note(reason=body.reason or None, after="cancelled")
    return job_answers.accepted(current_door().jobs.cancel(job_of(asked).id))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/pause",
    _STEERED,
)
@needs("jobs.steer", noted=True)
def pause_my_job(body: operators.GivenReason, asked: PersonRequest) -> Response:
    """Pause a job: it keeps its progress and continues after `resume`."""
    asked.note(reason=body.reason or None, after="paused")
    return job_answers.accepted(current_door().jobs.store.pause(job_of(asked).id))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/resume",
    _STEERED,
)
@needs("jobs.steer", noted=True)
def resume_my_job(body: operators.GivenReason, asked: PersonRequest) -> Response:
    """Let a paused job continue."""
    asked.note(reason=body.reason or None, after="resumed")
    return job_answers.accepted(current_door().jobs.store.pause(job_of(asked).id, resume=True))


@blueprint.operation(
    "PUT",
    "/v1/jobs/<job_id>/bandwidth",
    Route(
        takes=operators.BandwidthOrderBody,
        gives=_ACCEPTED,
        parameters=(job_answers.PREFER,),
        refuses=(Conflict,),
    ),
)
@needs("jobs.steer", noted=True)
def set_my_job_bandwidth(body: operators.BandwidthOrder, asked: PersonRequest) -> Response:
    """Limit the bandwidth of one job; null lifts the limit. It applies at the next heartbeat."""
    asked.note(reason=body.reason or None, after={"bytes_per_second": body.bytes_per_second})
    store = current_door().jobs.store
    return job_answers.accepted(store.set_pace(job_of(asked).id, body.bytes_per_second))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/retry",
    Route(
        takes=operators.MaybeReasonBody,
        gives=_ACCEPTED,
        parameters=(job_retries.ONLY, job_answers.IDEMPOTENCY_KEY, job_answers.PREFER),
        refuses=(
            *(Conflict, VFolderNotFound, TrashNotFound, VFolderExists, Locked),
            *(KeyReused, AccessForbidden),
        ),
    ),
)
@needs("jobs.steer", noted=True)
def retry_my_job(body: operators.GivenReason, asked: PersonRequest) -> Response:
    """Request an ended job again, as a new job of the caller that is linked by `retry_of`.

    What the job does is decided as if the caller requested it for the first time. With
    `?only=failed` the new job has only those paths of a `delete-files` that failed. By an operator
    it is a new job of its requester, who may do no more by that.
    """
    old = job_of(asked)
    again = job_retries.request_again(old)
    more: dict[str, Any] = {
        "idempotency_key": job_answers.idempotency_key(),
        "label": old.fields.get("label", ""),
        "priority": old.priority,
        "retry_of": old.id,
        "new_name": old.new_name,
    }
    if asked.is_operator and Scope.ADMIN_WRITE in asked.caller.credential.scopes:
        person = msgspec.json.decode(old.person, type=PersonClaims) if old.person else None
        requester = old.fields.get("requester") or MANAGER
        submission = JobSubmission(requester=requester, person=person, **more)
    else:
        asked.decide_job(again)
        submission = asked.service.submission(asked.caller, **more)
    asked.note(reason=body.reason or None, after="retried")
    return job_answers.accepted(current_door().jobs.submit(again, submission))


@blueprint.operation(
    "PUT",
    "/v1/jobs/<job_id>/priority",
    Route(
        takes=operators.PriorityOrderBody,
        gives=_ACCEPTED,
        parameters=(job_answers.PREFER,),
        refuses=(Conflict,),
    ),
)
@needs("jobs.prioritize", noted=True)
def set_job_priority(body: operators.PriorityOrder, asked: PersonRequest) -> Response:
    """Change the priority of a job where it waits; one that runs keeps its slot."""
    job = job_of(asked)
    asked.note(
        reason=body.reason or None,
        before={"priority": job.priority},
        after={"priority": body.priority},
    )
    return job_answers.accepted(current_door().jobs.store.set_priority(job.id, body.priority))
