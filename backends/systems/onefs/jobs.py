"""The job TreeDelete: OneFS removes a directory tree by itself (job engine)."""

from msgspec import Struct

from backends.mounted.rest import ArrayAnswer, ArrayRefused, ArrayRequest, jobs
from backends.systems.onefs.connection import Platform

_TYPE = "TreeDelete"
_SUCCEEDED = "succeeded"
#: In every other state the job still runs, waits or is paused.
_ENDED = frozenset(
    {_SUCCEEDED, "failed", "failed_not_retried", "cancelled_user", "cancelled_system"}
)


class _Job(Struct):
    id: int
    type: str = ""
    state: str = "unknown"
    paths: list[str] | None = None


class _Jobs(Struct):
    jobs: list[_Job]
    resume: str | None = None


class _Started(Struct):
    id: int


def remove_tree(platform: Platform, path: str) -> None:
    """Let OneFS remove a tree; wait for its job until the deadline.

    Raises:
        ArrayRefused: the job ended otherwise; the text has its number.
        DeadlineExceeded: the job continues on the cluster.
    """
    list_path = platform.path("job/jobs", 1)
    body = {"type": _TYPE, "paths": [path]}

    def started() -> _Started | None:
        rows = platform.rows(list_path, _Jobs, lambda page: (page.jobs, page.resume))
        mine = [job.id for job in rows if job.type == _TYPE and path in (job.paths or [])]
        if mine:
            return _Started(max(mine))
        return None if platform.has_directory(path) else _Started(0)

    request = ArrayRequest("POST", list_path, body=body, shape=_Started)
    answer = platform.client.create(request, started)
    number = (answer.body if isinstance(answer, ArrayAnswer) else answer).id
    if number:
        _await(platform, number, path)


def _await(platform: Platform, number: int, path: str) -> None:
    state = ""

    def finished() -> bool:
        nonlocal state
        page = platform.client.find(platform.path(f"job/jobs/{number}", 1), _Jobs)
        if page is None:
            state = "forgotten"
            return True
        state = page.jobs[0].state if page.jobs else "unknown"
        return state in _ENDED

    jobs.wait(finished)
    if state != _SUCCEEDED and platform.has_directory(path):
        raise ArrayRefused(f"OneFS's job {number} ({_TYPE}) ended as {state}.")
