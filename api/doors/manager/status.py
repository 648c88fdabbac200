"""Routes that report the version of the door."""

from flask import Response

from api.http import answer
from api.routes import Resource, Route, RouteAnswer
from api.schemas import Status
from core.process.version import VERSION

blueprint = Resource("status", __name__, description="The version of the door.")
_OPEN = Route(gives={200: RouteAnswer("The door answers.", Status)}, open_to_all=True)


@blueprint.operation("GET", "/", _OPEN)
def get_root() -> Response:
    """Return the version of the door."""
    return _status()


@blueprint.operation("GET", "/status", _OPEN)
def get_status() -> Response:
    """Return the version of the door."""
    return _status()


def _status() -> Response:
    return answer({"status": "ok", "type": "manager-facing", "storage-proxy": VERSION})
