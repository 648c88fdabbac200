"""Flask, without what it does for each request and no door has a use for.

Routing, contexts, hooks and handlers of errors are Flask's. Left out are sessions, hooks of
blueprints and of the end, coroutines, and taking apart the same `Host` again and again.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from flask import Flask, Request, Response, request
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter
from werkzeug.wsgi import get_host

#: Callers name a door in a few ways; for one who tries more of them it is done anew.
_HOSTS_KNOWN = 64


class RequestContext(Request):
    """A request, and what the door notes of it."""

    #: Names it in the log and in the answer; none before it was looked at.
    request_id: str | None = None
    #: When it was looked at, by the clock that never goes back (seconds).
    began = 0.0
    #: It needs the secret, and did not show it.
    stranger = False
    #: What it ended with, for the metrics: domain, operation and detail of the error.
    error_parts: tuple[str, ...] = ("", "", "")


def this_request() -> RequestContext:
    """The request at work: looked up once, where Flask's `request` does it at each use."""
    return cast("RequestContext", request._get_current_object())  # type: ignore[attr-defined] # noqa: SLF001 - werkzeug's own name for it


class _NoSession(SessionInterface):
    def open_session(self, app: Flask, request: Request) -> NullSession:  # noqa: ARG002 - Flask's
        return _NONE


_NONE = NullSession()


class DoorFlask(Flask):
    """See the module."""

    request_class = RequestContext
    session_interface = _NoSession()

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self._bound_host = lru_cache(_HOSTS_KNOWN)(self._bind_host)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function as it is: no view or hook of ours is a coroutine."""
        return func

    def do_teardown_request(self, *_: object) -> None:
        """Do nothing at the end of a request: nobody waits for it."""

    def do_teardown_appcontext(self, *_: object) -> None:
        """Do nothing at the end of a context: nobody waits for it."""

    def preprocess_request(self) -> Any:  # noqa: ANN401 - any answer of Flask's
        """Run the hooks before a request, those of the app."""
        for act in self.before_request_funcs[None]:
            if (found := act()) is not None:
                return found
        return None

    def process_response(self, response: Response) -> Response:
        """Run the hooks after a request, those of the app, the last one first."""
        for act in reversed(self.after_request_funcs[None]):
            response = cast("Response", act(response))
        return response

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """What finds the rule of a request.

        Raises:
            BadHost: the caller's name of this door cannot be one.
        """
        if request is None or "HTTP_UPGRADE" in request.environ:
            return super().create_url_adapter(request)
        environ = request.environ
        request.host, name = self._bound_host(
            environ["wsgi.url_scheme"],
            environ.get("HTTP_HOST"),
            environ["SERVER_NAME"],
            environ["SERVER_PORT"],
        )
        return MapAdapter(
            self.url_map,
            name,
            request.root_path,
            "",
            environ["wsgi.url_scheme"],
            _text(environ["PATH_INFO"]),
            environ["REQUEST_METHOD"],
            _text(environ["QUERY_STRING"]),
        )

    def _bind_host(self, scheme: str, host: str | None, *server: str) -> tuple[str, str]:
        """The host as Flask tells it, and as rules are bound to it."""
        environ = dict(zip(("SERVER_NAME", "SERVER_PORT"), server, strict=True))
        environ |= {"wsgi.url_scheme": scheme} | ({} if host is None else {"HTTP_HOST": host})
        found = get_host(environ)
        return found, self.url_map.bind(found).server_name


def _text(given: str) -> str:
    """What WSGI says in latin-1, decoded as werkzeug does (PEP 3333)."""
    return given.encode("latin-1").decode(errors="replace")
