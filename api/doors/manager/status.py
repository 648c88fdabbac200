"""Whether the door is open."""

from flask import Response

from api.http import answer
from api.routes import Resource, Route, RouteAnswer
from api.schemas import Status
from core.process.version import VERSION

blueprint = Resource("status", __name__, description="Whether the door is open.")
_OPEN = Route(gives={200: RouteAnswer("It is open.", Status)}, open_to_all=True)


@blueprint.operation("GET", "/", _OPEN)
def get_root() -> Response:
    """Say that the door is open, and which version answers."""
    return _say()


@blueprint.operation("GET", "/status", _OPEN)
def get_status() -> Response:
    """Say that the door is open, and which version answers."""
    return _say()


def _say() -> Response:
    return answer({"status": "ok", "type": "manager-facing", "storage-proxy": VERSION})
