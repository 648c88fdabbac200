"""Quota scopes: the owners that limits apply to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import marshmallow as ma
from marshmallow import fields

from api.schemas.bodies import Body
from api.schemas.fields import ScopeField, VolumeName, WholeNumber
from core.names import QuotaScope


@dataclass(frozen=True, slots=True)
class OneScope:
    """Names a quota scope on a volume."""

    volume: str
    scope: QuotaScope


@dataclass(frozen=True, slots=True)
class ScopeOrder:
    """Asks for a quota scope."""

    volume: str
    scope: QuotaScope
    options: Mapping[str, int] | None
    extra_args: Mapping[str, Any] | None = None

    @property
    def limit_bytes(self) -> int | None:
        """The limit, if one is asked."""
        return self.options["limit_bytes"] if self.options else None


@dataclass(frozen=True, slots=True)
class ScopeLimit:
    """Asks for a limit on a quota scope."""

    volume: str
    scope: QuotaScope
    options: Mapping[str, int]


class ScopeBody(Body):
    """Names a quota scope on a volume."""

    makes = OneScope
    volume = VolumeName()
    scope = ScopeField()


class Limit(ma.Schema):
    """How much a quota scope may hold."""

    limit_bytes = WholeNumber(minimum=1, required=True)


class CreateScopeBody(Body):
    """Asks for a quota scope."""

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
    """Asks for a limit on a quota scope."""

    makes = ScopeLimit
    volume = VolumeName()
    scope = ScopeField()
    options = fields.Nested(Limit, required=True)


class ScopeUsage(ma.Schema):
    """What a quota scope holds and may hold; null is unknown, or no limit."""

    used_bytes = fields.Integer(required=True, allow_none=True)
    limit_bytes = fields.Integer(required=True, allow_none=True)
    requested_bytes = fields.Integer(
        metadata={"description": "The limit as it was asked for; absent where none is set."},
    )
    enforced = fields.String(
        validate=ma.validate.OneOf(["hard", "soft"]),
        metadata={"description": "Who holds the limit: the storage system, or this service."},
    )
