"""Routes of usage: small vfolders are counted at once, big ones by a job."""

import time
from typing import Any

from flask import Response

from api.http import answer
from api.jobs import retry_after
from api.routes import Door, Resource, Route, RouteAnswer, current_door
from api.schemas import UsageAnswer, UsedBytesAnswer, VFolderBody, VFolderOfRequest
from backends.quota import quick_usage
from backends.volumes import operations
from core.errors import Locked, VFolderNotFound
from core.names import moment, moment_ns
from core.quota import LastUsageStore

blueprint = Resource("usage", __name__, description="Usage of vfolders.")

#: An older figure is still returned, and a job counts again (seconds).
STALE_SECONDS = 600.0
_LATER = "Not known yet; the job `bgtask_id` counts it."


@blueprint.operation(
    "GET",
    "/folder/usage",
    Route(
        takes=VFolderBody,
        gives={
            200: RouteAnswer("Its entries and bytes.", UsageAnswer),
            202: RouteAnswer(_LATER, UsageAnswer, headers=("Location", "Retry-After")),
        },
        refuses=(VFolderNotFound, Locked),
    ),
)
def get_usage(body: VFolderOfRequest) -> Response:
    """Return the number of entries of a vfolder, and the sum of the lengths of its files.

    A small vfolder is counted at once. For a big one, the answer has the last known figures and
    when they were counted (`as_of`). Without any, they are null and a job counts. A file with
    several hard links counts once in bytes.
    """
    return _answer(_usage(body), {"file_count": "file_count", "used_bytes": "used_bytes"})


@blueprint.operation(
    "GET",
    "/folder/used-bytes",
    Route(
        takes=VFolderBody,
        gives={
            200: RouteAnswer("Its bytes on the storage.", UsedBytesAnswer),
            202: RouteAnswer(_LATER, UsedBytesAnswer, headers=("Location", "Retry-After")),
        },
        refuses=(VFolderNotFound, Locked),
    ),
)
def get_used_bytes(body: VFolderOfRequest) -> Response:
    """Return the bytes that a vfolder takes on the storage, with its directories, as du counts.

    Big vfolders are answered as by `/folder/usage`.
    """
    return _answer(_usage(body), {"used_bytes": "allocated_bytes"})


def _usage(body: VFolderOfRequest) -> dict[str, Any]:
    """Return figures with `as_of`, or the job that counts them."""
    door = current_door()
    known = door.volume_access.on_volume(body.volume, operations.fast_usage, body.vfolder)
    if known is not None and known.complete:
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
    if last is not None and _age_seconds(last["as_of"]) < STALE_SECONDS:
        return last
    request = {"verb": "usage", "volume": body.volume, "vfolder": str(body.vfolder)}
    job = door.jobs.submit(request)
    return last or {"job": job}


def _answer(usage: dict[str, Any], names: dict[str, str]) -> Response:
    job = usage.get("job")
    figures = {name: usage.get(known) for name, known in names.items()}
    if job is None:
        return answer({**figures, "as_of": usage["as_of"]})
    response = answer({**figures, "as_of": None, "bgtask_id": job.id}, 202)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = str(retry_after(job))
    return response


def _age_seconds(as_of: str) -> float:
    return time.time() - moment_ns(as_of) / 1e9
