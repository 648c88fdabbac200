"""Jobs as the answers of a door: accepted, as they are now, followed; what callers send with them.

`Prefer: wait=N` (RFC 7240) delays an answer until the job ends. `Idempotency-Key` lets a request be
repeated. `Last-Event-ID` continues a broken stream of events (WHATWG HTML §9.2).
"""

import re
from http import HTTPStatus

from flask import Response, request

from api.http import answer
from api.jobs import WAIT_MAX_SECONDS, pointer, retry_after
from api.routes import parameters
from api.routes.door import current_door
from api.streaming import EventStream, ranges
from core.errors import Unavailable
from core.jobs import Job

#: Longest Idempotency-Key that is accepted (characters).
KEY_MAX = 255
PREFER = parameters.header(
    "Prefer", "`wait=N` delays the answer by up to N seconds, so that the job may have ended."
)
IDEMPOTENCY_KEY = parameters.header(
    "Idempotency-Key",
    "A text of your own: the same request with it joins the first job, for a day.",
    type="string",
    maxLength=KEY_MAX,
)
LAST_EVENT_ID = parameters.header("Last-Event-ID", "Where a broken stream of events ended.")
#: One preference of `Prefer` (RFC 7240): its name, and its value plain or quoted. Parameters that
#: follow are ignored.
_PREFERENCE = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*("[^"]*"|[^\s",;]*))?')
#: Digits of a number of seconds; more would be longer than any request waits.
_SECONDS_DIGITS_MAX = 9
#: Digits of a version of a job's record; longer ones are not ours.
_VERSION_DIGITS_MAX = 18


def accepted(job: Job) -> Response:
    """Return 202 with the job, its address and when to look again."""
    job, waited = _waited(job)
    response = _document(job, 202, waited=waited)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return response


def current(job: Job) -> Response:
    """Return the present state of the job, or 304; it may wait for its end first."""
    job, waited = _waited(job)
    if ranges.client_has(job.etag):
        headers = {"ETag": job.etag, "Cache-Control": "no-store"}
        if not job.state.ended:
            headers["Retry-After"] = str(retry_after(job))
        return Response(status=304, headers=headers)
    return _document(job, waited=waited)


def followed(job: Job) -> Response:
    """Return the events of the job as they happen.

    Raises:
        Unavailable: too many event streams are open at this door.
    """
    return followed_by(current_door().live.stream(job.id, _last_event_id()))


def followed_by(stream: EventStream) -> Response:
    """Return the response that sends a stream of events."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(
        stream, content_type="text/event-stream", headers=headers, direct_passthrough=True
    )


def idempotency_key() -> str:
    """Return the key of the request; empty without one.

    Raises:
        InvalidParameters: it is too long.
    """
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > KEY_MAX:
        raise pointer("Idempotency-Key", f"is longer than {KEY_MAX} characters")
    return key


def _document(job: Job, status: int = 200, *, waited: float = 0.0) -> Response:
    response = answer(current_door().jobs.document(job), status)
    response.headers["ETag"] = job.etag
    response.headers["Cache-Control"] = "no-store"
    if waited:
        response.headers["Preference-Applied"] = f"wait={waited:g}"
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


def _waited(job: Job) -> tuple[Job, float]:
    """Return the job after the wait that the request prefers, and its seconds; 0 without a wait."""
    seconds = _wait_seconds()
    waited = _ended_within(job, seconds)
    return (job, 0.0) if waited is None else (waited, seconds)


def ended_within(job: Job, seconds: float) -> Job:
    """Return the job when it has ended or the time is over; at once when too many callers wait."""
    return _ended_within(job, seconds) or job


def _ended_within(job: Job, seconds: float) -> Job | None:
    """Return the job as `ended_within`; None where it was not waited for."""
    try:
        return current_door().live.wait(job.id, seconds) if seconds else None
    except Unavailable:
        return None
