"""Routes of a person's jobs: list, look, follow, cancel."""

from flask import Response, request
from werkzeug.datastructures import MultiDict

from api.http import answer
from api.routes import (
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    current_door,
    job_answers,
    job_lists,
    needs,
    parameters,
)
from api.schemas import JobDocument, JobLog, JobPage
from core.errors import Defect, NotCancellable, Unavailable
from core.jobs import Job

blueprint = PeopleResource("jobs", __name__, description="Jobs of the caller.")

_FILTERS = tuple(one for one in job_lists.FILTERS if one.name != "requester")
_REQUESTER = parameters.in_query("requester", "`me`, as without it.", type="string", enum=["me"])
_HEADERS = ("Location", "Retry-After", "ETag")


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
@needs("jobs.list")
def list_my_jobs(asked: PersonRequest) -> Response:
    """List the jobs that the caller requested, newest first; filters as at the manager door.

    A key that is bound to vfolders lists those about them; a page may have fewer then.
    """
    arguments = MultiDict(request.args)
    if arguments.getlist("requester") == ["me"]:
        arguments.pop("requester")
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
    "POST",
    "/v1/jobs/<job_id>/cancel",
    Route(
        gives={202: RouteAnswer("Accepted; the body is the job.", JobDocument, headers=_HEADERS)},
        parameters=(job_answers.PREFER,),
        refuses=(NotCancellable,),
    ),
)
@needs("jobs.steer")
def cancel_my_job(asked: PersonRequest) -> Response:
    """Cancel a job; see the same route of the manager door."""
    return job_answers.accepted(current_door().jobs.cancel(job_of(asked).id))
