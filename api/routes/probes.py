"""Health routes for load balancers and orchestrators, at the manager and the internal door."""

from http import HTTPStatus

from flask import Response

from api.http import answer
from api.routes.door import current_door
from api.routes.resource import Resource, Route, RouteAnswer
from api.schemas import Health, Version
from api.volumes import COMPONENT
from core.process.version import VERSION

blueprint = Resource("probes", __name__, description="The health of the node.")
_HEALTHY = RouteAnswer("Healthy.", Health)
_PROBE = Route(
    gives={200: _HEALTHY, 503: RouteAnswer("Not healthy.", Health)},
    open_to_all=True,
    ignores_body=True,
)


@blueprint.operation(
    "GET", "/health", Route(gives={200: _HEALTHY}, open_to_all=True, ignores_body=True)
)
def get_health() -> Response:
    """Return the health of this node; always 200, the body says `ok` or `degraded`.

    Background threads check it every few seconds; `last_checked_at` says when.
    """
    return answer(current_door().health.report("degraded"))


@blueprint.operation("GET", "/livez", _PROBE)
def get_liveness() -> Response:
    """Return 200 while this process answers, so that it is not restarted.

    The body reports a store that is down. That is no reason to restart the process.
    """
    return answer(current_door().health.report("error"))


@blueprint.operation("GET", "/readyz", _PROBE)
def get_readiness() -> Response:
    """Return 200 when this process should get requests, 503 when not.

    It is 503 until every part was looked at once. The list always has every part.
    """
    report = current_door().health.report("error")
    healthy = report["connectivity"]["overall_healthy"]
    return answer(report, HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE)


@blueprint.operation(
    "GET",
    "/version",
    Route(gives={200: RouteAnswer("The version.", Version)}, open_to_all=True, ignores_body=True),
)
def get_version() -> Response:
    """Return the version of this service."""
    return answer({"component": COMPONENT, "version": VERSION})
