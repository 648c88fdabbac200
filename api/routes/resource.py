"""Routes and their documentation in one place: what a route takes, gives and refuses.

A view gets its body parsed and typed, and returns a finished response. Its docstring is the user's
documentation: the first line is the summary, the rest is the description.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import update_wrapper, wraps
from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Response
from flask_smorest import Blueprint

from api.http import this_request
from api.routes.door import bind_log_context
from api.routes.parameters import REQUEST_ID, Parameter
from api.routes.unmanaged import VOLUME as UNMANAGED
from api.routes.unmanaged import unmanaged
from api.schemas import Body, Problem, bodies
from backends.fs import ERRORS
from core.errors import (
    AccessRefused,
    Forbidden,
    MalformedRequest,
    RequestRefused,
    StorageError,
    Unavailable,
    UnknownVolume,
)

JSON = "application/json"
FORM = "multipart/form-data"
PROBLEM = "application/problem+json"
View = Callable[..., Response]
Errors = Iterable[type[StorageError]]

#: Any operation on a volume may meet these: what an errno means, a call that is late, and a storage
#: system that does not accept the service or the request.
VOLUME_ERRORS: tuple[type[StorageError], ...] = (
    UnknownVolume,
    *ERRORS,
    AccessRefused,
    RequestRefused,
)


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """One successful answer of a route."""

    description: str
    schema: type[ma.Schema] | None = None
    content_type: str = JSON
    headers: tuple[str, ...] = ()
    #: Further media types of the same answer.
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """What a route takes, gives and refuses."""

    gives: dict[int, RouteAnswer]
    takes: type[Body] | None = None
    #: The fields of a form (`multipart/form-data`) that the view reads itself.
    form: type[ma.Schema] | None = None
    refuses: tuple[type[StorageError], ...] = ()
    #: Parameters in the query and in headers, beside those that all routes take.
    parameters: tuple[Parameter, ...] = ()
    #: The largest body in bytes; None is the limit of the door.
    body_max_bytes: int | None = None
    #: The route needs no secret.
    open_to_all: bool = False
    #: The route accepts any body and does not read it.
    ignores_body: bool = False

    @property
    def errors(self) -> list[type[StorageError]]:
        """Return every error of the route, each once."""
        # A route behind the secret is about volumes or jobs: their node or their store may be down.
        closed: list[type[StorageError]] = [] if self.open_to_all else [Forbidden, Unavailable]
        return list(dict.fromkeys([*closed, *self._own_errors()]))

    def _own_errors(self) -> list[type[StorageError]]:
        if self.ignores_body or self.form:
            return list(self.refuses)
        if self.takes is None:
            return [MalformedRequest, *self.refuses]
        volume = VOLUME_ERRORS if any("volume" in name for name in self.takes().fields) else ()
        return [self.takes.refusal, *self.refuses, *volume]


class Resource(Blueprint):
    """A blueprint whose routes carry their own documentation."""

    def operation(self, method: str, rule: str, route: Route) -> Callable[[View], View]:
        """Register the view for `method rule`; a route with a body passes it as first argument."""

        def decorate(view: View) -> View:
            documented = self.doc(**self.documentation(view, route))(view)
            bound = self.bound(view, route, unmanaged(method, rule))
            # A request need not pass the function that flask-smorest made around the view.
            registered = documented if bound is view else update_wrapper(bound, documented)
            self.add_url_rule(rule, view.__name__, registered, methods=[method])
            return bound

        return decorate

    def bound(
        self, view: View, route: Route, unmanaged_answer: Callable[[], Response] | None
    ) -> View:
        """Return the view that is registered: it reads and checks the body first."""
        return _bound(view, route, unmanaged_answer)

    def documentation(self, view: View, route: Route) -> dict[str, Any]:
        """Return the members of the route in the OpenAPI document."""
        return _documentation(view, route)


def _bound(view: View, route: Route, unmanaged_answer: Callable[[], Response] | None) -> View:
    if route.takes:
        return _with_body(view, route.takes(), route.body_max_bytes, unmanaged_answer)
    return view if route.ignores_body or route.form else _without_body(view)


def _with_body(
    view: View,
    schema: Body,
    body_max_bytes: int | None,
    unmanaged_answer: Callable[[], Response] | None,
) -> View:
    @wraps(view)
    def bound(**path_parameters: str) -> Response:
        body = bodies.load(schema, body_max_bytes)
        managers_own = this_request().on_behalf_of is None
        if managers_own and unmanaged_answer and body.volume == UNMANAGED:
            return unmanaged_answer()
        bind_log_context(getattr(body, "volume", None), getattr(body, "vfolder", None))
        return view(body, **path_parameters)

    return bound


def _without_body(view: View) -> View:
    @wraps(view)
    def bound(**path_parameters: str) -> Response:
        bodies.no_body()
        bind_log_context()
        return view(**path_parameters)

    return bound


def _documentation(view: View, route: Route) -> dict[str, Any]:
    parameters = [one.document() for one in (*route.parameters, REQUEST_ID)]
    doc: dict[str, Any] = {
        "operationId": view.__name__,
        "parameters": parameters,
        "responses": _responses(route),
    }
    if route.open_to_all:
        doc["security"] = []
    if route.takes:
        content = {JSON: {"schema": _schema(route.takes)}}
        doc["requestBody"] = {"required": _is_required(route.takes), "content": content}
    if route.form:
        doc["requestBody"] = {"required": True, "content": {FORM: {"schema": route.form}}}
    return doc


def _is_required(takes: type[Body]) -> bool:
    """Return whether a request without a body is refused: an absent one is an empty object."""
    if takes.needed or getattr(takes, "alternatives", None) is not None:
        return True
    return any(field.required for field in takes().fields.values())


def _schema(takes: type[Body]) -> Any:  # noqa: ANN401 - what apispec resolves
    alternatives = getattr(takes, "alternatives", None)
    return takes if alternatives is None else {"oneOf": list(alternatives.values())}


def _responses(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answer in route.gives.items():
        responses[str(status)] = _success(answer)
    by_status: dict[int, list[str]] = {}
    for error in route.errors:
        by_status.setdefault(error.status, []).append(f"`{error.error_code}`: {error.title}.")
    if route.takes or route.form:
        by_status.setdefault(413, []).append("The body is too large.")
    by_status.setdefault(500, []).append("The service failed; its log has the request id.")
    for status, lines in by_status.items():
        refusal = _refusal(status, lines)
        known = responses.setdefault(str(status), refusal)
        if known is not refusal:  # one status, an answer and a problem
            known["content"] = {**known.get("content", {}), **refusal["content"]}
    return responses


def _success(answer: RouteAnswer) -> dict[str, Any]:
    doc: dict[str, Any] = {"description": answer.description, "headers": _headers(answer.headers)}
    if answer.schema:
        doc["content"] = {answer.content_type: {"schema": answer.schema}}
    elif answer.content_type != JSON:
        kinds = (answer.content_type, *answer.also)
        doc["content"] = {kind: {"schema": _stream_schema(kind)} for kind in kinds}
    return doc


def _stream_schema(content_type: str) -> dict[str, Any]:
    """Return the schema of text or bytes; generators of clients read `format`.

    An event stream has none: OpenAPI 3.1 cannot describe its events.
    """
    if content_type == "text/event-stream":
        return {}
    text = content_type.startswith("text/")
    return {"type": "string"} if text else {"type": "string", "format": "binary"}


def _refusal(status: int, lines: list[str]) -> dict[str, Any]:
    unique = list(dict.fromkeys(lines))
    headers = ("Retry-After",) if status in (HTTPStatus.SERVICE_UNAVAILABLE, 504) else ()
    return {
        "description": "\n".join(f"- {line}" for line in unique) if unique[1:] else unique[0],
        "headers": _headers(headers),
        "content": {PROBLEM: {"schema": Problem}},
    }


_HEADER_TEXTS = {
    "X-Request-ID": "The id of this request; the logs contain it.",
    "Location": "The address of the job.",
    "ETag": "The version of the job; send it as `If-None-Match`.",
    "Retry-After": "Seconds to wait before the next request.",
    "Set-Cookie": "The cookie of the sign-in: HttpOnly, SameSite=Strict, Secure behind https.",
}


def _headers(names: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: {"description": _HEADER_TEXTS[name], "schema": {"type": "string"}}
        for name in ("X-Request-ID", *names)
    }
