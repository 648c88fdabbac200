"""HTTP parts of every door: app, secret, problems, JSON, metrics. Knows no volume and no job.

Modules that need `credentials` import it by name: it loads libraries that most doors do not need.
"""

from api.http import auth, json, metrics, problems
from api.http.flask_app import DoorFlask, RequestContext, begin_request, this_request
from api.http.json import answer, no_content, ready
from api.http.remembered import Remembered
from api.http.takeover import Takeover

__all__ = [
    "DoorFlask",
    "Remembered",
    "RequestContext",
    "Takeover",
    "answer",
    "auth",
    "begin_request",
    "cookies",
    "credentials",
    "json",
    "metrics",
    "no_content",
    "problems",
    "ready",
    "this_request",
]
