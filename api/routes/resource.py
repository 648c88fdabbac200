"""Routes and their documentation in one place: what an act takes, gives and refuses.

A view gets its body parsed and typed, returns a ready response, and its docstring is the user's
documentation: the first line the summary, the rest the description.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Response
from flask_smorest import Blueprint

from api.routes.log_context import bind_log_context
from api.routes.unmanaged import VOLUME as UNMANAGED
from api.routes.unmanaged import unmanaged
from api.schemas import Body, Problem, bodies
from core.errors import (
    BackendFailed,
    DeadlineExceeded,
    Forbidden,
    MalformedRequest,
    NoSpace,
    QuotaExceeded,
    StorageError,
    Unavailable,
    UnknownVolume,
)

JSON = "application/json"
PROBLEM = "application/problem+json"
View = Callable[..., Response]
Errors = Iterable[type[StorageError]]

#: Any act on a volume may meet these.
VOLUME_ERRORS: tuple[type[StorageError], ...] = (
    UnknownVolume,
    BackendFailed,
    DeadlineExceeded,
    NoSpace,
    QuotaExceeded,
    Unavailable,
)


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """One way an act ends well."""

    says: str
    schema: type[ma.Schema] | None = None
    content_type: str = JSON
    headers: tuple[str, ...] = ()
    #: Other media types it may come in.
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """What a route takes, gives and refuses."""

    gives: dict[int, RouteAnswer]
    takes: type[Body] | None = None
    refuses: tuple[type[StorageError], ...] = ()
    #: Largest body in bytes; None is the door's own limit.
    body_max_bytes: int | None = None
    #: Needs no secret.
    open_to_all: bool = False
    #: Any body is taken and not looked at.
    ignores_body: bool = False

    @property
    def errors(self) -> list[type[StorageError]]:
        """Every error the act may end with, each once."""
        # What needs the secret is about volumes or jobs: their node or their store may be away.
        closed: list[type[StorageError]] = [] if self.open_to_all else [Forbidden, Unavailable]
        return list(dict.fromkeys([*closed, *self._others()]))

    def _others(self) -> list[type[StorageError]]:
        found = list(self.refuses)
        if self.ignores_body:
            return found
        if self.takes is None:
            return [MalformedRequest, *found]
        names = self.takes._declared_fields  # noqa: SLF001 - marshmallow has no other way to ask a class
        volume = VOLUME_ERRORS if any("volume" in name for name in names) else ()
        return [self.takes.refusal, *found, *volume]


class Resource(Blueprint):
    """A blueprint of acts."""

    def _prepare_response_doc(self, doc: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:  # noqa: ANN401 - flask-smorest's hook
        """Leave the answers as the act states them: there is no other one."""
        return doc

    def act(self, method: str, rule: str, act: Route) -> Callable[[View], View]:
        """Route `method rule` to the view; it gets the parsed body first, if the act takes one."""

        def decorate(view: View) -> View:
            bound = _bound(view, act, unmanaged(method, rule))
            bound.__dict__["_apidoc"] = {"manual_doc": _documentation(view, act)}
            self.add_url_rule(rule, view.__name__, bound, methods=[method])
            return bound

        return decorate


def _bound(view: View, act: Route, elsewhere: Callable[[], Response] | None) -> View:
    if act.takes:
        return _with_body(view, act, elsewhere)
    if act.ignores_body:
        return view
    return _without_body(view)


def _with_body(view: View, act: Route, elsewhere: Callable[[], Response] | None) -> View:
    if act.takes is None:
        raise TypeError("the act takes nothing")
    schema = act.takes()

    @wraps(view)
    def bound(**route: str) -> Response:
        body = bodies.load(schema, act.body_max_bytes)
        if elsewhere and body.volume == UNMANAGED:
            return elsewhere()
        bind_log_context(getattr(body, "volume", None), getattr(body, "vfolder", None))
        return view(body, **route)

    return bound


def _without_body(view: View) -> View:
    @wraps(view)
    def bound(**route: str) -> Response:
        bodies.no_body()
        bind_log_context()
        return view(**route)

    return bound


def _documentation(view: View, act: Route) -> dict[str, Any]:
    found: dict[str, Any] = {"operationId": view.__name__, "responses": _responses(act)}
    if act.open_to_all:
        found["security"] = []
    if act.takes:
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": _schema(act.takes)}}}
    return found


def _schema(takes: type[Body]) -> Any:  # noqa: ANN401 - what apispec resolves
    alternatives = getattr(takes, "alternatives", None)
    return takes if alternatives is None else {"oneOf": list(alternatives.values())}


def _responses(act: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answer in act.gives.items():
        responses[str(status)] = _success(answer)
    by_status: dict[int, list[str]] = {}
    for error in act.errors:
        by_status.setdefault(error.status, []).append(f"`{error.error_code}`: {error.title}.")
    if act.takes:
        by_status.setdefault(413, []).append("The body is too large.")
    by_status.setdefault(500, []).append("Something went wrong here.")
    for status, lines in by_status.items():
        refusal = _refusal(status, lines)
        known = responses.setdefault(str(status), refusal)
        if known is not refusal:  # one status, an answer and a problem
            known["content"] = {**known.get("content", {}), **refusal["content"]}
    return responses


def _success(answer: RouteAnswer) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.says, "headers": _headers(answer.headers)}
    if answer.schema:
        found["content"] = {answer.content_type: {"schema": answer.schema}}
    elif answer.content_type != JSON:
        # Bytes or a stream: no JSON Schema.
        found["content"] = {kind: {} for kind in (answer.content_type, *answer.also)}
    return found


def _refusal(status: int, lines: list[str]) -> dict[str, Any]:
    unique = list(dict.fromkeys(lines))
    headers = ("Retry-After",) if status in (HTTPStatus.SERVICE_UNAVAILABLE, 504) else ()
    return {
        "description": "\n".join(f"- {line}" for line in unique) if unique[1:] else unique[0],
        "headers": _headers(headers),
        "content": {PROBLEM: {"schema": Problem}},
    }


_HEADER_TEXTS = {
    "X-Request-ID": "Names the request in the logs.",
    "Location": "The job's own address.",
    "Retry-After": "Seconds to wait before asking again.",
}


def _headers(names: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: {"description": _HEADER_TEXTS[name], "schema": {"type": "string"}}
        for name in ("X-Request-ID", *names)
    }
