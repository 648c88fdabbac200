"""Metrics: what Prometheus asks."""

from collections.abc import Iterable
from typing import cast

from flask import Blueprint, Response, current_app
from flask.sansio.blueprints import BlueprintSetupState
from prometheus_client import Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from api.doors.internal.gauges import ClusterGauges, VolumeGauges
from api.routes import Door, current_door
from core.process import metrics_files
from core.settings import Settings

#: The text format that every Prometheus reads.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Reads of the files that may find one gone.
TRIES = 3
_KEY = "vfolder.collectors"

metrics = Blueprint("metrics", __name__)


@metrics.record
def _collectors(state: BlueprintSetupState) -> None:
    door: Door = state.app.extensions["vfolder.door"]
    state.app.extensions[_KEY] = [
        AllProcesses(door.settings),
        ClusterGauges(lambda: door.settings),
        VolumeGauges(door.mounts),
    ]


@metrics.get("/metrics")
def prometheus() -> Response:
    """Every metric of every process of this node, in Prometheus' text format."""
    current_door().health.start()
    parts: list[Collector] = current_app.extensions[_KEY]
    return Response(b"".join(generate_latest(part) for part in parts), content_type=CONTENT_TYPE)


class AllProcesses(Collector):
    """The counters of every process of this node, added up."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def collect(self) -> Iterable[Metric]:
        """Read the processes' files anew."""
        for _ in range(TRIES):
            try:
                return self._merged()
            except FileNotFoundError:  # a door was started anew while its files were read
                continue
        return self._merged()

    def _merged(self) -> Iterable[Metric]:
        files = [str(path) for path in metrics_files.all_files(self._settings)]
        return cast("Iterable[Metric]", MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call] # the library's
