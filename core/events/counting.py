"""Counters of ended jobs: once in the cluster, in the process that published the end.

Each job is counted twice: under our own names, and as a background task under the names of the
reference, whose dashboards read them.
"""

from core.jobs import Job, State
from core.telemetry import metrics

#: Verbs whose task has another name in the reference.
_TASKS = {"clone": "clone_vfolder", "delete": "delete_vfolder"}
_CANCELLED = ("bgtask", "execute", "canceled")
#: The parts of an error whose code is none of ours, as for requests.
_FOREIGN = ("backendai", "generic", "internal-error")


def task_name(verb: str) -> str:
    """Return the name of a verb as a background task of the reference."""
    return _TASKS.get(verb, verb.replace("-", "_"))


def count_end(job: Job) -> None:
    """Count an ended job: its end, its seconds, and what it copied."""
    ended = int(job.fields["ended_at"])
    metrics.JOBS.labels(job.verb, job.state.value).inc()
    seconds = (ended - int(job.fields["created_at"])) / 1000
    metrics.JOB_SECONDS.labels(job.verb).observe(max(0.0, seconds))
    task = (task_name(job.verb), *_outcome(job))
    metrics.TASKS_DONE.labels(*task).inc()
    ran_seconds = (ended - (job.started_ms or ended)) / 1000
    metrics.TASK_SECONDS.labels(*task).observe(max(0.0, ran_seconds))
    result = job.member("result") or {}
    if "copied_bytes" in result:
        labels = job.volume, str(result.get("method") or "stream")
        metrics.COPIED_BYTES.labels(*labels).inc(result["copied_bytes"])
        metrics.COPIED_ITEMS.labels(*labels).inc(result.get("files", 0))


def _outcome(job: Job) -> tuple[str, ...]:
    """Return the status of a task, and the parts of its error's code; empty after a success."""
    if job.state in (State.SUCCEEDED, State.PARTIAL):
        return "success", "", "", ""
    if job.state is State.CANCELLED:
        return "failure", *_CANCELLED
    code = str((job.member("error") or {}).get("error_code")).split("_")
    return "failure", *(code if len(code) == len(_FOREIGN) else _FOREIGN)
