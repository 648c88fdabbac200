"""A retry of an ended job: its request again, or what failed of it."""

from typing import Any

from flask import request

from api.jobs import pointer, reports
from api.routes import parameters
from api.routes.door import current_door
from core.errors import Conflict
from core.jobs import Job

ONLY = parameters.in_query(
    "only", "`failed` takes only the paths that failed.", type="string", enum=["failed"]
)


def request_again(old: Job) -> dict[str, Any]:
    """Return the request of an ended job, or with `?only=failed` what failed of it.

    Raises:
        Conflict: the job has not ended, or nothing of it failed.
        InvalidParameters: the query has another parameter.
    """
    if not old.state.ended:
        raise Conflict(
            "The job has not ended yet; cancel it first, or wait for its end.", job_id=old.id
        )
    if _only_failed():
        return reports.failed_request(old, current_door().volume_access)
    return reports.full_request(old)


def _only_failed() -> bool:
    unknown = set(request.args) - {"only"}
    if unknown:
        raise pointer(min(unknown), "is not a parameter of a retry")
    only = request.args.get("only")
    if only not in (None, "failed"):
        raise pointer("only", "must be failed, or left out")
    return only == "failed"
