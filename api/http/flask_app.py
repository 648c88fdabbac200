"""The Flask class of every door: Flask with a few steps made shorter, and typed request state.

Routing, contexts, hooks, blueprints and error handlers are Flask's own and work as documented.
Shortened are four steps that every request pays for: there are no sessions, no view or hook is a
coroutine, the same `Host` header is not parsed again and again, and without hooks at the end of a
request Flask does not look for them (docs/dependencies.md).
"""

import random
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from uuid import UUID

from flask import Flask, Request, appcontext_tearing_down, request, request_tearing_down
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter
from werkzeug.wsgi import get_host

from core.telemetry import logs

#: A request id of the caller, as WSGI names its header, and the form that is taken over.
_REQUEST_ID_GIVEN = "HTTP_X_REQUEST_ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
#: Callers use few host names for a door. A caller that tries more of them costs a parse each time.
_HOSTS_KNOWN = 64


class RequestContext(Request):
    """A request, and what the door remembers of it."""

    #: The id in the log and in the answer; None before the first hook ran.
    request_id: str | None = None
    #: When the first hook ran, on the monotonic clock (seconds).
    began = 0.0
    #: An answer has the id.
    is_answered = False
    #: The route needs the secret, and the request did not send the right one.
    unauthenticated = False
    #: The user for which the manager asks: it is decided as for that user. None: for itself.
    on_behalf_of: UUID | None = None
    #: What was decided about that user; `api.routes.on_behalf` keeps it here.
    on_behalf: object = None
    #: The server could not read the request; its method and path are a guess.
    unreadable = False
    #: The error that ended the request, for the metrics: domain, operation and detail.
    error_parts: tuple[str, ...] = ("", "", "")


#: Returns the current request. It is looked up once; Flask's `request` does it at each use.
this_request: Callable[[], RequestContext] = request._get_current_object  # type: ignore[attr-defined] # noqa: SLF001 - werkzeug documents it under this name


def begin_request() -> None:
    """Give the current request its id, and begin its log lines."""
    request = this_request()
    given = request.environ.get(_REQUEST_ID_GIVEN, "")
    request.request_id = given if _REQUEST_ID.fullmatch(given) else _new_request_id()
    request.began = time.monotonic()
    logs.begin(request_id=request.request_id)


def _new_request_id() -> str:
    """Return 32 random hex digits. They are no secret, so the kernel's generator is not needed."""
    return f"{random.getrandbits(128):032x}"


class _NoSession(SessionInterface):
    def open_session(self, app: Flask, request: Request) -> NullSession:  # noqa: ARG002 - Flask's
        return _NO_SESSION


_NO_SESSION = NullSession()


class DoorFlask(Flask):
    """Flask as the doors use it; see the module."""

    request_class = RequestContext
    session_interface = _NoSession()

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self._bound_host = lru_cache(_HOSTS_KNOWN)(self._bind_host)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function unchanged: no view or hook of the doors is a coroutine.

        Flask inspects it at each call. It answers a coroutine with a TypeError that says so.
        """
        return func

    def do_teardown_request(self, *exception: BaseException | None) -> None:
        """Run the hooks at the end of a request; return at once when there is none."""
        if self.teardown_request_funcs or request_tearing_down.receivers:
            super().do_teardown_request(*exception)

    def do_teardown_appcontext(self, *exception: BaseException | None) -> None:
        """Run the hooks at the end of a context; return at once when there is none."""
        if self.teardown_appcontext_funcs or appcontext_tearing_down.receivers:
            super().do_teardown_appcontext(*exception)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return what finds the rule of a request.

        Raises:
            BadHost: the `Host` header is no valid host name.
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
            _decoded(environ["PATH_INFO"]),
            environ["REQUEST_METHOD"],
            _decoded(environ["QUERY_STRING"]),
        )

    def _bind_host(self, scheme: str, host: str | None, *server: str) -> tuple[str, str]:
        """Return the host as Flask reports it, and as rules are bound to it."""
        environ = dict(zip(("SERVER_NAME", "SERVER_PORT"), server, strict=True))
        environ |= {"wsgi.url_scheme": scheme} | ({} if host is None else {"HTTP_HOST": host})
        request_host = get_host(environ)
        return request_host, self.url_map.bind(request_host).server_name


def _decoded(text: str) -> str:
    """Return what WSGI holds in latin-1, decoded as werkzeug does (PEP 3333)."""
    return text.encode("latin-1").decode(errors="replace")
