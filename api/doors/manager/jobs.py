"""Routes of jobs: submit, list, follow, control; and the older routes that submit the same jobs."""

import re
import time
from collections.abc import Callable
from http import HTTPStatus

from flask import Response, request
from werkzeug.datastructures import MultiDict

from api.http import answer, no_content
from api.jobs import MANAGER, WAIT_MAX_SECONDS, JobSubmission, pointer, reports, retry_after
from api.routes import Resource, Route, RouteAnswer, current_door, parameters
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
from api.streaming import ranges
from core.errors import (
    Conflict,
    InvalidName,
    JobNotFound,
    KeyReused,
    Locked,
    NotCancellable,
    QuotaScopeNotFound,
    TrashNotFound,
    Unavailable,
    UnknownVolume,
    VFolderExists,
    VFolderNotFound,
)
from core.jobs import Job, State
from core.jobs.requests import VERBS
from core.jobs.store import INDEXED, PAGE_DEFAULT, PAGE_MAX, Query
from core.names import SCOPE_PATTERN, VFOLDER_PATTERN, QuotaScope, VFolderId, moment_ns

blueprint = Resource("jobs", __name__, description="Long operations.")
older_routes = Resource("bgtasks", __name__, description="Older routes for long work.")

#: Longest Idempotency-Key that is accepted (characters).
KEY_MAX = 255
#: A place in the list, as an answer gives it; empty is its beginning.
CURSOR_PATTERN = "^[0-9]{0,19}$"
#: One preference of `Prefer` (RFC 7240): its name, and its value plain or quoted. Parameters that
#: follow are ignored.
_PREFERENCE = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*("[^"]*"|[^\s",;]*))?')
#: Digits of a number of seconds; more would be longer than any request waits.
_SECONDS_DIGITS_MAX = 9
#: Digits of a version of a job's record; longer ones are not ours.
_VERSION_DIGITS_MAX = 18
_ACCEPTED = RouteAnswer(
    "Accepted; the body is the job.", JobDocument, headers=("Location", "Retry-After", "ETag")
)
_ACCEPTED_BGTASK = RouteAnswer(
    "Accepted; `bgtask_id` names the job.", JobDocument, headers=("Location", "Retry-After", "ETag")
)
_PREFER = parameters.header(
    "Prefer", "`wait=N` delays the answer by up to N seconds, so that the job may have ended."
)
_IDEMPOTENCY_KEY = parameters.header(
    "Idempotency-Key",
    "A text of your own: the same request with it joins the first job, for a day.",
    type="string",
    maxLength=KEY_MAX,
)
_VFOLDER = rf"^(?:[A-Za-z0-9][A-Za-z0-9_.-]*/)?{VFOLDER_PATTERN.removeprefix('^')}"
_ONLY = parameters.in_query(
    "only", "`failed` takes only the paths that failed.", type="string", enum=["failed"]
)
_LAST_EVENT_ID = parameters.header("Last-Event-ID", "Where a broken stream of events ended.")
_FILTERS = (
    parameters.in_query("state", "Its state.", type="string", enum=[one.value for one in State]),
    parameters.in_query("verb", "What it does.", type="string", enum=sorted(VERBS)),
    parameters.in_query("volume", "Its volume.", type="string", minLength=1),
    parameters.in_query("scope", "Its quota scope.", type="string", pattern=SCOPE_PATTERN),
    parameters.in_query(
        "vfolder", "A vfolder that it uses: `ID` or `VOLUME/ID`.", type="string", pattern=_VFOLDER
    ),
    parameters.in_query("requester", "Who submitted it.", type="string", minLength=1),
    parameters.in_query("label", "The label of its request.", type="string", minLength=1),
    parameters.in_query(
        "since", "The earliest moment of its creation, as `2026-01-31T12:00:00Z` (RFC 3339)."
    ),
    parameters.in_query(
        "limit",
        "The most jobs of the page.",
        type="integer",
        minimum=1,
        maximum=PAGE_MAX,
        default=PAGE_DEFAULT,
    ),
    parameters.in_query(
        "cursor", "`next` of the page before.", type="string", pattern=CURSOR_PATTERN
    ),
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
    """Return 202 with the job, its address and when to look again."""
    response = _document(_ended_within(job, _wait_seconds()), 202)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return response


def _document(job: Job, status: int = 200) -> Response:
    response = answer(current_door().jobs.document(job), status)
    response.headers["ETag"] = job.etag
    response.headers["Cache-Control"] = "no-store"
    if waits := _wait_seconds():
        response.headers["Preference-Applied"] = f"wait={waits:g}"
    if status == HTTPStatus.ACCEPTED or not job.state.ended:
        response.headers["Retry-After"] = str(retry_after(job))
    return response


def _wait_seconds() -> float:
    """Return the seconds of `Prefer: wait=N` that are honoured; the first of several counts."""
    for preference in _list_elements(request.headers.get("Prefer", "")):
        match = _PREFERENCE.match(preference)
        if match and match[1].lower() == "wait":
            text = (match[2] or "").strip('"')
            digits = text.isascii() and text.isdigit() and len(text) <= _SECONDS_DIGITS_MAX
            return min(float(text), WAIT_MAX_SECONDS) if digits else 0.0
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
    """Return the job when it has ended or the time is over; at once when too many callers wait."""
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
        parameters=(_IDEMPOTENCY_KEY, _PREFER),
        refuses=_SUBMITS,
    ),
)
def submit_job(body: JobOrder) -> Response:
    """Submit a job.

    A request that cannot succeed is refused at once. The same request joins the first job while
    that job is alive; with an `Idempotency-Key` also afterwards, for a day. With `plan` nothing is
    done: the answer says how the job would run, and lists every refusal. `Prefer: wait=N` delays
    the answer by up to N seconds, so that it may already have the result.
    """
    jobs = current_door().jobs
    if body.plan:
        return answer(current_door().planner.plan(body.request))
    deadline = int((time.time() + body.deadline_seconds) * 1000) if body.deadline_seconds else 0
    submission = JobSubmission(
        requester=MANAGER,
        idempotency_key=_key(),
        label=body.label,
        priority=body.priority,
        deadline_ms=deadline,
    )
    return accepted(jobs.submit(body.request, submission))


def _key() -> str:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > KEY_MAX:
        raise pointer("Idempotency-Key", f"is longer than {KEY_MAX} characters")
    return key


@blueprint.operation(
    "GET", "/v1/jobs", Route(gives={200: RouteAnswer("One page.", JobPage)}, parameters=_FILTERS)
)
def list_jobs() -> Response:
    """List jobs, newest first.

    Filters: `state`, `verb`, `volume`, `scope`, `vfolder`, `requester`, `label`, and `since` (a
    moment as in RFC 3339). Where an id exists on two volumes, `vfolder=VOLUME/ID` names one.
    Pages: `limit` (50, at most 500) and `cursor` (from `next`). Jobs that start or end meanwhile do
    not shift the pages.
    """
    query = job_query(request.args)
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
        parameters=(parameters.IF_NONE_MATCH, _PREFER),
        refuses=(JobNotFound,),
    ),
)
def get_job(job_id: str) -> Response:
    """Return a job.

    Send the `ETag` of the last answer as `If-None-Match` to get 304 while nothing has changed.
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
    Route(gives={202: _ACCEPTED}, parameters=(_PREFER,), refuses=(JobNotFound, NotCancellable)),
)
def cancel_job(job_id: str) -> Response:
    """Cancel a job.

    A job that never ran is cancelled at once; a running one cleans up first. The answer is 409 when
    the job has ended, or is past the point of no return.
    """
    return accepted(current_door().jobs.cancel(job_id))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/pause",
    Route(gives={202: _ACCEPTED}, parameters=(_PREFER,), refuses=(JobNotFound, Conflict)),
)
def pause_job(job_id: str) -> Response:
    """Pause a job: it keeps its progress and continues after `resume`."""
    return accepted(current_door().jobs.store.pause(job_id))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/resume",
    Route(gives={202: _ACCEPTED}, parameters=(_PREFER,), refuses=(JobNotFound, Conflict)),
)
def resume_job(job_id: str) -> Response:
    """Let a paused job continue."""
    return accepted(current_door().jobs.store.pause(job_id, resume=True))


@blueprint.operation(
    "PUT",
    "/v1/jobs/<job_id>/bandwidth",
    Route(
        takes=BandwidthBody,
        gives={202: _ACCEPTED},
        parameters=(_PREFER,),
        refuses=(JobNotFound, Conflict),
    ),
)
def set_job_bandwidth(body: Bandwidth, job_id: str) -> Response:
    """Limit the bandwidth of one job; null lifts the limit. It applies at the next heartbeat."""
    return accepted(current_door().jobs.store.set_pace(job_id, body.bytes_per_second))


@blueprint.operation(
    "POST",
    "/v1/jobs/<job_id>/retry",
    Route(
        gives={202: _ACCEPTED},
        parameters=(_ONLY, _IDEMPOTENCY_KEY, _PREFER),
        refuses=(JobNotFound, Conflict, *_SUBMITS),
    ),
)
def retry_job(job_id: str) -> Response:
    """Submit the request of an ended job again, as a new job that is linked by `retry_of`.

    With `?only=failed` the new job has only those paths of a `delete-files` that failed; the other
    verbs are always retried completely. `Idempotency-Key` works as for a first request.
    """
    door = current_door()
    old = door.jobs.store.get(job_id)
    if not old.state.ended:
        raise Conflict(
            "The job has not ended yet; cancel it first, or wait for its end.", job_id=old.id
        )
    only = _only()
    submission = JobSubmission(
        requester=MANAGER,
        idempotency_key=_key(),
        label=old.fields.get("label", ""),
        priority=old.priority,
        retry_of=old.id,
    )
    again = reports.failed_request(old, door.volume_access) if only else reports.full_request(old)
    return accepted(door.jobs.submit(again, submission))


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
        parameters=(_LAST_EVENT_ID,),
        refuses=(JobNotFound,),
    ),
)
def follow_job(job_id: str) -> Response:
    """Follow a job as server-sent events: its document at every change, then `done`.

    `Last-Event-ID` continues where a broken stream ended. A comment comes at least every ten
    seconds.
    """
    door = current_door()
    door.jobs.store.get(job_id)
    stream = door.live.stream(job_id, _last_event_id())
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(
        stream, content_type="text/event-stream", headers=headers, direct_passthrough=True
    )


def job_query(arguments: MultiDict[str, str]) -> Query:
    """Return the query that the arguments of `GET /v1/jobs` describe.

    Raises:
        InvalidParameters: an argument is unknown, is given twice, or has an invalid value.
    """
    unknown = set(arguments) - {*INDEXED, "since", "limit", "cursor"}
    if unknown:
        raise pointer(min(unknown), "is not a filter of this list")
    for name, values in arguments.lists():
        if len(values) > 1:
            raise pointer(name, "is given more than once")
    given = {name: arguments[name] for name in INDEXED if name in arguments}
    on = _volume_of(given.get("vfolder", ""))
    if on:
        given["vfolder"] = given["vfolder"][len(on) + 1 :]
    filters = {name: _filter(name, text) for name, text in given.items()}
    return Query(
        filters=filters,
        lock_key=f"{on}/{filters['vfolder']}" if on else "",
        limit=_limit(arguments.get("limit", "")),
        cursor=arguments.get("cursor", ""),
        since_ms=_since(arguments.get("since", "")),
    )


def _volume_of(vfolder: str) -> str:
    """Return the volume of a filter `VOLUME/ID`; empty for the id alone, in any of its forms."""
    volume, slash, rest = vfolder.partition("/")
    is_scope = ":" in volume
    return volume if slash and rest and not is_scope else ""


def _filter(name: str, text: str) -> str:
    if not text:
        raise pointer(name, "is empty; leave it out")
    form = _FORMS.get(name)
    try:
        return form(text) if form else text
    except InvalidName as error:
        raise pointer(name, error.detail.rstrip(".")) from None


def _one_of(name: str, known: list[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in known:
            raise pointer(name, f"is none of {', '.join(known)}")
        return text

    return check


_FORMS: dict[str, Callable[[str], str]] = {
    "state": _one_of("state", [state.value for state in State]),
    "verb": _one_of("verb", sorted(VERBS)),
    "scope": lambda text: str(QuotaScope.parse(text)),
    "vfolder": lambda text: str(VFolderId.parse(text)),
}


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
        return moment_ns(text) // 1_000_000
    except ValueError as error:
        raise pointer("since", str(error)) from None


@older_routes.operation(
    "POST",
    "/folder/delete",
    Route(
        takes=VFolderBody, gives={202: _ACCEPTED_BGTASK}, parameters=(_PREFER,), refuses=(Locked,)
    ),
)
def delete_vfolder(body: VFolderOfRequest) -> Response:
    """Delete a vfolder.

    It disappears at once, and its bytes are removed afterwards. An absent one is a success. On a
    volume that is not configured the job fails at once: callers wait for the event of its end.
    """
    request = {"verb": "delete", "volume": body.volume, "vfolder": str(body.vfolder)}
    jobs, submission = current_door().jobs, JobSubmission(MANAGER)
    try:
        return accepted(jobs.submit(request, submission))
    except UnknownVolume as error:
        return accepted(jobs.submit_refused(request, submission, error))


@older_routes.operation(
    "POST",
    "/folder/clone",
    Route(
        takes=CloneVFolderBody,
        gives={202: _ACCEPTED_BGTASK},
        parameters=(_PREFER,),
        refuses=(VFolderNotFound, VFolderExists, Locked),
    ),
)
def clone_vfolder(body: CloneVFolder) -> Response:
    """Copy a vfolder to a new one; the source must exist, the target must not."""
    request = {
        "verb": "clone",
        "volume": body.volume,
        "source": str(body.source),
        "target": str(body.target),
        "target_volume": body.target_volume,
    }
    return accepted(current_door().jobs.submit(request, JobSubmission(MANAGER)))


@older_routes.operation(
    "POST",
    "/folder/file/delete-async",
    Route(
        takes=DeleteEntriesBody,
        gives={202: _ACCEPTED_BGTASK},
        parameters=(_PREFER,),
        refuses=(VFolderNotFound,),
    ),
)
def delete_entries_later(body: DeleteEntries) -> Response:
    """Remove entries of a vfolder in a job; absent ones are skipped."""
    request = {
        "verb": "delete-files",
        "volume": body.volume,
        "vfolder": str(body.vfolder),
        "paths": [str(path) for path in body.paths],
        "recursive": body.recursive,
    }
    return accepted(current_door().jobs.submit(request, JobSubmission(MANAGER)))
