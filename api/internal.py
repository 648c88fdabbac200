"""Metrics: what Prometheus asks."""

from collections.abc import Iterable
from typing import cast

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from api.doors import current_door
from core import metrics_files
from core.settings import Settings

metrics = Blueprint("metrics", __name__)


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
