"""Probes and metrics: what load balancers, orchestrators and Prometheus ask."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from flask import Blueprint, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    generate_latest,
    multiprocess,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.values import ValueClass

from api.encoding import answer
from api.versions import VERSION
from core import metrics_files

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
    registry = REGISTRY
    if ValueClass.__name__ == "MmapedValue":  # PROMETHEUS_MULTIPROC_DIR is set
        registry = CollectorRegistry()
        registry.register(WholeNode())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class WholeNode(Collector):
    """Adds up the counters that every door and worker of this node writes to files."""

    def collect(self) -> Iterable[Metric]:
        """Read all files anew."""
        directory = Path(os.environ[metrics_files.DIRECTORY_VARIABLE]).parent
        files = [str(path) for path in metrics_files.all_files(directory)]
        merged = multiprocess.MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call] # the library's
        return cast("Iterable[Metric]", merged)


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
