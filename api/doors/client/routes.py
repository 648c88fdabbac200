"""The routes of the client door."""

from flask import Blueprint, Response

from api.http import VERSION, answer

blueprint = Blueprint("client", __name__)


@blueprint.get("/")
def status() -> Response:
    """Say that the door is open."""
    return answer({"status": "ok", "type": "client-facing", "storage-proxy": VERSION})
