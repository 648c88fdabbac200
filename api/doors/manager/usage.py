"""Routes of usage: small vfolders are counted at once, big ones by a job that the caller awaits."""

import time
from typing import Any

from flask import Response

from api.http import answer
from api.jobs import retry_after
from api.routes import Door, Resource, Route, RouteAnswer, current_door, on_behalf
from api.schemas import UsageAnswer, UsedBytesAnswer, VFolderBody, VFolderOfRequest
from backends.quota import quick_usage
from backends.volumes import operations
from core.errors import Locked, Unavailable, VFolderNotFound, reported
from core.jobs import PRIORITY_FIRST, Job, State
from core.names import moment, moment_ns
from core.quota import LastUsageStore

blueprint = Resource("usage", __name__, description="Usage of vfolders.")


class CountNotFinished(Unavailable):
    """The count of a vfolder takes longer than a caller waits; the job goes on."""

    kind = "storage/usage/not-counted-yet"
    title = "The vfolder is still being counted"


@blueprint.operation(
    "GET",
    "/folder/usage",
    Route(
        takes=VFolderBody,
        gives={200: RouteAnswer("Its entries and bytes.", UsageAnswer)},
        refuses=(VFolderNotFound, CountNotFinished),
    ),
)
@on_behalf.on_vfolder("vfolders.read")
def get_usage(body: VFolderOfRequest) -> Response:
    """Return the number of entries of a vfolder, and what its files hold: lengths without holes.

    A small vfolder is counted at once. For a big one, the answer comes when a job has counted it;
    several callers share one count. Figures of an earlier count are returned for a configured time;
    `as_of` says when they were counted. A file with several hard links counts once.
    """
    return _answer(_usage(body), {"file_count": "file_count", "used_bytes": "used_bytes"})


@blueprint.operation(
    "GET",
    "/folder/used-bytes",
    Route(
        takes=VFolderBody,
        gives={200: RouteAnswer("Its bytes on the storage.", UsedBytesAnswer)},
        refuses=(VFolderNotFound, CountNotFinished),
    ),
)
@on_behalf.on_vfolder("vfolders.read")
def get_used_bytes(body: VFolderOfRequest) -> Response:
    """Return the bytes that a vfolder takes on the storage, with its directories, as du counts.

    Big vfolders are answered as by `/folder/usage`.
    """
    return _answer(_usage(body, entries=False), {"used_bytes": "allocated_bytes"})


def _usage(body: VFolderOfRequest, *, entries: bool = True) -> dict[str, Any]:
    """Return figures with `as_of`; without `entries` also those of bytes only."""
    door = current_door()
    known = door.volume_access.on_volume(body.volume, operations.fast_usage, body.vfolder)
    if known is not None and known.complete and not (entries and known.file_count is None):
        sizes = dict.fromkeys(("used_bytes", "allocated_bytes"), known.used_bytes)
        return {"file_count": known.file_count, **sizes, "as_of": moment(time.time())}
    sums = door.volume_access.in_vfolder(body, quick_usage.count)
    if sums is not None:
        return {
            "file_count": sums.entries,
            "used_bytes": sums.size_bytes,
            "allocated_bytes": sums.allocated_bytes,
            "as_of": moment(time.time()),
        }
    return _counted_by_job(door, body)


def _counted_by_job(door: Door, body: VFolderOfRequest) -> dict[str, Any]:
    last = LastUsageStore(door.jobs.redis).last(body.volume, body.vfolder)
    own = door.settings.vfolder.usage
    if last is not None and _age_seconds(last["as_of"]) < own.reuse_seconds:
        return last
    request = {"verb": "usage", "volume": body.volume, "vfolder": str(body.vfolder)}
    try:
        job = door.jobs.submit(request, on_behalf.submission(priority=PRIORITY_FIRST)).id
    except Locked as error:  # it is being counted for another caller, with a label for example
        job = error.facts["job_id"]
    return _figures(door.live.wait(job, own.answer_seconds))


def _figures(job: Job) -> dict[str, Any]:
    """Return what a job counted, with its end as `as_of`.

    Raises:
        CountNotFinished: it still runs, or it was cancelled.
        StorageError: it failed; the error is that of the job.
    """
    if not job.state.ended:
        raise CountNotFinished(
            "The vfolder is still being counted; try again later.",
            job_id=job.id,
            retry_after=retry_after(job),
        )
    document = job.document()
    if job.state in {State.SUCCEEDED, State.PARTIAL}:
        return {**document["result"], "as_of": document["ended_at"]}
    if job.state is State.CANCELLED:
        raise CountNotFinished("The count was cancelled; try again.", job_id=job.id)
    raise reported(document["error"], job_id=job.id)


def _answer(usage: dict[str, Any], names: dict[str, str]) -> Response:
    return answer({name: usage[known] for name, known in names.items()} | {"as_of": usage["as_of"]})


def _age_seconds(as_of: str) -> float:
    return time.time() - moment_ns(as_of) / 1e9
