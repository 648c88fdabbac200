"""Jobs as callers see them: documents, pages, plans; and the limits of volumes."""

from dataclasses import dataclass

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import Body
from core.jobs import Lane, State

#: The highest purge rate (entries per second): far above what any storage removes.
PURGE_RATE_MAX = 1_000_000_000


class JobProgress(ma.Schema):
    """The progress of a job; an unknown member is null."""

    text = fields.String(metadata={"description": "The progress as one sentence."})
    phase = fields.String()
    waits_for = fields.String(
        allow_none=True,
        metadata={"description": "What has to come back before anything moves, in words."},
    )
    percent = fields.Float(allow_none=True)
    done_items = fields.Integer()
    total_items = fields.Integer(allow_none=True)
    done_bytes = fields.Integer()
    total_bytes = fields.Integer(allow_none=True)
    items_per_second = fields.Float(allow_none=True)
    bytes_per_second = fields.Float(allow_none=True)
    eta_seconds = fields.Integer(allow_none=True)
    stalled_seconds = fields.Integer(allow_none=True)
    entry = fields.String(allow_none=True)
    errors = fields.Integer()
    phases = fields.List(fields.Dict())


class QueuePlace(ma.Schema):
    """The position of a waiting job among those of its lane and priority that wait for a slot."""

    position = fields.Integer(
        allow_none=True,
        metadata={"description": "From 1; null where more quota scopes wait than are counted."},
    )
    length = fields.Integer()
    ahead_at_least = fields.Integer(
        metadata={"description": "At least so many jobs go first; exact when `position` is known."}
    )


class JobDocument(ma.Schema):
    """The current state of a job."""

    id = fields.String()
    bgtask_id = fields.String(
        metadata={"description": "The same id, under the name that older clients read."}
    )
    verb = fields.String()
    volume = fields.String()
    lane = fields.String(validate=validate.OneOf([lane.value for lane in Lane]))
    scope = fields.String(allow_none=True)
    request = fields.Dict()
    state = fields.String(validate=validate.OneOf([state.value for state in State]))
    state_reason = fields.String(
        allow_none=True,
        metadata={
            "description": "What a queued job waits for, or a running one whose other node is away."
        },
    )
    waits_for = fields.String(allow_none=True)
    done = fields.Boolean()
    progress = fields.Nested(JobProgress, allow_none=True)
    result = fields.Dict(allow_none=True)
    error = fields.Dict(allow_none=True)
    attempt = fields.Integer()
    losses = fields.Integer()
    priority = fields.Integer()
    node = fields.String(allow_none=True)
    requester = fields.String(
        allow_none=True,
        metadata={
            "description": "Who requested it, as the door knows it: `manager`; `upload` for what "
            "unpacks an upload; `sweep` for upkeep. It is null in jobs of older releases."
        },
    )
    label = fields.String(allow_none=True)
    retry_of = fields.String(allow_none=True)
    bytes_per_second = fields.Integer(
        allow_none=True, metadata={"description": "The job's own limit; null is none."}
    )
    paused = fields.Boolean()
    cancel_requested = fields.Boolean()
    cancellable = fields.Boolean()
    created_at = fields.String()
    started_at = fields.String(allow_none=True)
    updated_at = fields.String()
    ended_at = fields.String(allow_none=True)
    deadline_at = fields.String(allow_none=True)
    version = fields.Integer()
    queue = fields.Nested(QueuePlace, allow_none=True)
    links = fields.Dict(keys=fields.String(), values=fields.String())


class JobPage(ma.Schema):
    """Jobs, newest first."""

    jobs = fields.List(fields.Nested(JobDocument))
    next = fields.String(
        allow_none=True, metadata={"description": "The cursor of the next page; null at the end."}
    )


class JobLog(ma.Schema):
    """The events of a job, oldest first."""

    events = fields.List(fields.Dict())


class JobPlan(ma.Schema):
    """How a job would run; nothing was done."""

    verb = fields.String()
    method = fields.String(allow_none=True)
    would_start = fields.Boolean()
    refusals = fields.List(fields.Dict())
    checks = fields.List(fields.Dict())
    foreseen = fields.Dict(
        allow_none=True,
        metadata={
            "description": "For a transfer when this node serves both volumes: what a short scan "
            "finds. `complete` says whether the scan saw everything."
        },
    )
    waits_for = fields.List(fields.String())


class NodeList(ma.Schema):
    """The nodes that were seen in the last day."""

    nodes = fields.List(fields.Dict())
    volumes_at_rest = fields.List(fields.String())


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """A limit in bytes per second; None is no limit."""

    bytes_per_second: int | None


class BandwidthDocument(ma.Schema):
    """The bandwidth limit of a volume, and what shares it now; all null without a limit."""

    bytes_per_second = fields.Integer(allow_none=True)
    jobs = fields.Integer(allow_none=True, metadata={"description": "Running jobs."})
    streams = fields.Integer(
        allow_none=True,
        metadata={"description": "Streams of the client doors, as reported in the last seconds."},
    )


class BandwidthBody(Body):
    """The bandwidth limit of the running jobs and the streams of a volume together."""

    makes = Bandwidth
    bytes_per_second = fields.Integer(
        strict=True, required=True, allow_none=True, validate=validate.Range(min=1)
    )


@dataclass(frozen=True, slots=True)
class PurgeRate:
    """A limit in entries per second; None is no limit."""

    entries_per_second: int | None


class EntriesPerSecond(fields.Integer):
    """The purge rate of a volume; null is none."""

    def __init__(self) -> None:
        bounds = validate.Range(min=1, max=PURGE_RATE_MAX)
        super().__init__(strict=True, required=True, allow_none=True, validate=bounds)


class PurgeRateDocument(ma.Schema):
    """The purge rate of a volume, and its running purges; a rate that is not known is null."""

    entries_per_second = fields.Integer(
        allow_none=True, metadata={"description": "What the running purges share; null: no limit."}
    )
    each_entries_per_second = fields.Float(
        allow_none=True,
        metadata={
            "description": "The limit of each purge where there is no rate to share, from the "
            "configuration of the node that answers; null: no limit."
        },
    )
    purges = fields.Integer(metadata={"description": "Jobs that purge now."})
    observed_entries_per_second = fields.Float(
        allow_none=True,
        metadata={
            "description": "What they removed lately, by their reports; null where none runs or "
            "none has reported."
        },
    )
    as_of = fields.String(allow_none=True, metadata={"description": "The oldest of these reports."})


class PurgeRateBody(Body):
    """The limit of the running purges of a volume together; null lifts it."""

    makes = PurgeRate
    entries_per_second = EntriesPerSecond()
