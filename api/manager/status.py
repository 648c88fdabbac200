"""Whether the door is open."""

from flask import Blueprint, Response

from api.bodies import no_body
from api.encoding import answer
from api.versions import VERSION

blueprint = Blueprint("status", __name__)


@blueprint.get("/")
@blueprint.get("/status")
def status() -> Response:
    """Say that the door is open, and which version answers."""
    no_body()
    return answer({"status": "ok", "type": "manager-facing", "storage-proxy": VERSION})
