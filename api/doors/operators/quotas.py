"""The route of quotas that are near or over their limits, of all scopes."""

from typing import Any
from uuid import UUID

from flask import Response

from api.routes import Door, PeopleResource, PersonRequest, Route, RouteAnswer, current_door, needs
from api.routes.operating import no_query, no_store
from api.schemas import operators as shapes
from backends.volumes import quota_views
from core.errors import DeadlineExceeded, Unavailable, UnknownVolume
from core.names import QuotaScope, ScopeKind
from core.quota import accounts_at_thresholds

blueprint = PeopleResource("quota-alerts", __name__, description="Quotas, for operators.")

#: Scopes of a volume that are looked at; those that are fullest come first.
SCOPES_MAX = 200
#: In place of a volume, for limits over all of them.
_ALL_VOLUMES = ""


@blueprint.operation(
    "GET",
    "/v1/quota-alerts",
    Route(gives={200: RouteAnswer("The alerts.", shapes.QuotaAlerts)}),
)
@needs("volumes.read")
def list_quota_alerts(asked: PersonRequest) -> Response:  # noqa: ARG001 - every view has it
    """List the quota scopes and vfolders at 80 % of their limit or more, the fullest first.

    Of each volume the 200 fullest are listed, with their figures; `total` counts all. `volume` is
    null for a limit over all volumes, whose figures `GET /v1/quotas/{scope}` has. A volume that
    does not answer has them without figures, and `complete` is false.
    """
    no_query()
    door = current_door()
    found, complete, total = list[dict[str, Any]](), True, 0
    for volume in door.access.volumes():
        accounts = accounts_at_thresholds(door.jobs.redis, volume)
        total += len(accounts)
        documents = [_document(volume, *one) for one in _fullest(accounts)]
        complete &= _add_figures(door, volume, documents)
        found += documents
    totals = accounts_at_thresholds(door.jobs.redis, _ALL_VOLUMES)
    total += len(totals)
    found += [_document(None, *one) for one in _fullest(totals)]
    found.sort(key=lambda one: -one["percent"])
    return no_store({"alerts": found, "total": total, "complete": complete})


def _fullest(accounts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(accounts.items(), key=lambda one: (-one[1], one[0]))[:SCOPES_MAX]


def _document(volume: str | None, account: str, percent: int) -> dict[str, Any]:
    scope, _, vfolder = account.partition("/")
    figures = dict.fromkeys(("used_bytes", "limit_bytes", "as_of", "enforced"))
    return {
        "volume": volume,
        "scope_id": str(UUID(scope)) if scope != "." else None,
        "vfolder": vfolder or None,
        "percent": percent,
        **figures,
    }


def _add_figures(door: Door, volume: str, documents: list[dict[str, Any]]) -> bool:
    """Add usage and limit of the scopes; return whether the volume answered."""
    asked = [one for one in documents if one["vfolder"] is None and one["scope_id"]]
    # A directory does not tell the kind of its scope, and no figure depends on it.
    scopes = [QuotaScope(ScopeKind.USER, UUID(one["scope_id"])) for one in asked]
    try:
        views = door.volume_access.on_volume(volume, quota_views.scope_views, scopes)
    except (Unavailable, DeadlineExceeded, UnknownVolume):
        return False
    for document, view in zip(asked, views, strict=True):
        if view is not None:
            names = ("used_bytes", "limit_bytes", "as_of", "enforced")
            document.update({name: getattr(view, name) for name in names})
    return True
