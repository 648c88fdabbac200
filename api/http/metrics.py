"""Count and time every request that a door answers, by route, error and status.

prometheus-flask-exporter keeps the counter. Its usual place is around views, where it misses
refusals before routing, 404 and 405. Here it counts in a hook that Flask runs after every request.
Two things that no hook of Flask sees are added on top:

* The duration lasts until the last byte of the answer, so a download is timed as a whole. A WSGI
  wrapper observes it, with the labels of the counter.
* gunicorn itself refuses what is no HTTP request. Its worker answers it by `problems.refuse`, which
  runs the hooks.

A request with a missing or wrong secret is not counted, because the door reads nothing else of it.
Metric and label names are those of the reference.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Self

from flask import Flask, Response
from prometheus_client import Histogram
from prometheus_flask_exporter import PrometheusMetrics
from werkzeug.wsgi import ClosingIterator

from api.http.flask_app import RequestContext, this_request
from core.errors import Defect, StorageError
from core.telemetry import metrics

_LABELS = "vfolder.metrics.labels"
_CONVERTER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
#: The error parts that the reference reports for errors of other software.
_FOREIGN = ("backendai", "generic", "internal-error")
#: Parts of an error code: domain, operation, detail.
_PARTS = 3
#: A process labels at most this many paths without a route; all others share one label.
UNMATCHED_MAX = 100
UNMATCHED = "{unmatched}"
#: Below it, paths have secrets of links.
LINKS = "/s/"
#: The endpoint of what is no request: its path is not looked at.
UNREADABLE = "{unreadable}"
#: Sizes of caches: routes, and combinations of labels. A lookup without the cache costs more.
_ROUTES_KNOWN = 512
_LABELS_KNOWN = 4096
_unmatched: set[str] = set()
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Labels = tuple[str, ...]


#: The labels of the request that this thread counts. A look into Flask's context costs three times.
_current = threading.local()


class RequestLabels:
    """The labels of the exporter's counter: those of the current request."""

    def keys(self) -> Labels:
        """Return the names of the labels."""
        return metrics.REQUEST_LABELS

    def has_keys(self) -> bool:
        """Return true: the counter has labels."""
        return True

    def values_for(self, _response: Response) -> dict[str, str]:
        """Return the labels of the request that this thread counts, by name."""
        return dict(zip(metrics.REQUEST_LABELS, _current.labels, strict=True))


class RequestExporter(PrometheusMetrics):
    """The exporter, with labels that are taken at once.

    The exporter makes and calls functions for every label of every request, and inspects the
    signatures of ours (20 µs per label).
    """

    def _get_combined_labels(self, _labels: object) -> RequestLabels:
        return RequestLabels()


#: One per process: every app of a process shares the counter. The internal door serves /metrics.
_exporter = RequestExporter.for_app_factory(path=None, export_defaults=False)


@_exporter.counter(
    "backendai_api_request_count",
    "Requests answered.",
    initial_value_when_only_static_labels=False,
)
def _counted(response: Response) -> Response:
    """Return the response; the exporter counts the call."""
    return response


def install(app: Flask) -> None:
    """Count and time the requests of a door. Call it last: its wrapper must be the outermost."""
    _exporter.init_app(app)
    app.after_request(_count)
    app.wsgi_app = RequestTimer(app.wsgi_app)  # type: ignore[method-assign] # Flask's own way to wrap


def set_error(error: Exception) -> None:
    """Remember the error that ends the current request, for its labels."""
    if isinstance(error, StorageError) and not isinstance(error, Defect):
        parts = tuple(error.error_code.split("_"))
        this_request().error_parts = parts if len(parts) == _PARTS else _FOREIGN
    else:
        this_request().error_parts = _FOREIGN


def _count(response: Response) -> Response:
    request = this_request()
    if request.unauthenticated or _LABELS in request.environ:
        return response  # Flask runs the hooks again when one of them fails
    status = str(response.status_code)
    method = "" if request.unreadable else request.method
    labels = (method, _endpoint(request), *request.error_parts, status)
    request.environ[_LABELS] = _current.labels = labels
    _counted(response)
    return response


def _endpoint(request: RequestContext) -> str:
    """Return the route with its parts in curly braces; without a route, the path or `UNMATCHED`."""
    if request.unreadable:
        return UNREADABLE
    if request.url_rule is not None:
        return _braced(request.url_rule.rule)
    if request.path.startswith(LINKS):
        return UNMATCHED
    if request.path not in _unmatched:
        if len(_unmatched) >= UNMATCHED_MAX:
            return UNMATCHED
        _unmatched.add(request.path)
    return request.path


@lru_cache(_ROUTES_KNOWN)
def _braced(rule: str) -> str:
    return _CONVERTER.sub(r"{\1}", rule)


class RequestTimer:
    """A WSGI wrapper that times a request until its answer is closed."""

    def __init__(self, inner: Application) -> None:
        self._inner = inner

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Return the application's answer, and observe its duration when it is closed."""
        began = time.perf_counter()
        metrics.STREAMS_OPEN.inc()

        def observe() -> None:
            metrics.STREAMS_OPEN.dec()
            labels: Labels | None = environ.pop(_LABELS, None)
            if labels is not None:
                _seconds(labels).observe(time.perf_counter() - began)

        try:
            body = self._inner(environ, start_response)
        except BaseException:
            metrics.STREAMS_OPEN.dec()
            raise
        return _calling_after_close(body, observe)


@lru_cache(_LABELS_KNOWN)
def _seconds(labels: Labels) -> Histogram:
    """Return the histogram of these labels; the library takes long to find it."""
    return metrics.REQUEST_SECONDS.labels(*labels)


def _calling_after_close(body: Any, callback: Callable[[], None]) -> Iterable[bytes]:  # noqa: ANN401 - any WSGI body
    """Return the body, with `callback` called after its `close`.

    The server's own file wrapper keeps its type, because the server uses sendfile only for it.
    """
    close = getattr(body, "close", None)

    def close_and_call() -> None:
        try:
            if close is not None:
                close()
        finally:
            callback()

    try:
        body.close = close_and_call
    except AttributeError:  # a tuple or a list takes no attribute
        return ClosingIterator(_WithoutClose(body), [close_and_call])
    return body  # type: ignore[no-any-return] # what it was


class _WithoutClose:
    """A body without its `close`: `close_and_call` calls that."""

    def __init__(self, body: Iterable[bytes]) -> None:
        self._pieces = iter(body)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)
