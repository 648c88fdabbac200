"""Jobs: what may be asked, one body per verb, and the document that callers see."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.fields import Body, PathField, VFolderField, VolumeName
from core import requests
from core.jobs import PRIORITY_DEFAULT, PRIORITY_FIRST, PRIORITY_LAST, Lane, State
from core.names import VFolderId, VFolderPath

LABEL_MAX = 200
#: The longest deadline that may be asked: a year (seconds).
DEADLINE_MAX_SECONDS = 365 * 86_400


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ma.ValidationError("Not text: it has half of a surrogate pair.") from None


_LABEL = validate.And(validate.Length(max=LABEL_MAX), _encodable)


@dataclass(frozen=True, slots=True)
class AskedJob:
    """A job as it was asked for: the request, and what is said about it."""

    request: dict[str, Any]
    plan: bool
    requester: str
    label: str
    priority: int
    deadline_seconds: float | None


class JobBody(ma.Schema):
    """What every verb takes."""

    verb = fields.String(required=True, metadata={"description": "What to do."})
    volume = VolumeName()
    plan = fields.Boolean(
        load_default=False,
        truthy={True},
        falsy={False},
        metadata={"description": "Only tell how it would be done, and every refusal."},
    )
    requester = fields.String(
        load_default="",
        validate=_LABEL,
        metadata={"description": "Who asks; jobs are listed by it and keys are kept apart by it."},
    )
    label = fields.String(load_default="", validate=_LABEL)
    priority = fields.Integer(
        strict=True,
        load_default=PRIORITY_DEFAULT,
        validate=validate.Range(PRIORITY_FIRST, PRIORITY_LAST),
        metadata={"description": "0 goes first, 9 last, within a lane."},
    )
    deadline_seconds = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, DEADLINE_MAX_SECONDS, min_inclusive=False),
        metadata={"description": "Give up when it has not ended after so many seconds."},
    )


class CloneBody(JobBody):
    """Make `target` a copy of `source`; the target must not exist."""

    source = VFolderField("source")
    target = VFolderField("target")
    target_volume = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": "Volume of the target; the same volume when absent."},
    )
    verify = fields.String(
        load_default="size", validate=validate.OneOf(["none", "size", "checksum"])
    )


class DeleteBody(JobBody):
    """Take a vfolder away: gone at once, its bytes removed afterwards."""

    vfolder = VFolderField("vfolder")


class DeleteFilesBody(JobBody):
    """Remove entries of a vfolder; absent ones are skipped."""

    vfolder = VFolderField("vfolder")
    paths = fields.List(
        PathField(key=None),
        required=True,
        validate=validate.Length(1, requests.PATHS_MAX),
        metadata={"description": "Paths relative to the vfolder."},
    )
    recursive = fields.Boolean(load_default=False, truthy={True}, falsy={False})


class UsageBody(JobBody):
    """Count what a vfolder holds."""

    vfolder = VFolderField("vfolder")


VERB_BODIES: dict[str, type[JobBody]] = {
    "clone": CloneBody,
    "delete": DeleteBody,
    "delete-files": DeleteFilesBody,
    "usage": UsageBody,
}
_ABOUT = ("plan", "requester", "label", "priority", "deadline_seconds")


class AnyJobBody(Body):
    """One of the verbs' bodies, told apart by `verb`."""

    class Meta:
        """Keys belong to the verb's own schema."""

        unknown = ma.INCLUDE

    makes = AskedJob
    alternatives: ClassVar[dict[str, type[JobBody]]] = VERB_BODIES
    verb = fields.String(required=True, validate=validate.OneOf(sorted(VERB_BODIES)))

    @ma.post_load
    def _make(self, data: Mapping[str, Any], **_: Any) -> AskedJob:  # noqa: ANN401 - marshmallow's hook
        loaded = VERB_BODIES[data["verb"]]().load(data)
        about = {name: loaded.pop(name) for name in _ABOUT}
        return AskedJob(request={name: _plain(value) for name, value in loaded.items()}, **about)


def _plain(value: Any) -> Any:  # noqa: ANN401 - what a field made
    """Ids and paths in their one text form."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, VFolderId | VFolderPath) else value


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
    waits_for = fields.List(fields.String())


class NodeList(ma.Schema):
    """The nodes that were seen in the last day."""

    nodes = fields.List(fields.Dict())
    volumes_at_rest = fields.List(fields.String())


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """A budget of bytes per second, or none."""

    bytes_per_second: int | None


class BandwidthBody(Body):
    """What the running jobs of a volume may move together."""

    makes = Bandwidth
    bytes_per_second = fields.Integer(
        strict=True, required=True, allow_none=True, validate=validate.Range(min=1)
    )
