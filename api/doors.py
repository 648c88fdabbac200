"""What every door stands on: the settings and volumes of this node, the store, request ids."""

import re
import time
from typing import cast
from uuid import uuid4

import structlog
from flask import Flask, Response, current_app, g, request

from api import problems
from api.deadlines import Deadlines
from backends.registry import Volumes
from core.settings import Settings
from core.telemetry import logger

REQUEST_ID_HEADER = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_KEY = "vfolder.door"
_log = logger(__name__)


class Door:
    """The resources of one door's process; connections open on first use, after the fork."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.volumes = Volumes(settings)
        self.deadlines = Deadlines(settings.vfolder.doors.backend_timeout)


def current_door() -> Door:
    """The door of the request at work."""
    return cast("Door", current_app.extensions[_KEY])


def make_app(name: str, settings: Settings) -> Flask:
    """A Flask app with what all doors share: problems, request ids, one log line per request."""
    app = Flask(name, static_folder=None)
    app.url_map.merge_slashes = False  # a redirect would hide that no such route exists
    app.extensions[_KEY] = Door(settings)
    app.before_request(_begin)
    app.after_request(_end)
    problems.install(app)
    return app


def _begin() -> None:
    given = request.headers.get(REQUEST_ID_HEADER, "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
    g.began = time.monotonic()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = g.request_id
    _log.info(
        "request answered",
        method=request.method,
        route=str(request.url_rule) if request.url_rule else None,
        status=response.status_code,
        duration_seconds=round(time.monotonic() - g.began, 6),
    )
    return response
