"""Quota scopes: the owners that limits apply to."""

from contextlib import suppress
from dataclasses import asdict

from flask import Response

from api.http import answer, no_content
from api.routes import Resource, Route, RouteAnswer, current_door
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
from core.errors import Locked, QuotaScopeExists, QuotaScopeNotFound

blueprint = Resource("quota-scopes", __name__, description="Owners that limits apply to.")


@blueprint.operation(
    "POST",
    "/quota-scope",
    Route(takes=CreateScopeBody, gives={204: RouteAnswer("Made.")}, refuses=(QuotaScopeExists,)),
)
def create_quota_scope(body: ScopeOrder) -> Response:
    """Make a quota scope, with a limit if one is given."""
    current_door().volume_access.on_volume(
        body.volume, operations.create_scope, body.scope, body.limit_bytes
    )
    return no_content()


@blueprint.operation(
    "GET",
    "/quota-scope",
    Route(
        takes=ScopeBody,
        gives={200: RouteAnswer("What it holds and may hold.", ScopeUsage)},
        refuses=(QuotaScopeNotFound,),
    ),
)
def get_quota_scope(body: OneScope) -> Response:
    """Tell what a quota scope holds and may hold.

    Both are null on a volume that knows no quota. Where a limit is set, two more members tell what
    was asked for before it was rounded up, and who holds it.
    """
    found = asdict(
        current_door().volume_access.on_volume(body.volume, operations.describe_scope, body.scope)
    )
    wire = ("used_bytes", "limit_bytes")
    return answer({k: v for k, v in found.items() if k in wire or v is not None})


@blueprint.operation(
    "PATCH",
    "/quota-scope",
    Route(takes=LimitScopeBody, gives={204: RouteAnswer("Set.")}),
)
def set_quota_scope_limit(body: ScopeLimit) -> Response:
    """Limit a quota scope; it is made when it is absent.

    Where this service holds the limit and the scope is big, a job is asked to count it.
    """
    limit = body.options["limit_bytes"]
    door = current_door()
    door.volume_access.on_volume(body.volume, operations.set_limit, body.scope, limit)
    found = door.volume_access.on_volume(body.volume, operations.describe_scope, body.scope)
    if found.enforced == "soft" and found.used_bytes is None:
        with suppress(Locked):  # a rescan is at work already
            door.jobs.submit({"verb": "rescan", "volume": body.volume, "owner": str(body.scope)})
    return no_content()


@blueprint.operation(
    "DELETE",
    "/quota-scope/quota",
    Route(
        takes=ScopeBody,
        gives={204: RouteAnswer("No limit any more.")},
        refuses=(QuotaScopeNotFound,),
    ),
)
def unset_quota_scope_limit(body: OneScope) -> Response:
    """Take the limit of a quota scope away."""
    current_door().volume_access.on_volume(body.volume, operations.unset_limit, body.scope)
    return no_content()
