"""What routes share: the door of a request, documented routes, probes. Knows no single door."""

from api.routes import (
    described,
    job_answers,
    job_lists,
    job_reports,
    job_retries,
    on_behalf,
    operating,
    parameters,
    probes,
    ticket_issue,
)
from api.routes.door import Door, bind_log_context, current_door, make_app
from api.routes.file_stream import stream_file
from api.routes.people import PeopleResource, PersonRequest, needs
from api.routes.resource import PROBLEM, VOLUME_ERRORS, Resource, Route, RouteAnswer
from api.routes.uncounted import count_uncounted
from api.routes.unmanaged import VOLUME

__all__ = [
    "PROBLEM",
    "VOLUME",
    "VOLUME_ERRORS",
    "Door",
    "PeopleResource",
    "PersonRequest",
    "Resource",
    "Route",
    "RouteAnswer",
    "bind_log_context",
    "count_uncounted",
    "current_door",
    "described",
    "job_answers",
    "job_lists",
    "job_reports",
    "job_retries",
    "make_app",
    "needs",
    "on_behalf",
    "operating",
    "parameters",
    "people_parts",
    "probes",
    "stream_file",
    "ticket_issue",
]
