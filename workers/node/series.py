"""The points of the last hour, which the leader of the cluster adds (`core.cluster.series`)."""

from collections.abc import Iterable

import redis
from prometheus_client.multiprocess import MultiProcessCollector

from core.cluster import (
    SERIES_SECONDS,
    NodeStore,
    PerformanceStore,
    SeriesStore,
    Throughput,
    boot_clock,
    point_of,
)
from core.jobs.store import read_queues
from core.process import metrics_files
from core.settings import Settings
from core.telemetry import logger

#: The counter of `core.telemetry.metrics.STREAMED_BYTES`, and the files that have counters.
STREAMED = "vfolder_stream_bytes"
_COUNTERS = "counter_"
_log = logger(__name__)


class SeriesSampler:
    """Adds a point to the series every `SERIES_SECONDS`, in the process of the leader."""

    def __init__(self, settings: Settings, client: "redis.Redis", nodes: NodeStore) -> None:
        self._client = client
        self._nodes = nodes
        self._series = SeriesStore(client)
        self._speeds = PerformanceStore(settings)
        self._throughput = Throughput()
        self._due = 0.0

    def sample(self) -> bool:
        """Add a point when it is due; return whether it was.

        Costs six round trips and one per volume.

        Raises:
            redis.RedisError: the store of jobs does not answer.
        """
        now = boot_clock()
        if now < self._due:
            return False
        # Beats are no divisor of the period: a point that is a beat late makes the next not late.
        following = self._due + SERIES_SECONDS
        self._due = following if following > now else now + SERIES_SECONDS
        queues, nodes = read_queues(self._client), self._nodes.all()
        volumes = {name for node in nodes if node["alive"] for name in node["volumes"]}
        rates = self._throughput.rates(queues.at, nodes)
        self._series.add(point_of(queues, rates, self._observed(volumes)))
        return True

    def _observed(self, volumes: Iterable[str]) -> dict[str, tuple[float, float]]:
        """Return the last observed rates of the volumes that have some."""
        found = {}
        try:
            for name in volumes:
                known = self._speeds.last(name)
                if known is not None:
                    metric = known["metric"]
                    found[name] = float(metric["io_bytes_read"]), float(metric["io_bytes_write"])
        except (redis.RedisError, KeyError, TypeError, ValueError) as error:
            _log.warning("volume speed not read", reason=type(error).__name__)
        return found


def streamed_bytes(settings: Settings) -> tuple[int, int] | None:
    """Return the bytes that the doors of this node received and sent since their start.

    None where their counters cannot be read now, for example because a door starts. Costs a read
    of a small file per process.
    """
    files = [
        str(path) for path in metrics_files.all_files(settings) if path.name.startswith(_COUNTERS)
    ]
    sums = {"in": 0.0, "out": 0.0}
    try:
        for family in MultiProcessCollector.merge(files):  # type: ignore[no-untyped-call] # the library's
            for sample in family.samples if family.name == STREAMED else ():
                sums[sample.labels["direction"]] += sample.value
    except (OSError, ValueError, RuntimeError, KeyError):  # a door that starts writes its files
        return None
    return int(sums["in"]), int(sums["out"])
