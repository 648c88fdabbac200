"""Probes and metrics: what load balancers, orchestrators and Prometheus ask."""

from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, cast

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from api.doors import current_door
from api.encoding import answer
from api.versions import VERSION
from core import metrics_files
from core.settings import Settings

COMPONENT = "storage-proxy"
probes = Blueprint("probes", __name__)
metrics = Blueprint("metrics", __name__)


@probes.get("/health")
def health() -> Response:
    """Tell the health of this node; always 200, the body says `ok` or `degraded`."""
    return answer(_report("degraded"))


@probes.get("/livez")
def live() -> Response:
    """Whether this process should be kept; 503 means restart it."""
    return _probe()


@probes.get("/readyz")
def ready() -> Response:
    """Whether this process should get requests; 503 means not now."""
    return _probe()


@metrics.get("/metrics")
def prometheus() -> Response:
    """Every metric of every process of this node, in Prometheus' text format."""
    collector = _AllProcesses(current_door().settings)
    return Response(generate_latest(collector), content_type=CONTENT_TYPE_LATEST)


class _AllProcesses(Collector):
    """The counters of every process of this node, added up."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def collect(self) -> Iterable[Metric]:
        """Read the processes' files anew."""
        files = [str(path) for path in metrics_files.all_files(self._settings)]
        return cast("Iterable[Metric]", MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call] # the library's


def _probe() -> Response:
    report = _report("error")
    healthy = report["connectivity"]["overall_healthy"]
    return answer(report, HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE)


def _report(unhealthy: str) -> dict[str, Any]:
    checks: list[dict[str, Any]] = []
    healthy = all(check["is_healthy"] for check in checks)
    return {
        "status": "ok" if healthy else unhealthy,
        "version": VERSION,
        "component": COMPONENT,
        "connectivity": {
            "overall_healthy": healthy,
            "connectivity_checks": checks,
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        },
    }
