"""Routes of quotas: what one may still write, by scope and volume; an operator sets the limits."""

from collections.abc import Iterable
from typing import Any

from flask import Response

from api.access import scopes_of
from api.doors.people.entries import query
from api.doors.people.keys import private
from api.routes import (
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    count_uncounted,
    current_door,
    needs,
    parameters,
)
from api.schemas import quotas as shapes
from backends.volumes import ScopeView, operations, quota_views
from core.errors import (
    DeadlineExceeded,
    InvalidName,
    NoSpace,
    QuotaScopeNotFound,
    Unavailable,
    UnknownVolume,
)
from core.names import QuotaScope

blueprint = PeopleResource("quotas", __name__, description="Limits and usage.")

_VOLUME = parameters.in_query("volume", "Those on this volume.")
_GIVES = {200: RouteAnswer("The quotas.", shapes.QuotaList)}


@blueprint.operation("GET", "/v1/quotas", Route(gives=_GIVES, parameters=(_VOLUME,)))
@needs("quotas.read")
def list_quotas(asked: PersonRequest) -> Response:
    """List the quotas of the caller and of its groups, by volume and scope.

    A volume that is away is left out; `complete` is false then.
    """
    return _answer(asked, scopes_of(asked.caller.subject), query(("volume",)).get("volume"))


@blueprint.operation(
    "GET",
    "/v1/quotas/<scope>",
    Route(gives=_GIVES, parameters=(_VOLUME,), refuses=(QuotaScopeNotFound,)),
)
@needs("quotas.read")
def get_quota(asked: PersonRequest) -> Response:
    """List the quotas of one scope: of the caller, of one of its groups; of any for an operator."""
    volume = query(("volume",)).get("volume")
    scope = _scope(asked.path["scope"])
    if asked.caller.subject.kind == "operator":
        asked.decide("volumes.read")
    elif scope not in scopes_of(asked.caller.subject):
        raise _absent()
    return _answer(asked, [scope], volume)


@blueprint.operation(
    "PUT",
    "/v1/quotas/<scope>",
    Route(
        takes=shapes.NewLimitBody,
        gives=_GIVES,
        refuses=(QuotaScopeNotFound, UnknownVolume, NoSpace),
    ),
)
@needs("quotas.set")
def set_quota(body: shapes.NewLimit, asked: PersonRequest) -> Response:
    """Set the limit of a scope on a volume, or remove it; an absent scope gets one.

    A big scope whose limit this service enforces is counted by a job; until then its usage is null.
    """
    scope, volume = _scope(asked.path["scope"]), asked.service.volume_for(asked.caller, body.volume)
    access = current_door().volume_access
    if body.limit_bytes is None:
        access.on_volume(volume, operations.unset_limit, scope)
    else:
        access.on_volume(volume, operations.set_limit, scope, body.limit_bytes)
        count_uncounted(volume, scope)
    return _answer(asked, [scope], volume)


def _answer(asked: PersonRequest, scopes: list[QuotaScope], named: str | None) -> Response:
    found, away = list[dict[str, Any]](), False
    for volume in asked.service.volumes_of(asked.caller):
        if named not in (None, volume):
            continue
        try:
            views = current_door().volume_access.on_volume(volume, quota_views.scope_views, scopes)
        except (Unavailable, DeadlineExceeded):
            away = True
        else:
            found += _documents(volume, scopes, views)
    return private({"quotas": found, "complete": not away})


def _documents(
    volume: str, scopes: Iterable[QuotaScope], views: Iterable[ScopeView | None]
) -> list[dict[str, Any]]:
    """Return the documents of the scopes that exist on a volume."""
    return [
        {
            "view": "scope",
            "volume": volume,
            "scope": str(scope),
            "limit_bytes": view.limit_bytes,
            "used_bytes": view.used_bytes,
            "left_bytes": _left(view),
            "as_of": view.as_of,
            "enforced": view.enforced,
        }
        for scope, view in zip(scopes, views, strict=True)
        if view is not None
    ]


def _left(view: ScopeView) -> int | None:
    """Return what may still be written; None without a limit, or where the usage is not known."""
    if view.limit_bytes is None or view.used_bytes is None:
        return None
    return max(0, view.limit_bytes - view.used_bytes)


def _scope(text: str) -> QuotaScope:
    """Return the scope that a path names; a group is a project of the manager.

    Raises:
        QuotaScopeNotFound: it names none.
    """
    kind, colon, rest = text.partition(":")
    try:
        return QuotaScope.parse(f"project:{rest}" if kind == "group" and colon else text)
    except InvalidName:
        raise _absent() from None


def _absent() -> QuotaScopeNotFound:
    return QuotaScopeNotFound("There is no such quota scope.")
