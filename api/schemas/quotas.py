"""The bodies and documents of the routes of quotas and notices for people."""

from dataclasses import dataclass

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.fields import INTEGER_MAX, Note
from api.schemas.people import PersonBody


class QuotaDocument(ma.Schema):
    """What a scope holds on a volume, and may hold; null is unknown, or no limit."""

    view = fields.String(
        validate=validate.OneOf(["scope", "total"]),
        metadata={"description": "`total`: over all volumes; `volume` is null then."},
    )
    volume = fields.String(allow_none=True)
    scope = fields.String()
    limit_bytes = fields.Integer(allow_none=True)
    used_bytes = fields.Integer(
        allow_none=True,
        metadata={"description": "With what running uploads and jobs have reserved."},
    )
    left_bytes = fields.Integer(allow_none=True)
    as_of = fields.String(
        allow_none=True,
        metadata={"description": "When it was last counted; null: never, or it is counted now."},
    )
    enforced = fields.String(allow_none=True)


class QuotaList(ma.Schema):
    """Quotas; `complete` is false while a volume is away."""

    quotas = fields.List(fields.Nested(QuotaDocument))
    complete = fields.Boolean()


@dataclass(frozen=True, slots=True)
class NewLimit:
    """A limit of a scope on a volume."""

    limit_bytes: int | None
    volume: str | None = None
    view: str = "scope"
    reason: str = ""


class NewLimitBody(PersonBody):
    """A limit of a scope on a volume; null removes it."""

    makes = NewLimit
    limit_bytes = fields.Integer(
        strict=True,
        required=True,
        allow_none=True,
        validate=validate.Range(min=1, max=INTEGER_MAX),
    )
    volume = fields.String(load_default=None)
    view = fields.String(
        load_default="scope",
        validate=validate.OneOf(["scope", "total"]),
        metadata={"description": "`total`: of the user or group over all volumes."},
    )
    reason = Note(load_default="", metadata={"description": "Why; it is in the audit log."})


class NoticeDocument(ma.Schema):
    """A notice; `kind` says which members it has beside the first four."""

    id = fields.String()
    kind = fields.String(validate=validate.OneOf(["quota", "expiry", "break-glass"]))
    at = fields.String()
    read = fields.Boolean()
    view = fields.String(validate=validate.OneOf(["scope", "vfolder", "total"]))
    volume = fields.String(allow_none=True)
    scope = fields.String(allow_none=True)
    vfolder = fields.String(allow_none=True)
    percent = fields.Integer(metadata={"description": "The threshold that was reached."})
    used_bytes = fields.Integer()
    limit_bytes = fields.Integer()
    name = fields.String(allow_none=True, metadata={"description": "That of the vfolder."})
    expires_at = fields.String()
    days = fields.Integer(metadata={"description": "So many days before the end, at most."})
    by = fields.String(metadata={"description": "The operator who reads the vfolder."})
    reason = fields.String()


class NoticePage(ma.Schema):
    """Notices, the newest first; the list ends where `next` is null."""

    notices = fields.List(fields.Nested(NoticeDocument))
    next = fields.String(allow_none=True)
