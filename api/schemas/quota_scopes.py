"""Quota scopes: the owners that limits apply to, and their trash."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import marshmallow as ma
from marshmallow import fields

from api.schemas.bodies import Body
from api.schemas.fields import LooseInteger, ScopeField, VolumeName
from backends.base import Enforcement, Exceeded
from core.names import QuotaScope


@dataclass(frozen=True, slots=True)
class OneScope:
    """A quota scope on a volume."""

    volume: str
    scope: QuotaScope


@dataclass(frozen=True, slots=True)
class ScopeOrder:
    """A request to create a quota scope."""

    volume: str
    scope: QuotaScope
    options: Mapping[str, int | None] | None
    extra_args: Mapping[str, Any] | None = None

    @property
    def limit_bytes(self) -> int | None:
        """Return the requested limit; None is no limit."""
        return self.options["limit_bytes"] if self.options else None


@dataclass(frozen=True, slots=True)
class ScopeLimit:
    """A request to limit a quota scope."""

    volume: str
    scope: QuotaScope
    options: Mapping[str, int | None]

    @property
    def limit_bytes(self) -> int:
        """Return the requested limit of bytes; the schema requires one."""
        return self.options["limit_bytes"] or 0


class ScopeBody(Body):
    """A quota scope on a volume."""

    makes = OneScope
    volume = VolumeName()
    scope = ScopeField()


class Limit(ma.Schema):
    """How much a quota scope may hold."""

    limit_bytes = LooseInteger(minimum=1, required=True)
    limit_inodes = LooseInteger(
        minimum=1,
        allow_none=True,
        metadata={
            "description": "How many files, directories and other entries; null removes that "
            "limit. Needs the capability `inode-limit`."
        },
    )
    soft_limit_bytes = LooseInteger(
        minimum=1,
        allow_none=True,
        metadata={
            "description": "A limit of the storage system that may be passed for a while; null "
            "removes it. Needs the capability `soft-limit`."
        },
    )


class CreateScopeBody(Body):
    """A request to create a quota scope."""

    makes = ScopeOrder
    volume = VolumeName()
    scope = ScopeField()
    options = fields.Nested(Limit, allow_none=True, load_default=None)
    extra_args = fields.Dict(
        allow_none=True,
        load_default=None,
        metadata={"description": "Accepted from existing clients; no backend uses it."},
    )


class LimitScopeBody(Body):
    """A request to limit a quota scope."""

    makes = ScopeLimit
    volume = VolumeName()
    scope = ScopeField()
    options = fields.Nested(Limit, required=True)


class ScopeUsage(ma.Schema):
    """The usage and the limit of a quota scope; null is unknown, or no limit."""

    used_bytes = fields.Integer(required=True, allow_none=True)
    limit_bytes = fields.Integer(required=True, allow_none=True)
    requested_bytes = fields.Integer(
        metadata={"description": "The limit as it was requested; absent when none is set."},
    )
    enforced = fields.String(
        validate=ma.validate.OneOf(get_args(Enforcement)),
        metadata={
            "description": "`hard`: the storage system enforces the limit; `soft`: this service; "
            "`not for root`: the storage system, except for processes of root; `off`: nothing; "
            "`unknown`: the storage system has the limit and cannot say whether it is enforced."
        },
    )
    soft_limit_bytes = fields.Integer(
        metadata={
            "description": "A limit of the storage system that may be passed for a while; absent "
            "when none is set or known."
        },
    )
    used_inodes = fields.Integer(
        metadata={"description": "Files, directories and other entries; absent when unknown."},
    )
    limit_inodes = fields.Integer(
        metadata={"description": "The limit of inodes; absent when none is set or known."},
    )
    exceeded = fields.String(
        validate=ma.validate.OneOf(get_args(Exceeded)),
        metadata={
            "description": "What the storage system says: `soft`: the scope is past its soft "
            "limit; `hard`: past a limit, so that writes are refused. Absent when it says neither."
        },
    )


class TrashedVFolder(ma.Schema):
    """A deleted vfolder that is kept."""

    id = fields.String(metadata={"description": "The job that deleted it."})
    vfolder = fields.String()
    deleted_at = fields.DateTime()
    expires_at = fields.DateTime(metadata={"description": "From this moment on it may be purged."})
    size_bytes = fields.Integer(allow_none=True)
    entries = fields.Integer(allow_none=True)
    restorable = fields.Boolean(metadata={"description": "False after its purge began."})


class TrashList(ma.Schema):
    """The trash of one quota scope."""

    trash = fields.List(fields.Nested(TrashedVFolder))
    size_bytes = fields.Integer(metadata={"description": "Bytes of all files in the trash."})
    entries = fields.Integer()
