"""HTTP parts that every door shares: app, problems, JSON, metrics. Knows no volume and no job."""

from api.http import auth, json, metrics, problems
from api.http.connection_close import says_close
from api.http.flask_app import DoorFlask, this_request
from api.http.json import answer, no_content, ready
from api.http.version import VERSION

__all__ = [
    "VERSION",
    "DoorFlask",
    "answer",
    "auth",
    "json",
    "metrics",
    "no_content",
    "problems",
    "ready",
    "says_close",
    "this_request",
]
