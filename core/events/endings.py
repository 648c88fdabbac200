"""What an ended job makes known, read from its record alone.

Because the record says everything, an end can be told by whoever finds it untold: the run that
ended the job, another node, or a door, also long afterwards.
"""

from typing import Any

from core.events.bus import Event, JobEndEvent, clean
from core.jobs import Job, State
from core.names import VFolderId

#: What the store gives as reason when somebody simply cancelled.
_ASKED = "cancel requested"


def end_event_of(job: Job) -> JobEndEvent:
    """The events of a job's end, in their order: for the manager first, then the task's own."""
    return JobEndEvent(job.id, _last(job), _stream(job))


def _last(job: Job) -> Event:
    fields: dict[str, Any] = {"task_id": job.id, "message": end_message(job)}
    match job.state:
        case State.SUCCEEDED:
            return Event("bgtask_done", fields)
        case State.PARTIAL:
            return Event("bgtask_partial_success", {**fields, "errors": _faults(job)})
        case State.CANCELLED:
            return Event("bgtask_cancelled", fields)
        case _:
            return Event("bgtask_failed", fields)


def _stream(job: Job) -> list[Event]:
    request = job.member("request") or {}
    match job.verb:
        case "delete":
            name, fields = "vfolder_deletion", {"vfid": _text_form(request["vfolder"])}
        case "clone":
            name = "vfolder_clone"
            fields = {
                "vfid": _text_form(request["source"]),
                "dst_vfid": _text_form(request["target"]),
            }
        case _:
            return []
    # A partial end has done what the manager asked for: the vfolder is gone, or is there.
    if job.state in (State.SUCCEEDED, State.PARTIAL):
        return [Event(f"{name}_success", fields)]
    return [Event(f"{name}_failure", {**fields, "message": end_message(job)})]


def end_message(job: Job) -> str:
    """The sentence that says how a job ended."""
    if job.state is State.FAILED:
        error = job.member("error") or {}
        return clean(str(error.get("detail") or "The job failed."))
    if job.state is State.CANCELLED:
        reason = job.fields.get("reason") or _ASKED
        return "The job was cancelled" + (f": {clean(reason)}." if reason != _ASKED else ".")
    result = job.member("result") or {}
    return clean(str(result.get("sentence") or "The job is done."))


def _faults(job: Job) -> list[str]:
    count = (job.member("progress") or {}).get("errors")
    return [f"{count} entries could not be done; the report of job {job.id} names them"]


def _text_form(vfolder: str) -> str:
    return str(VFolderId.parse(vfolder))
