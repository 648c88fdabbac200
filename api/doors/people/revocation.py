"""Jobs that end with a revoked grant: those that their requesters may not do any more."""

from collections.abc import Iterator
from contextlib import suppress

from api.doors.people.keys import parts_of_door
from api.jobs import reports
from api.routes import PersonRequest, current_door
from backends.volumes.access import JobDecisions
from core.access import Grant
from core.errors import NotCancellable, StorageError
from core.jobs import Job, State, access_of, requests
from core.jobs.requests import lock_key
from core.jobs.store import PAGE_MAX, Query
from core.telemetry import logger

_LIVE = (State.QUEUED, State.RUNNING)
_log = logger(__name__)


def cancel_jobs(asked: PersonRequest, grant: Grant) -> None:
    """Cancel the live jobs about a vfolder that need a grant which was revoked.

    Each is decided as of now: who has the permission by another way keeps its jobs. What cannot be
    decided now goes on. Costs a look at each live job about the vfolder.
    """
    service = asked.service
    decisions = JobDecisions(
        service.parts.records,
        parts_of_door().subjects,
        service.deciders,
        members_may=service.members_may_create,
    )
    for job in list(_live_jobs(asked, grant)):
        access = access_of(requests.parse(reports.full_request(job)))
        try:
            if access is None or decisions.decide(job, access).allowed:
                continue
        except StorageError as error:
            _log.warning("job not decided after a revocation", job_id=job.id, reason=error.detail)
            continue
        with suppress(NotCancellable):
            current_door().jobs.cancel(job.id)


def _live_jobs(asked: PersonRequest, grant: Grant) -> Iterator[Job]:
    found = asked.vfolder
    filters = {"vfolder": str(found.vfolder)}
    if grant.to.startswith("user:"):
        filters["requester"] = grant.to
    for state in _LIVE:
        cursor = ""
        while True:
            query = Query(
                filters={**filters, "state": state},
                limit=PAGE_MAX,
                cursor=cursor,
                lock_key=lock_key(found.volume, str(found.vfolder)),
            )
            page = current_door().jobs.lists.page(query)
            yield from (job for job in page.jobs if job.person)
            cursor = page.next
            if not cursor:
                break
