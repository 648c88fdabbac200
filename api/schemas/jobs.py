"""Jobs: how they are asked for, and the document that callers see."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import Body
from api.schemas.job_body import JobBody
from api.schemas.verbs import VERB_BODIES
from core.jobs import Lane, State
from core.names import QuotaScope, VFolderId, VFolderPath


@dataclass(frozen=True, slots=True)
class JobOrder:
    """A job as it was asked for: the request, and what is said about it."""

    request: dict[str, Any]
    plan: bool
    requester: str
    label: str
    priority: int
    deadline_seconds: float | None


_ABOUT = ("plan", "requester", "label", "priority", "deadline_seconds")


class AnyJobBody(Body):
    """One of the verbs' bodies, told apart by `verb`."""

    class Meta:
        """Keys belong to the verb's own schema."""

        unknown = ma.INCLUDE

    makes = JobOrder
    alternatives: ClassVar[dict[str, type[JobBody]]] = VERB_BODIES
    verb = fields.String(required=True, validate=validate.OneOf(sorted(VERB_BODIES)))

    @ma.post_load
    def _make(self, data: Mapping[str, Any], **_: Any) -> JobOrder:  # noqa: ANN401 - marshmallow's hook
        loaded = VERB_BODIES[data["verb"]]().load(data)
        about = {name: loaded.pop(name) for name in _ABOUT}
        return JobOrder(request={name: _plain(value) for name, value in loaded.items()}, **about)


def _plain(value: Any) -> Any:  # noqa: ANN401 - what a field made
    """Ids and paths in their one text form."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, QuotaScope | VFolderId | VFolderPath) else value


class JobProgress(ma.Schema):
    """How far a job is; what is unknown is null."""

    text = fields.String(metadata={"description": "The one sentence."})
    phase = fields.String()
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
    """Where a waiting job stands in its lane."""

    position = fields.Integer()
    length = fields.Integer()


class JobDocument(ma.Schema):
    """A job as it is now."""

    id = fields.String()
    bgtask_id = fields.String(metadata={"description": "The same id, as older clients name it."})
    verb = fields.String()
    volume = fields.String()
    lane = fields.String(validate=validate.OneOf([lane.value for lane in Lane]))
    scope = fields.String(allow_none=True)
    request = fields.Dict()
    state = fields.String(validate=validate.OneOf([state.value for state in State]))
    state_reason = fields.String(allow_none=True)
    waits_for = fields.String(allow_none=True)
    done = fields.Boolean()
    progress = fields.Nested(JobProgress, allow_none=True)
    result = fields.Dict(allow_none=True)
    error = fields.Dict(allow_none=True)
    attempt = fields.Integer()
    losses = fields.Integer()
    priority = fields.Integer()
    node = fields.String(allow_none=True)
    requester = fields.String(allow_none=True)
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
    """What happened to a job, oldest first."""

    events = fields.List(fields.Dict())


class JobPlan(ma.Schema):
    """How a job would be done; nothing was done."""

    verb = fields.String()
    method = fields.String(allow_none=True)
    would_start = fields.Boolean()
    refusals = fields.List(fields.Dict())
    checks = fields.List(fields.Dict())
    foreseen = fields.Dict(
        allow_none=True,
        metadata={
            "description": "Of a transfer, where this node has both volumes: what a short look "
            "tells; `complete` says whether it saw everything."
        },
    )
    waits_for = fields.List(fields.String())


class NodeList(ma.Schema):
    """The nodes that were seen in the last day."""

    nodes = fields.List(fields.Dict())
    volumes_at_rest = fields.List(fields.String())


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """A budget of bytes per second, or none."""

    bytes_per_second: int | None


class BandwidthDocument(ma.Schema):
    """What a volume may move, and who shares it now; all null when nothing limits."""

    bytes_per_second = fields.Integer(allow_none=True)
    jobs = fields.Integer(allow_none=True, metadata={"description": "Jobs that run."})
    streams = fields.Integer(
        allow_none=True,
        metadata={"description": "Streams of the client doors, as told in the last seconds."},
    )


class BandwidthBody(Body):
    """What the running jobs and the streams of a volume may move together."""

    makes = Bandwidth
    bytes_per_second = fields.Integer(
        strict=True, required=True, allow_none=True, validate=validate.Range(min=1)
    )
