"""Routes of quota scopes: the owners that limits apply to."""

from collections.abc import Mapping
from dataclasses import asdict

from flask import Response

from api.http import answer, no_content
from api.routes import Resource, Route, RouteAnswer, count_uncounted, current_door, on_behalf
from api.schemas import (
    CreateScopeBody,
    LimitScopeBody,
    OneScope,
    ScopeBody,
    ScopeLimit,
    ScopeOrder,
    ScopeUsage,
)
from backends.volumes import operations
from core.errors import QuotaScopeExists, QuotaScopeNotFound, Unsupported
from core.names import QuotaScope
from core.quota import note_limit

blueprint = Resource("quota-scopes", __name__, description="Owners that limits apply to.")


@blueprint.operation(
    "POST",
    "/quota-scope",
    Route(takes=CreateScopeBody, gives={204: RouteAnswer("Created.")}, refuses=(QuotaScopeExists,)),
)
def create_quota_scope(body: ScopeOrder) -> Response:
    """Create a quota scope, with limits if some are given."""
    _check_further_limits(body.volume, body.options)
    current_door().volume_access.on_volume(
        body.volume, operations.create_scope, body.scope, body.limit_bytes
    )
    _set_further_limits(body.volume, body.scope, body.options)
    return no_content()


@blueprint.operation(
    "GET",
    "/quota-scope",
    Route(
        takes=ScopeBody,
        gives={200: RouteAnswer("Its usage and its limit.", ScopeUsage)},
        refuses=(QuotaScopeNotFound,),
    ),
)
@on_behalf.on_scope("quotas.read")
def get_quota_scope(body: OneScope) -> Response:
    """Return the usage and the limit of a quota scope.

    Both are null on a volume without quotas. When a limit is set, `requested_bytes` is the limit
    before it was rounded up, and `enforced` says what enforces it.
    """
    usage = asdict(
        current_door().volume_access.on_volume(body.volume, operations.describe_scope, body.scope)
    )
    wire = ("used_bytes", "limit_bytes")
    return answer({k: v for k, v in usage.items() if k in wire or v is not None})


@blueprint.operation(
    "PATCH",
    "/quota-scope",
    Route(takes=LimitScopeBody, gives={204: RouteAnswer("Set.")}),
)
def set_quota_scope_limit(body: ScopeLimit) -> Response:
    """Limit a quota scope; an absent one is created.

    When this service enforces the limit and the scope is big, it submits a job that counts it.
    """
    limit, access = body.limit_bytes, current_door().volume_access
    _check_further_limits(body.volume, body.options)
    access.on_volume(body.volume, operations.set_limit, body.scope, limit)
    _set_further_limits(body.volume, body.scope, body.options)
    count_uncounted(body.volume, body.scope)
    note_limit(current_door().jobs.redis, body.scope.directory)
    return no_content()


@blueprint.operation(
    "DELETE",
    "/quota-scope/quota",
    Route(
        takes=ScopeBody,
        gives={204: RouteAnswer("The limit is removed.")},
        refuses=(QuotaScopeNotFound,),
    ),
)
def unset_quota_scope_limit(body: OneScope) -> Response:
    """Remove the limit of a quota scope."""
    current_door().volume_access.on_volume(body.volume, operations.unset_limit, body.scope)
    note_limit(current_door().jobs.redis, body.scope.directory)
    return no_content()


#: The limits beside that of bytes.
_FURTHER = frozenset({"limit_inodes", "soft_limit_bytes"})


def _check_further_limits(volume: str, options: Mapping[str, int | None] | None) -> None:
    """Refuse limits that the volume does not have, before anything is changed.

    Raises:
        Unsupported: the volume has no limits of this kind.
    """
    wanted = _FURTHER & (options or {}).keys()
    if not wanted:
        return
    known = current_door().volume_access.on_volume(volume, operations.further_limits)
    if unknown := sorted(wanted.difference(known)):
        raise Unsupported(f"Volume {volume} has no {' and no '.join(unknown)}.")


def _set_further_limits(
    volume: str, scope: QuotaScope, options: Mapping[str, int | None] | None
) -> None:
    given, access = options or {}, current_door().volume_access
    if "limit_inodes" in given:
        access.on_volume(volume, operations.set_inode_limit, scope, given["limit_inodes"])
    if "soft_limit_bytes" in given:
        access.on_volume(volume, operations.set_soft_limit, scope, given["soft_limit_bytes"])
