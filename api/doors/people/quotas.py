"""Routes of quotas: what one may still write, by scope and volume; an operator sets the limits."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Literal

from flask import Response
from msgspec import structs

from api.access import scopes_of
from api.doors.people.entries import query
from api.doors.people.keys import parts_of_door, private
from api.jobs import MANAGER, JobSubmission, pointer
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
    Locked,
    NoSpace,
    QuotaScopeNotFound,
    Unavailable,
    UnknownVolume,
)
from core.names import QuotaScope, ScopeKind
from core.quota import QuotaLedger, note_limit

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
@needs("quotas.set", noted=True)
def set_quota(body: shapes.NewLimit, asked: PersonRequest) -> Response:
    """Set the limit of a scope on a volume, or of its user or group over all, or remove it.

    An absent scope is made for a limit on a volume. A big scope whose limit this service enforces
    is counted by a job; until then its usage is null.
    """
    scope = _scope(asked.path["scope"])
    if body.view == "total":
        return _set_total(asked, scope, body)
    volume = asked.service.volume_for(asked.caller, body.volume)
    access = current_door().volume_access
    (view,) = access.on_volume(volume, quota_views.scope_views, [scope])
    _note(asked, scope, body, {"volume": volume}, view.limit_bytes if view else None)
    if body.limit_bytes is None:
        access.on_volume(volume, operations.unset_limit, scope)
    else:
        access.on_volume(volume, operations.set_limit, scope, body.limit_bytes)
        count_uncounted(volume, scope)
    note_limit(current_door().jobs.redis, scope.directory)
    return _answer(asked, [scope], volume)


def _note(
    asked: PersonRequest,
    scope: QuotaScope,
    body: shapes.NewLimit,
    place: dict[str, str],
    before_bytes: int | None,
) -> None:
    """Write the line of the audit log: the limit before, and the one that is set now."""
    asked.note(
        target=str(scope),
        reason=body.reason or None,
        before={**place, "limit_bytes": before_bytes},
        after={**place, "limit_bytes": body.limit_bytes},
    )


def _set_total(asked: PersonRequest, scope: QuotaScope, body: shapes.NewLimit) -> Response:
    """Write the limit into the record of the user or group, and begin its accounts on all volumes.

    A volume that is away is counted by its next rescan; until then the usage is null.
    """
    if body.volume is not None:
        raise pointer("volume", "is not for a limit over all volumes")
    door, limit = current_door(), body.limit_bytes
    kind: Literal["user", "group"] = "user" if scope.kind is ScopeKind.USER else "group"
    subjects = parts_of_door().subjects
    record = subjects.read(scope.id)
    _note(asked, scope, body, {"view": "total"}, record.total_limit_bytes if record else None)
    subjects.change(kind, scope.id, lambda record: structs.replace(record, total_limit_bytes=limit))
    volumes = asked.service.volumes()
    door.quota_totals.set({scope.directory: limit}, volumes)
    for volume in volumes:
        with suppress(Unavailable, DeadlineExceeded, Locked):
            if not door.volume_access.on_volume(volume, quota_views.follow_total, scope):
                request = {"verb": "rescan", "volume": volume, "owner": str(scope)}
                door.jobs.submit(request, JobSubmission(MANAGER))
    return _answer(asked, [scope], None)


def _totals(scopes: Iterable[QuotaScope]) -> Iterator[dict[str, Any]]:
    """Yield the documents of limits over all volumes."""
    door = current_door()
    totals = door.quota_totals
    for scope in scopes:
        limit = totals.limit(scope.directory)
        if limit is not None:
            found = QuotaLedger(door.jobs.redis, "").read_total(scope.directory, totals.volumes())
            view = ScopeView(limit, found.used_bytes, found.as_of, "soft")
            yield _document("total", None, scope, view)


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
    found += [] if named else _totals(scopes)
    return private({"quotas": found, "complete": not away})


def _documents(
    volume: str, scopes: Iterable[QuotaScope], views: Iterable[ScopeView | None]
) -> list[dict[str, Any]]:
    """Return the documents of the scopes that exist on a volume."""
    return [
        _document("scope", volume, scope, view)
        for scope, view in zip(scopes, views, strict=True)
        if view is not None
    ]


def _document(kind: str, volume: str | None, scope: QuotaScope, view: ScopeView) -> dict[str, Any]:
    return {
        "view": kind,
        "volume": volume,
        "scope": str(scope),
        "limit_bytes": view.limit_bytes,
        "used_bytes": view.used_bytes,
        "left_bytes": _left(view),
        "as_of": view.as_of,
        "enforced": view.enforced,
    }


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
