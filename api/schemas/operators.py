"""The bodies that operators' routes take and the documents that they give."""

from dataclasses import dataclass
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.credentials import KeyDocument
from api.schemas.fields import INTEGER_MAX, Note, Truth, encodable
from api.schemas.job_requests import RepairKinds
from api.schemas.jobs import EntriesPerSecond, PurgeRateDocument
from api.schemas.people import PersonBody
from core.jobs import PRIORITY_FIRST, PRIORITY_LAST
from core.names import SCOPE_PATTERN

#: The longest reason of an act (characters).
REASON_MAX = 500
SEVERITIES = ["bad", "warn", "info"]


def _number(text: str = "", **more: Any) -> fields.Float:  # noqa: ANN401 - marshmallow's options
    return fields.Float(allow_none=True, metadata={"description": text} if text else {}, **more)


def _count(text: str = "") -> fields.Integer:
    return fields.Integer(allow_none=True, metadata={"description": text} if text else {})


# -- Bodies ----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class GivenReason:
    """Why something is done."""

    reason: str = ""


class Why(fields.String):
    """The reason of an act, which the audit log keeps."""

    def __init__(self) -> None:
        super().__init__(
            required=True,
            validate=[validate.Length(min=1, max=REASON_MAX), encodable],
            metadata={"description": "Why; it is in the audit log."},
        )


class ReasonBody(PersonBody):
    """Why something is stopped or removed."""

    makes = GivenReason
    reason = Why()


class MaybeReasonBody(PersonBody):
    """Why something is done, where the caller says it."""

    makes = GivenReason
    reason = Note(load_default="", metadata={"description": "Why; it is in the audit log."})


class UserDocument(ma.Schema):
    """What is known here of a user."""

    id = fields.String()
    name = fields.String(allow_none=True)
    blocked = fields.Boolean()
    keys = fields.List(fields.Nested(KeyDocument), metadata={"description": "The newest first."})


class KnownPerson(ma.Schema):
    """A user or a group, as the indexes know it."""

    kind = fields.String(validate=validate.OneOf(["user", "group"]))
    id = fields.String()
    name = fields.String(allow_none=True)
    blocked = fields.Boolean()
    keys = fields.Integer(metadata={"description": "Its keys, also ended ones."})
    members = _count("Of a group that is kept here; else null.")
    vfolders = _count("VFolders with a record that it owns or shares; null until `complete`.")


class PeoplePage(ma.Schema):
    """One page of the users and groups that are known here."""

    people = fields.List(fields.Nested(KnownPerson))
    complete = fields.Boolean(
        metadata={"description": "False: the index of a volume is not built yet."}
    )
    next = fields.String(allow_none=True)


class BrokenGlass(ma.Schema):
    """What an operator may on a vfolder, and until when."""

    permission = fields.String(validate=validate.OneOf(["ro"]))
    expires_at = fields.String()


@dataclass(frozen=True, slots=True)
class BandwidthOrder:
    """A limit in bytes per second; None is no limit."""

    bytes_per_second: int | None
    reason: str = ""


class BandwidthOrderBody(PersonBody):
    """A limit of the bandwidth; null lifts it."""

    makes = BandwidthOrder
    bytes_per_second = fields.Integer(
        strict=True, required=True, allow_none=True, validate=validate.Range(min=1)
    )
    reason = Note(load_default="")


@dataclass(frozen=True, slots=True)
class PurgeRateOrder:
    """A limit in entries per second; None is no limit."""

    entries_per_second: int | None
    reason: str = ""


class PurgeRateOrderBody(PersonBody):
    """A limit of the purges of a volume; null lifts it."""

    makes = PurgeRateOrder
    entries_per_second = EntriesPerSecond()
    reason = Note(load_default="")


@dataclass(frozen=True, slots=True)
class PriorityOrder:
    """A priority; a lower number goes first."""

    priority: int
    reason: str = ""


class PriorityOrderBody(PersonBody):
    """A priority; a lower number goes first."""

    makes = PriorityOrder
    priority = fields.Integer(
        strict=True,
        required=True,
        validate=validate.Range(min=PRIORITY_FIRST, max=PRIORITY_LAST),
        metadata={"description": "0 goes first, 9 last; 5 is the default."},
    )
    reason = Note(load_default="")


@dataclass(frozen=True, slots=True)
class RescanOrder:
    """A request to compare a volume with its records."""

    scope: str | None
    repair: bool
    kinds: list[str]
    reason: str = ""


class RescanOrderBody(PersonBody):
    """A request to compare a volume with its records."""

    makes = RescanOrder
    scope = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Regexp(SCOPE_PATTERN),
        metadata={"description": "Only this quota scope; null is all of the volume."},
    )
    repair = Truth(
        load_default=False,
        metadata={"description": "Repair what can be repaired; else it is only reported."},
    )
    kinds = RepairKinds()
    reason = Note(load_default="")


@dataclass(frozen=True, slots=True)
class AdoptOrder:
    """A request to put all that a quota scope holds under a limit (bytes)."""

    scope: str
    limit_bytes: int
    reason: str


class AdoptOrderBody(PersonBody):
    """A request to put all that a quota scope holds under a limit, also what others wrote."""

    makes = AdoptOrder
    scope = fields.String(
        required=True,
        validate=validate.Regexp(SCOPE_PATTERN),
        metadata={"description": "The quota scope; it exists."},
    )
    limit_bytes = fields.Integer(
        strict=True,
        required=True,
        validate=validate.Range(1, INTEGER_MAX),
        metadata={"description": "Its limit, in bytes."},
    )
    reason = Why()


#: The parts of a diagnostics bundle.
BUNDLE_PARTS = ["versions", "settings", "health", "metrics", "nodes", "volumes", "jobs"]


@dataclass(frozen=True, slots=True)
class BundleOrder:
    """What a bundle has."""

    parts: list[str]
    names: bool


class BundleOrderBody(PersonBody):
    """What a diagnostics bundle has."""

    makes = BundleOrder
    parts = fields.List(
        fields.String(validate=validate.OneOf(BUNDLE_PARTS)),
        load_default=lambda: [*BUNDLE_PARTS],
        validate=validate.Length(min=1, max=len(BUNDLE_PARTS)),
    )
    names = Truth(
        load_default=False,
        metadata={"description": "Ids of people and paths as they are; else their hashes."},
    )


# -- Volumes ---------------------------------------------------------------------------------------
class CapacityDocument(ma.Schema):
    """Size and usage of a volume as df(1) counts them, and when; null is unknown."""

    capacity_bytes = _count()
    used_bytes = _count()
    inodes = _count()
    used_inodes = _count()
    as_of = fields.String(allow_none=True)


class PauseDocument(ma.Schema):
    """Why the jobs of a volume are paused; members are null where no operator wrote a note."""

    reason = fields.String(allow_none=True)
    by = fields.String(allow_none=True)
    at = fields.String(allow_none=True)


class LaneDocument(ma.Schema):
    """One lane of a volume's queue."""

    lane = fields.String()
    running = fields.Integer()
    slots = _count("How many jobs may run at once.")
    waiting = _count("Null where the queue is too long to count per lane.")
    oldest_seconds = _number("Age of the oldest waiting job; 0 where none waits.")


class NodeOfVolume(ma.Schema):
    """What one node says of a volume."""

    id = fields.String()
    alive = fields.Boolean()
    proven = fields.Boolean()
    reason = fields.String(allow_none=True)


class SpeedDocument(ma.Schema):
    """What the volume did, as it was last observed."""

    read_bytes_per_second = _number()
    written_bytes_per_second = _number()
    read_usec = _number("Microseconds per read.")
    write_usec = _number("Microseconds per write.")
    as_of = fields.String(allow_none=True)


class HiddenDocument(ma.Schema):
    """What the last sweep of a volume found in the hidden directories."""

    staging_bytes = _count("Unfinished results.")
    trash_bytes = _count("Deleted vfolders.")
    trash_overdue_seconds = _number("How long the oldest deleted vfolder waits beyond its time.")
    staging_overdue_seconds = _number("The same for the oldest left-over.")
    as_of = fields.String(allow_none=True)


class BandwidthShare(ma.Schema):
    """The limit of a volume and what shares it now."""

    bytes_per_second = _count()
    jobs = _count()
    streams = _count()


class ProofDocument(ma.Schema):
    """The last proof of a volume on the node that answers."""

    at = fields.String(allow_none=True)
    seconds = _number()


class VolumeDocument(ma.Schema):
    """One volume. People get its name, capabilities, fullness and pause; operators all."""

    name = fields.String(required=True)
    capabilities = fields.List(fields.String())
    paused = fields.Boolean()
    pause = fields.Nested(PauseDocument, allow_none=True)
    capacity = fields.Nested(CapacityDocument, allow_none=True)
    state = fields.String(
        validate=validate.OneOf(["ready", "partly", "away"]),
        metadata={"description": "Whether all, some or none of its nodes proved it."},
    )
    state_reason = fields.String(allow_none=True)
    backend = fields.String(allow_none=True)
    path = fields.String(allow_none=True)
    nodes = fields.List(fields.Nested(NodeOfVolume))
    lanes = fields.List(fields.Nested(LaneDocument))
    bandwidth = fields.Nested(BandwidthShare, allow_none=True)
    speed = fields.Nested(SpeedDocument, allow_none=True)
    proof = fields.Nested(ProofDocument, allow_none=True)
    hidden = fields.Nested(HiddenDocument, allow_none=True)


class VolumePage(ma.Schema):
    """All volumes."""

    volumes = fields.List(fields.Nested(VolumeDocument))
    at = fields.String()


# -- Overview --------------------------------------------------------------------------------------
class CheckDocument(ma.Schema):
    """One check of an examination."""

    check = fields.String()
    status = fields.String(validate=validate.OneOf(["ok", "not available", "wrong"]))
    text = fields.String()
    change = fields.String(
        allow_none=True, metadata={"description": "What to change, where something is wrong."}
    )
    seconds = fields.Float()
    figures = fields.Dict(keys=fields.String(), values=fields.Raw())


class Examination(ma.Schema):
    """What `vfolder doctor` found on one node, without a change."""

    volume = fields.String()
    node = fields.String()
    at = fields.String()
    ok = fields.Boolean()
    checks = fields.List(fields.Nested(CheckDocument))


class AttentionDocument(ma.Schema):
    """One thing that needs an operator: what it is, why, and what to do."""

    severity = fields.String(validate=validate.OneOf(SEVERITIES))
    kind = fields.String()
    target = fields.String(metadata={"description": "`volume:NAME`, `node:ID`, or a page."})
    text = fields.String()
    act = fields.String(
        allow_none=True, metadata={"description": "What a page can offer: `resume`, `undrain` …"}
    )
    facts = fields.Dict(keys=fields.String())


class FailureDocument(ma.Schema):
    """How many jobs failed with one error."""

    error_code = fields.String()
    jobs = fields.Integer()


class OverviewDocument(ma.Schema):
    """The cluster on one page."""

    at = fields.String()
    health = fields.Dict(keys=fields.String(), values=fields.String())
    attention = fields.List(fields.Nested(AttentionDocument))
    nodes = fields.Dict(keys=fields.String(), values=fields.Integer())
    volumes = fields.Dict(keys=fields.String(), values=fields.Integer())
    jobs = fields.Dict(keys=fields.String())
    lanes = fields.List(fields.Dict(keys=fields.String()))
    failures = fields.List(fields.Nested(FailureDocument))
    throughput = fields.Dict(keys=fields.String())
    uploads_open = fields.Integer()
    events_unpublished = fields.Integer()


class SeriesDocument(ma.Schema):
    """The last hour, as columns of the same length; null is unknown."""

    interval_seconds = fields.Float()
    at = fields.List(fields.Float(), metadata={"description": "Seconds of the epoch."})
    received = fields.List(fields.Float(allow_none=True))
    sent = fields.List(fields.Float(allow_none=True))
    running = fields.List(fields.Integer())
    waiting = fields.List(fields.Integer())
    oldest_seconds = fields.List(fields.Float())
    volumes = fields.Dict(
        keys=fields.String(),
        values=fields.Dict(keys=fields.String()),
        metadata={"description": "By volume, `read` and `written`: bytes per second."},
    )


# -- The rest --------------------------------------------------------------------------------------
class NodePage(ma.Schema):
    """The nodes that were seen in the last day."""

    nodes = fields.List(fields.Dict(keys=fields.String()))
    at = fields.String()


class TrashOfVolume(ma.Schema):
    """What waits on one volume, and how fast it goes."""

    volume = fields.String()
    hidden = fields.Nested(
        HiddenDocument,
        allow_none=True,
        metadata={"description": "Null where no sweep ended for a week."},
    )
    purges = fields.Nested(PurgeRateDocument)


class TrashBacklog(ma.Schema):
    """What waits in the trash of each volume, as the last sweep counted it."""

    volumes = fields.List(fields.Nested(TrashOfVolume))


class SettingDocument(ma.Schema):
    """One effective value of the node that answers."""

    key = fields.String()
    value = fields.String(metadata={"description": "As JSON; a secret is stars."})
    source = fields.String(metadata={"description": "`file`, `default`, or a variable."})
    waits = fields.Boolean(metadata={"description": "It was changed and waits for a restart."})


class SettingsPage(ma.Schema):
    """The effective values of the node that answers."""

    node = fields.String()
    settings = fields.List(fields.Nested(SettingDocument))


class OrphansPage(ma.Schema):
    """What the last rescan of each volume found; null where there was none for 30 days."""

    volumes = fields.List(fields.Dict(keys=fields.String()))


class PublishedEvents(ma.Schema):
    """The newest events of the stream that the manager reads, and how many ends are not in it."""

    events = fields.List(fields.Dict(keys=fields.String()))
    unpublished = fields.Integer()


class QuotaAlert(ma.Schema):
    """A quota scope or vfolder near or over its limit; null is unknown."""

    volume = fields.String(allow_none=True, metadata={"description": "Null: over all volumes."})
    scope_id = fields.String(
        allow_none=True, metadata={"description": "Of the user or group; null: of no scope."}
    )
    vfolder = fields.String(
        allow_none=True, metadata={"description": "Of a limit of its own; null: of the scope."}
    )
    percent = fields.Integer(metadata={"description": "The threshold that was reached."})
    used_bytes = _count()
    limit_bytes = _count()
    as_of = fields.String(allow_none=True)
    enforced = fields.String(allow_none=True)


class QuotaAlerts(ma.Schema):
    """What is near or over its limit, the fullest first."""

    alerts = fields.List(fields.Nested(QuotaAlert))
    total = fields.Integer()
    complete = fields.Boolean()
