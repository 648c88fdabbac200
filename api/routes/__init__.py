"""What routes share: the door of a request, documented routes, probes. Knows no single door."""

from api.routes import parameters, probes
from api.routes.door import Door, bind_log_context, current_door, make_app
from api.routes.file_stream import stream_file
from api.routes.resource import PROBLEM, Resource, Route, RouteAnswer
from api.routes.unmanaged import VOLUME

__all__ = [
    "PROBLEM",
    "VOLUME",
    "Door",
    "Resource",
    "Route",
    "RouteAnswer",
    "bind_log_context",
    "current_door",
    "make_app",
    "parameters",
    "people_parts",
    "probes",
    "stream_file",
]
