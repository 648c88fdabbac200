"""Routes of volumes: look, pause and resume, bandwidth, rescan, trash and purge rate."""

import time
from typing import Any

from flask import Response

from api.doors.operators.volume_facts import VolumeFacts, hidden_document
from api.http import no_content
from api.jobs import JobSubmission
from api.routes import (
    VOLUME_ERRORS,
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    current_door,
    job_answers,
    needs,
)
from api.routes.operating import no_query, no_store, purge_rates
from api.schemas import JobDocument, TrashList
from api.schemas import operators as shapes
from backends.retention import trash
from core.cluster import PauseNote
from core.errors import InvalidName, Locked, QuotaScopeNotFound, TrashNotFound, UnknownVolume
from core.names import QuotaScope, moment
from core.quota import HiddenUsageStore

blueprint = PeopleResource("volumes", __name__, description="Volumes, for operators.")

_HEADERS = ("Location", "Retry-After", "ETag")
_JOB = {202: RouteAnswer("Accepted; the body is the job.", JobDocument, headers=_HEADERS)}


@blueprint.operation(
    "GET",
    "/v1/volumes",
    Route(gives={200: RouteAnswer("The volumes.", shapes.VolumePage)}),
)
@needs("volumes.list", operators="volumes.read")
def list_volumes_of_caller(asked: PersonRequest) -> Response:
    """List the volumes that the caller may use: capabilities, fullness, and whether one is paused.

    Operators get all volumes with state, nodes, queue, bandwidth, speed and what waits in the
    trash. No storage system is called; `as_of` says how old a figure is.
    """
    no_query()
    facts = VolumeFacts(current_door())
    if asked.is_operator:
        found = facts.all()
    else:
        usable = asked.service.volumes_of(asked.caller)
        found = [facts.summary(name) for name in facts.names if name in usable]
    return no_store({"volumes": found, "at": moment(facts.queues.at)})


@blueprint.operation(
    "GET",
    "/v1/volumes/<volume>",
    Route(gives={200: RouteAnswer("The volume.", shapes.VolumeDocument)}, refuses=(UnknownVolume,)),
)
@needs("volumes.read")
def get_volume(asked: PersonRequest) -> Response:
    """Return one volume, as the list has it."""
    volume = asked.path["volume"]
    no_query()
    current_door().volume_access.check_known(volume)
    return no_store(VolumeFacts(current_door()).document(volume))


@blueprint.operation(
    "POST",
    "/v1/volumes/<volume>/pause",
    Route(
        takes=shapes.ReasonBody,
        gives={204: RouteAnswer("Its jobs are paused.")},
        refuses=(UnknownVolume,),
    ),
)
@needs("volumes.steer", noted=True)
def pause_jobs_of_volume(body: shapes.GivenReason, asked: PersonRequest) -> Response:
    """Pause all jobs of a volume; running ones stop at their next heartbeat and lose nothing.

    People who wait for one of its jobs read the reason. `resume` takes it back.
    """
    volume = asked.path["volume"]
    door = current_door()
    door.volume_access.check_known(volume)
    asked.note(target=f"volume:{volume}", reason=body.reason, after="paused")
    note = PauseNote(reason=body.reason, by=asked.caller.subject.word, at=time.time())
    door.jobs.notes.set(volume, note)
    door.jobs.store.pause_volume(volume)
    return no_content()


@blueprint.operation(
    "POST",
    "/v1/volumes/<volume>/resume",
    Route(
        takes=shapes.MaybeReasonBody,
        gives={204: RouteAnswer("Its jobs continue.")},
        refuses=(UnknownVolume,),
    ),
)
@needs("volumes.steer", noted=True)
def resume_jobs_of_volume(body: shapes.GivenReason, asked: PersonRequest) -> Response:
    """Let the jobs of a volume continue."""
    volume = asked.path["volume"]
    door = current_door()
    door.volume_access.check_known(volume)
    asked.note(target=f"volume:{volume}", reason=body.reason or None, after="resumed")
    door.jobs.store.pause_volume(volume, resume=True)
    door.jobs.notes.set(volume, None)
    return no_content()


@blueprint.operation(
    "PUT",
    "/v1/volumes/<volume>/bandwidth",
    Route(
        takes=shapes.BandwidthOrderBody,
        gives={204: RouteAnswer("Set.")},
        refuses=(UnknownVolume,),
    ),
)
@needs("volumes.steer", noted=True)
def set_bandwidth_of_volume(body: shapes.BandwidthOrder, asked: PersonRequest) -> Response:
    """Limit the bandwidth of the jobs and streams of a volume together; null lifts the limit.

    Each has an equal share. Jobs apply it at their next heartbeat, streams within two seconds.
    """
    volume = asked.path["volume"]
    door = current_door()
    door.volume_access.check_known(volume)
    share = door.bandwidth.shares().get(volume)
    asked.note(
        target=f"volume:{volume}",
        reason=body.reason or None,
        before={"bytes_per_second": share.bytes_per_second if share else None},
        after={"bytes_per_second": body.bytes_per_second},
    )
    door.bandwidth.set(volume, body.bytes_per_second)
    return no_content()


@blueprint.operation(
    "POST",
    "/v1/volumes/<volume>/rescan",
    Route(
        takes=shapes.RescanOrderBody,
        gives=_JOB,
        parameters=(job_answers.PREFER,),
        refuses=(UnknownVolume, QuotaScopeNotFound, Locked),
    ),
)
@needs("jobs.rescan", noted=True)
def rescan_volume(body: shapes.RescanOrder, asked: PersonRequest) -> Response:
    """Compare a volume with its records by a job; its report names every deviation.

    With `repair` what can be repaired is repaired, or only `kinds` of it. Without, it is a dry run.
    What is not understood is never touched.
    """
    volume = asked.path["volume"]
    current_door().volume_access.check_known(volume)
    asked.note(
        target=f"volume:{volume}",
        reason=body.reason or None,
        after={"scope": body.scope, "repair": body.repair, "kinds": body.kinds},
    )
    request = {
        "verb": "rescan",
        "volume": volume,
        "owner": body.scope,
        "repair": body.repair,
        "kinds": body.kinds,
    }
    submission = JobSubmission(requester=asked.caller.subject.word)
    return job_answers.accepted(current_door().jobs.submit(request, submission))


@blueprint.operation(
    "POST",
    "/v1/volumes/<volume>/adopt",
    Route(
        takes=shapes.AdoptOrderBody,
        gives=_JOB,
        parameters=(job_answers.PREFER,),
        refuses=(UnknownVolume, Locked),
    ),
)
@needs("jobs.adopt", noted=True)
def adopt_scope_of_volume(body: shapes.AdoptOrder, asked: PersonRequest) -> Response:
    """Put all that a quota scope holds under a limit of the storage system, by a job.

    So what other programs wrote counts, too. No content is changed; a job that is cut off sets no
    limit. On a volume whose storage system enforces no limits the job fails.
    """
    volume = asked.path["volume"]
    current_door().volume_access.check_known(volume)
    after = {"scope": body.scope, "limit_bytes": body.limit_bytes}
    asked.note(target=f"volume:{volume}", reason=body.reason, after=after)
    request = {"verb": "adopt", "volume": volume, "owner": body.scope}
    submission = JobSubmission(requester=asked.caller.subject.word)
    jobs = current_door().jobs
    return job_answers.accepted(
        jobs.submit(request | {"limit_bytes": body.limit_bytes}, submission)
    )


# -- Trash -----------------------------------------------------------------------------------------
@blueprint.operation(
    "GET",
    "/v1/trash",
    Route(gives={200: RouteAnswer("The backlog.", shapes.TrashBacklog)}),
)
@needs("volumes.read")
def list_trash_backlog(asked: PersonRequest) -> Response:  # noqa: ARG001 - every view has it
    """Return what waits in the trash and in staging of each volume, as the last sweep counted it.

    `hidden` is null where no sweep ended for a week. `purges` has what limits the purges of the
    volume, and how fast the running ones go.
    """
    no_query()
    door = current_door()
    store, now = HiddenUsageStore(door.jobs.redis), time.time()
    found: list[dict[str, Any]] = []
    for name, purges in purge_rates(door.access.volumes()).items():
        usage = store.last(name)
        hidden = None if usage is None else hidden_document(usage, now)
        found.append({"volume": name, "hidden": hidden, "purges": purges})
    return no_store({"volumes": found})


@blueprint.operation(
    "PUT",
    "/v1/volumes/<volume>/purge-rate",
    Route(
        takes=shapes.PurgeRateOrderBody,
        gives={204: RouteAnswer("Set.")},
        refuses=(UnknownVolume,),
    ),
)
@needs("trash.steer", noted=True)
def set_purge_rate_of_volume(body: shapes.PurgeRateOrder, asked: PersonRequest) -> Response:
    """Limit the entries per second that the running purges of a volume remove together.

    Each has an equal share from its next heartbeat on. Null lifts the limit.
    """
    volume = asked.path["volume"]
    door = current_door()
    door.volume_access.check_known(volume)
    rates = door.purge_rates
    asked.note(
        target=f"volume:{volume}",
        reason=body.reason or None,
        before={"entries_per_second": rates.running([volume])[volume].entries_per_second},
        after={"entries_per_second": body.entries_per_second},
    )
    rates.set(volume, body.entries_per_second)
    return no_content()


@blueprint.operation(
    "GET",
    "/v1/volumes/<volume>/scopes/<scope>/trash",
    Route(
        gives={200: RouteAnswer("The deleted vfolders, newest first.", TrashList)},
        refuses=(UnknownVolume, QuotaScopeNotFound, InvalidName, *VOLUME_ERRORS),
    ),
)
@needs("volumes.read")
def list_trash_of_scope(asked: PersonRequest) -> Response:
    """List the deleted vfolders of a quota scope that are kept, and their total size."""
    volume = asked.path["volume"]
    scope = asked.path["scope"]
    no_query()
    kept = current_door().volume_access.on_volume(volume, trash.kept, QuotaScope.parse(scope))
    return no_store(
        {
            "trash": [deleted.document() for deleted in kept],
            "size_bytes": sum(deleted.size_bytes or 0 for deleted in kept),
            "entries": sum(deleted.entries or 0 for deleted in kept),
        }
    )


@blueprint.operation(
    "POST",
    "/v1/volumes/<volume>/scopes/<scope>/trash/<trash_id>/purge",
    Route(
        takes=shapes.ReasonBody,
        gives=_JOB,
        parameters=(job_answers.PREFER,),
        refuses=(UnknownVolume, InvalidName, TrashNotFound, Locked, *VOLUME_ERRORS),
    ),
)
@needs("trash.steer", noted=True)
def purge_from_trash(body: shapes.GivenReason, asked: PersonRequest) -> Response:
    """Remove a deleted vfolder for good, before its time, by a job. It cannot be taken back."""
    volume = asked.path["volume"]
    scope = asked.path["scope"]
    trash_id = asked.path["trash_id"]
    door = current_door()
    kept = door.volume_access.on_volume(volume, trash.kept, QuotaScope.parse(scope))
    found = next((one for one in kept if one.id == trash_id), None)
    if found is None:
        raise TrashNotFound("The trash of this scope has no such deletion.")
    asked.note(
        target=f"volume:{volume}",
        vfolder=found.vfolder,
        reason=body.reason,
        before={"trash": trash_id, "size_bytes": found.size_bytes},
    )
    request = {"verb": "purge", "volume": volume, "vfolder": found.vfolder, "trash": trash_id}
    submission = JobSubmission(requester=asked.caller.subject.word)
    return job_answers.accepted(door.jobs.submit(request, submission))
