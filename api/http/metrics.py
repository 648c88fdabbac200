"""Counts every request a door answers: once, whatever becomes of it, when its answer is through.

Who is refused for a missing or wrong secret is not counted, as nothing of such a request was looked
at. The labels are the reference's: found by Flask (route, error), while the time is taken by a
shell around the application, so that a download lasts until its last byte.

`prometheus-flask-exporter` wraps views: of six requests answered 200, 400, 400, 403, 404 and 405 it
counted three, and its own families take neither the names nor the labels. So this is the library
below it, used directly.
"""

import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Self

from flask import Flask, Response
from prometheus_client import Counter, Histogram
from werkzeug.wsgi import ClosingIterator

from api.http.flask_app import RequestContext, this_request
from core.errors import Defect, StorageError
from core.telemetry import metrics

_LABELS = "vfolder.metrics.labels"
_CONVERTER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
#: What the reference says of errors that are not its own.
_FOREIGN = ("backendai", "generic", "internal-error")
#: Parts of an error code: domain, operation, detail.
_PARTS = 3
#: Paths without a route that become labels, per process; whoever tries more of them shares one.
UNMATCHED_MAX = 100
UNMATCHED = "{unmatched}"
#: There are only so many routes, and labels made of them; others cost a search.
_ROUTES_KNOWN = 512
_LABELS_KNOWN = 4096
_unmatched: set[str] = set()

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Labels = tuple[str, ...]


def install(app: Flask) -> None:
    """Count the requests of a door; the outermost of what is around it."""
    app.after_request(_label)
    app.wsgi_app = RequestCount(app.wsgi_app)  # type: ignore[method-assign] # Flask's own way to wrap


def note_error(error: Exception) -> None:
    """Remember what the request at work ended with."""
    if isinstance(error, StorageError) and not isinstance(error, Defect):
        parts = tuple(error.error_code.split("_"))
        this_request().error_parts = parts if len(parts) == _PARTS else _FOREIGN
    else:
        this_request().error_parts = _FOREIGN


def _endpoint(request: RequestContext) -> str:
    """The route with its parts in curly braces; without a route the path itself, as far as few."""
    if request.url_rule is not None:
        return _braced(request.url_rule.rule)
    if request.path not in _unmatched:
        if len(_unmatched) >= UNMATCHED_MAX:
            return UNMATCHED
        _unmatched.add(request.path)
    return request.path


@lru_cache(_ROUTES_KNOWN)
def _braced(rule: str) -> str:
    return _CONVERTER.sub(r"{\1}", rule)


def _label(response: Response) -> Response:
    request = this_request()
    if request.stranger:
        return response
    route = _endpoint(request)
    status = str(response.status_code)
    request.environ[_LABELS] = (request.method, route, *request.error_parts, status)
    return response


class RequestCount:
    """The shell: calls the application, and counts when its answer is closed."""

    def __init__(self, inner: Application) -> None:
        self._inner = inner

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer as the application does."""
        began = time.perf_counter()
        metrics.STREAMS_OPEN.inc()

        def count() -> None:
            metrics.STREAMS_OPEN.dec()
            labels: Labels | None = environ.pop(_LABELS, None)
            if labels is not None:
                requests, seconds = _families(labels)
                requests.inc()
                seconds.observe(time.perf_counter() - began)

        try:
            body = self._inner(environ, start_response)
        except BaseException:
            metrics.STREAMS_OPEN.dec()
            raise
        return _closing(body, count)


@lru_cache(_LABELS_KNOWN)
def _families(labels: Labels) -> tuple[Counter, Histogram]:
    """The counters of these labels; the library takes long to find them again."""
    return metrics.REQUESTS.labels(*labels), metrics.REQUEST_SECONDS.labels(*labels)


def _closing(body: Any, act: Callable[[], None]) -> Iterable[bytes]:  # noqa: ANN401 - any WSGI body
    """The same body, with `act` after its `close`.

    A server's own file wrapper is left what it is: only then the server uses sendfile.
    """
    close = getattr(body, "close", None)

    def both() -> None:
        try:
            if close is not None:
                close()
        finally:
            act()

    with suppress(AttributeError):  # most bodies have no room for an attribute
        body.close = both
        return body  # type: ignore[no-any-return] # what it was
    return ClosingIterator(_Unclosed(body), [both])


class _Unclosed:
    """A body without its `close`, which is called by hand."""

    def __init__(self, body: Iterable[bytes]) -> None:
        self._pieces = iter(body)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)
