"""The route /metrics: counters of every process of this node, and gauges read at each scrape.

A value that cannot be read is absent, not zero. Gauges of the cluster are in `cluster_gauges`.
"""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import cast

from flask import Blueprint, Response, current_app
from flask.sansio.blueprints import BlueprintSetupState
from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from api.doors.internal.cluster_gauges import ClusterGauges, gauge
from api.routes import Door, current_door
from backends.fs import native
from backends.volumes import Mounts
from core.jobs import State
from core.jobs.requests import VERBS
from core.process import metrics_files
from core.settings import Settings

#: The text format that every Prometheus reads.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: How often the files are read when one of them disappears meanwhile.
TRIES = 3
#: Gauges of a mount: the field of its capacity, also the end of the name; the description.
_SPACE = (
    ("capacity_bytes", "Size of the volume, as df(1) counts it."),
    ("used_bytes", "Used bytes of the volume, as df(1) counts them."),
    ("inodes", "Inodes of the volume."),
    ("used_inodes", "Used inodes of the volume."),
)
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
    """Return every metric of this node in Prometheus' text format."""
    current_door().health.start()
    parts: list[Collector] = current_app.extensions[_KEY]
    return Response(b"".join(generate_latest(part) for part in parts), content_type=CONTENT_TYPE)


class AllProcesses(Collector):
    """The counters of every process of this node, added up."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def collect(self) -> Iterable[Metric]:
        """Read the files of all processes and add them up."""
        for _ in range(TRIES):
            try:
                return self._merged()
            except FileNotFoundError:  # a door restarted while its files were read
                continue
        return self._merged()

    def _merged(self) -> Iterable[Metric]:
        files = [str(path) for path in metrics_files.all_files(self._settings)]
        merged = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call] # the library's
        return _with_zeros(cast("Iterable[Metric]", merged))


def _with_zeros(families: Iterable[Metric]) -> Iterator[Metric]:
    """Add 0 for each verb and end of a job that was not counted yet.

    So the first failed job is a rise of the counter, which rules of Prometheus see.
    """
    ended = CounterMetricFamily("vfolder_jobs", "Jobs that ended.", labels=("verb", "state"))
    missing = set(product(VERBS, (state.value for state in State if state.ended)))
    for family in families:
        if family.name == ended.name:
            ended.samples += family.samples
            missing -= {(one.labels["verb"], one.labels["state"]) for one in family.samples}
        else:
            yield family
    for verb, state in sorted(missing):
        ended.add_metric([verb, state], 0)
    yield ended


class VolumeGauges(Collector):
    """Gauges of the volumes of this node, as their probing threads last saw them."""

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts

    def collect(self) -> Iterable[Metric]:
        """Return what the last probe of each volume found; this calls no storage system."""
        up = gauge("vfolder_volume_up", "Whether the volume answers on this node.", "volume")
        took = gauge("vfolder_volume_probe_seconds", "How long the last probe took.", "volume")
        space = {name: gauge(f"vfolder_volume_{name}", text, "volume") for name, text in _SPACE}
        for name, state in self._mounts.states().items():
            if state.known:
                up.add_metric([name], float(state.volume.proven))
            if state.seconds is not None:
                took.add_metric([name], state.seconds)
            for field, family in space.items():
                if (value := getattr(state.capacity, field, None)) is not None:
                    family.add_metric([name], value)
        description = "Whether the part in C is used (1), or slower Python in its place (0)."
        in_c = gauge("vfolder_native_code", description)
        in_c.add_metric([], float(native.AVAILABLE))
        return [up, took, *space.values(), in_c]
