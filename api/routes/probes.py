"""Probes: what load balancers and orchestrators ask, at the manager door and the internal one."""

from http import HTTPStatus

from flask import Response

from api.http import answer
from api.routes.door import current_door
from api.routes.resource import Resource, Route, RouteAnswer
from api.schemas import Health

blueprint = Resource("probes", __name__, description="How the node is.")
_WELL = RouteAnswer("It is well.", Health)
_PROBE = Route(
    gives={200: _WELL, 503: RouteAnswer("It is not.", Health)}, open_to_all=True, ignores_body=True
)


@blueprint.operation(
    "GET", "/health", Route(gives={200: _WELL}, open_to_all=True, ignores_body=True)
)
def get_health() -> Response:
    """Tell the health of this node; always 200, the body says `ok` or `degraded`.

    What is told was found in the background, seconds ago; `last_checked_at` says when.
    """
    return answer(current_door().health.report("degraded"))


@blueprint.operation("GET", "/livez", _PROBE)
def get_liveness() -> Response:
    """Whether this process should be kept: it answers, so it should.

    A store that is away is told, but no reason to end the process.
    """
    return answer(current_door().health.report("error"))


@blueprint.operation("GET", "/readyz", _PROBE)
def get_readiness() -> Response:
    """Whether this process should get requests; 503 means not now."""
    report = current_door().health.report("error")
    healthy = report["connectivity"]["overall_healthy"]
    return answer(report, HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE)
