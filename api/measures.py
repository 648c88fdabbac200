"""What is measured of every request, with the names and labels that existing dashboards read.

Who is refused for a missing or wrong secret is not counted, as nothing of his request was looked
at. What no route matches is one endpoint, `unmatched`: paths of strangers are not labels.
"""

import re
import time

from flask import Response, g, request
from prometheus_client import Counter, Histogram

LABELS = ("method", "endpoint", "domain", "operation", "error_detail", "status_code")
#: Upper bounds in seconds.
BUCKETS = (0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 30)
UNMATCHED = "unmatched"
#: What errors without a code of their own are counted as.
UNFORESEEN = "backendai_generic_internal-error"
_CONVERTER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")

REQUESTS = Counter("backendai_api_request_count", "Requests answered.", LABELS)
DURATIONS = Histogram(
    "backendai_api_request_duration_sec", "How long requests took.", LABELS, buckets=BUCKETS
)
_endpoints: dict[str, str] = {}


def measure(response: Response, began: float) -> None:
    """Count the request at work, with its answer; `began` is of `time.monotonic`."""
    if g.get("stranger"):
        return
    error: str | None = g.get("error_code")
    domain, operation, detail = error.split("_") if error else ("", "", "")
    labels = (request.method, _endpoint(), domain, operation, detail, str(response.status_code))
    REQUESTS.labels(*labels).inc()
    DURATIONS.labels(*labels).observe(time.monotonic() - began)


def _endpoint() -> str:
    """The route's pattern, its variables in curly braces and without converters."""
    if request.url_rule is None:
        return UNMATCHED
    rule = request.url_rule.rule
    known = _endpoints.get(rule)
    if known is None:
        known = _endpoints[rule] = _CONVERTER.sub(r"{\1}", rule)
    return known
