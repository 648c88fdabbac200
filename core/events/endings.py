"""The events of a job's end, made from its record alone.

The record has all facts. So any process can publish an end that is not published yet: the run that
ended the job, another node, or a door, also long afterwards.
"""

from typing import Any

from core.events.bus import Event, JobEndEvent, clean
from core.jobs import Job, State
from core.names import VFolderId, counted

#: The reason in the record when a caller cancelled the job.
_REQUESTED = "cancel requested"


def end_event_of(job: Job) -> JobEndEvent:
    """Return the events of a job's end."""
    return JobEndEvent(job.id, _last(job), _stream(job))


def _last(job: Job) -> Event:
    fields: dict[str, Any] = {"task_id": job.id, "message": end_message(job)}
    match job.state:
        case State.SUCCEEDED:
            return Event("bgtask_done", fields)
        case State.PARTIAL if _nothing_failed(job):
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
    # After a partial end the vfolder is deleted or cloned, as the manager requested.
    if job.state in (State.SUCCEEDED, State.PARTIAL):
        return [Event(f"{name}_success", fields)]
    return [Event(f"{name}_failure", {**fields, "message": end_message(job)})]


def end_message(job: Job) -> str:
    """Return the sentence that says how a job ended."""
    if job.state is State.FAILED:
        error = job.member("error") or {}
        return clean(str(error.get("detail") or "The job failed."))
    if job.state is State.CANCELLED:
        reason = job.fields.get("reason") or _REQUESTED
        return "The job was cancelled" + (f": {clean(reason)}." if reason != _REQUESTED else ".")
    result = job.member("result") or {}
    return clean(str(result.get("sentence") or "The job is done."))


def _errors(job: Job) -> int:
    return int((job.member("progress") or {}).get("errors") or 0)


def _nothing_failed(job: Job) -> bool:
    """Return whether a partial job only left out what was not there or was not to be touched."""
    result = job.member("result") or {}
    left_out = result.get("existed") is False or result.get("skipped") or result.get("kept")
    return bool(left_out) and not _errors(job)


def _faults(job: Job) -> list[str]:
    entries = counted(_errors(job), "entry", "entries")
    return [f"{entries} could not be done; the report of job {job.id} names them"]


def _text_form(vfolder: str) -> str:
    return str(VFolderId.parse(vfolder))
