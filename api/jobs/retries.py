"""What is asked again when an ended job is retried: all of it, or only what failed."""

from typing import Any

from api.jobs import reports
from api.volumes import VolumeAccess
from core.errors import Conflict
from core.jobs import Job


def whole(job: Job) -> dict[str, Any]:
    """The request of the job, as it was."""
    found: dict[str, Any] = job.member("request")
    return found


def only_failed(job: Job, access: VolumeAccess) -> dict[str, Any]:
    """The request with those of its paths at or below which something failed.

    Raises:
        Conflict: the job's verb does all or nothing, or nothing of it failed.
    """
    request = whole(job)
    if job.verb != "delete-files":
        raise Conflict(f"The verb {job.verb} is tried again as a whole; leave out `only`.")
    report = reports.opened(access, job)
    try:
        named = access.within_deadline(job.volume, _failed, report, set(request["paths"]))
    finally:
        report.close()
    if not named:
        raise Conflict("No path of the job failed; there is nothing to try again.", job_id=job.id)
    return request | {"paths": [path for path in request["paths"] if path in named]}


def _failed(report: reports.ReportBody, paths: set[str]) -> set[str]:
    """Those of the paths at or below which something failed."""
    named: set[str] = set()
    for line in report.lines():
        named |= {path for path in _above(line["path"]) if path in paths}
        if named == paths:
            break
    return named


def _above(path: str) -> list[str]:
    """The path and every directory above it."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
