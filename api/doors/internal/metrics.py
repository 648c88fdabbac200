"""The route /metrics: counters of every process of this node, and gauges read at each scrape.

Gauges from the store are those of the cluster. One node exports them, the first that is scraped;
when it is not scraped any more, another takes its place. So use `max`, never `sum`, over nodes. A
value that cannot be read is absent, not zero.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from flask import Blueprint, Response, current_app
from flask.sansio.blueprints import BlueprintSetupState
from prometheus_client import Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from redis import Redis, RedisError

from api.routes import Door, current_door
from backends.fs import native
from backends.volumes import Mounts
from core.cluster import EXPORTER_SECONDS, STATS_KEY, BandwidthStore, Leadership, NodeStore
from core.errors import StoreUnavailable
from core.events import task_name
from core.jobs.store import PREFIX
from core.names import moment_ns
from core.process import metrics_files
from core.quota import HiddenUsageStore, scopes_at_thresholds
from core.redis import connections, json, store_refuses
from core.settings import Settings
from core.telemetry import logger
from core.uploads import UploadStore

#: The text format that every Prometheus reads.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: How often the files are read when one of them disappears meanwhile.
TRIES = 3
#: The most waiting jobs that are read, oldest first. Queues without one of them have no age.
OLDEST_MAX = 1000
#: The reference's gauges of a volume's performance: field of our cache → end of the metric name.
_SPEED = {
    "iops_read": "iops_read",
    "iops_write": "iops_write",
    "io_bytes_read": "throughput_bytes_read",
    "io_bytes_write": "throughput_bytes_write",
    "io_usec_read": "latency_usec_read",
    "io_usec_write": "latency_usec_write",
}
_KEY = "vfolder.collectors"
_log = logger(__name__)

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
        return cast("Iterable[Metric]", MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call] # the library's


def _gauge(name: str, description: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, description, labels=labels)


class VolumeGauges(Collector):
    """Gauges of the volumes of this node, as their probing threads last saw them."""

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts

    def collect(self) -> Iterable[Metric]:
        """Return what the last probe of each volume found; this calls no storage system."""
        up = _gauge("vfolder_volume_up", "Whether the volume answers on this node.", "volume")
        took = _gauge("vfolder_volume_probe_seconds", "How long the last probe took.", "volume")
        for name, state in self._mounts.states().items():
            if state.known:
                up.add_metric([name], float(state.volume.proven))
            if state.seconds is not None:
                took.add_metric([name], state.seconds)
        description = "Whether the part in C is used (1), or slower Python in its place (0)."
        in_c = _gauge("vfolder_native_code", description)
        in_c.add_metric([], float(native.AVAILABLE))
        return [up, took, in_c]


class ClusterGauges(Collector):
    """Gauges of the whole cluster, read from the store."""

    def __init__(self, settings_now: Callable[[], Settings]) -> None:
        settings = settings_now()
        self._settings = settings_now
        self._jobs = connections.connect(settings, connections.Database.JOBS)
        self._bandwidth = BandwidthStore(self._jobs)
        node = settings.storage_proxy.node_id
        self._export = Leadership(self._jobs, node, role="exporter", seconds=EXPORTER_SECONDS)
        self._uploads = UploadStore(
            connections.connect(settings, connections.Database.UPLOADS), node
        )
        self._live = connections.connect(settings, connections.Database.LIVE)

    def collect(self) -> Iterable[Metric]:
        """Read the store; say only whether it answers when it does not, or another node exports."""
        up = _gauge("vfolder_store_up", "Whether the store of jobs answers.")
        try:
            if not self._exports():
                up.add_metric([], 1.0)
                return [up]
            gauges = [*self._of_jobs(), *self._of_uploads(), *self._of_nodes()]
            gauges += [*self._of_hidden_usage(), *self._of_quota(), *self._of_speed()]
            gauges += [*self._of_bandwidth(), *self._of_connections()]
        except (RedisError, StoreUnavailable) as error:
            _log.warning("store not read for metrics", reason=type(error).__name__)
            up.add_metric([], 0.0)
            return [up]
        up.add_metric([], 1.0)
        return [up, *gauges]

    def _exports(self) -> bool:
        """Whether this node exports; each does while the store is full and elects no node."""
        try:
            return self._export.hold()
        except RedisError as error:
            if store_refuses(error):
                return True
            raise

    def _of_jobs(self) -> Iterator[Metric]:
        redis = self._jobs
        running = _gauge("vfolder_jobs_running", "Running jobs.", "verb", "volume")
        ids = [
            *cast("list[str]", redis.zrange(f"{PREFIX}ix:state:running", 0, -1)),
            *cast("list[str]", redis.zrange(f"{PREFIX}ix:state:cancelling", 0, -1)),
        ]
        tasks = _gauge("backendai_bgtask_count", "Running background tasks.", "task_name")
        found = _fields(redis, ids, "verb", "volume")
        for labels, count in Counter(found).items():
            running.add_metric(labels, count)
        for name, count in Counter(task_name(verb) for verb, _ in found).items():
            tasks.add_metric([name], count)
        yield from (running, tasks)
        waiting = _gauge("vfolder_jobs_waiting", "Waiting jobs.")
        waiting.add_metric([], redis.zcard(f"{PREFIX}ix:state:queued"))
        yield waiting
        yield self._oldest()
        age = _gauge(
            "vfolder_lease_age_seconds",
            "Time since the last heartbeat of the most silent running job.",
        )
        heartbeats = [int(at) for (at,) in _fields(redis, ids, "updated_at")]
        age.add_metric([], max(0.0, _now(redis) - min(heartbeats) / 1000) if heartbeats else 0.0)
        yield age
        overdue = _gauge(
            "vfolder_lease_overdue_seconds", "How long the most overdue job waits for the reaper."
        )
        due = cast("list[tuple[str, float]]", redis.zrange(f"{PREFIX}due", 0, 0, withscores=True))
        late = _now(redis) - due[0][1] / 1000 if due else 0.0
        overdue.add_metric([], max(0.0, late))
        yield overdue
        unpublished = _gauge("vfolder_ends_untold", "Ended jobs whose end is not yet published.")
        unpublished.add_metric([], redis.zcard(f"{PREFIX}outbox"))
        yield unpublished

    def _oldest(self) -> Metric:
        family = _gauge(
            "vfolder_queue_oldest_seconds", "Age of the oldest waiting job.", "volume", "lane"
        )
        index = f"{PREFIX}ix:state:queued"
        ids = cast("list[str]", self._jobs.zrange(index, 0, OLDEST_MAX - 1))
        now = _now(self._jobs)
        oldest: dict[tuple[str, ...], float] = {}
        for volume, lane, created in _fields(self._jobs, ids, "volume", "lane", "created_at"):
            age = now - int(created) / 1000
            oldest[volume, lane] = max(age, oldest.get((volume, lane), 0.0))
        for labels, age in oldest.items():
            family.add_metric(labels, age)
        return family

    def _of_uploads(self) -> Iterator[Metric]:
        family = _gauge("vfolder_uploads_open", "Uploads that are not complete.")
        family.add_metric([], self._uploads.count())
        yield family

    def _of_connections(self) -> Iterator[Metric]:
        clients = cast("dict[str, int]", self._jobs.info("clients"))
        used = _gauge("vfolder_store_connections", "Connections of the store of jobs.")
        used.add_metric([], clients["connected_clients"])
        yield used
        limit = _gauge("vfolder_store_connections_max", "Connections that the store accepts.")
        if "maxclients" in clients:
            limit.add_metric([], clients["maxclients"])
        yield limit

    def _of_nodes(self) -> Iterator[Metric]:
        family = _gauge("vfolder_nodes", "Nodes seen in the last day.", "state")
        states = Counter(_state(node) for node in NodeStore(self._jobs).all())
        for state in ("alive", "draining", "silent"):
            family.add_metric([state], states[state])
        yield family

    def _of_hidden_usage(self) -> Iterator[Metric]:
        description = "Bytes of {} on the volume, as the last sweep counted them."
        families = {
            "staging": _gauge(
                "vfolder_staging_bytes", description.format("unfinished results"), "volume"
            ),
            "trash": _gauge(
                "vfolder_trash_bytes", description.format("deleted vfolders"), "volume"
            ),
        }
        for volume in self._settings().volume:
            for kind, size in HiddenUsageStore(self._jobs).last(volume).items():
                families[kind].add_metric([volume], size)
        yield from families.values()

    def _of_quota(self) -> Iterator[Metric]:
        description = (
            "Quota scopes at or above a share of their limit (percent), and below the next."
        )
        family = _gauge("vfolder_quota_scopes_above", description, "volume", "percent")
        for volume in self._settings().volume:
            for percent, count in scopes_at_thresholds(self._jobs, volume).items():
                family.add_metric([volume, str(percent)], count)
        yield family

    def _of_bandwidth(self) -> list[Metric]:
        budget = _gauge(
            "vfolder_bandwidth_bytes_per_second", "The bandwidth limit of a volume.", "volume"
        )
        description = "Running jobs and client doors' streams that share a volume's limit."
        sharers = _gauge("vfolder_bandwidth_sharers", description, "volume", "kind")
        for volume, share in self._bandwidth.shares().items():
            budget.add_metric([volume], share.bytes_per_second)
            sharers.add_metric([volume, "jobs"], share.jobs)
            sharers.add_metric([volume, "streams"], share.streams)
        return [budget, sharers]

    def _of_speed(self) -> Iterator[Metric]:
        names = [*_SPEED.values()]
        families = {
            name: _gauge(f"backendai_storage_volume_{name}", "As last observed.", "volume")
            for name in names
        }
        updated = _gauge(
            "backendai_storage_volume_metric_last_updated_timestamp",
            "When the performance was observed.",
            "volume",
        )
        for volume in self._settings().volume:
            text = cast("str | None", self._live.get(STATS_KEY + volume))
            if text is None:
                continue
            try:
                known = json.loads(text)
                rates = {name: float(known[field]) for field, name in _SPEED.items()}
                at = moment_ns(known["observed_at"]) / 1e9
            except (ValueError, TypeError, KeyError) as error:  # another service writes it, too
                _log.warning("volume speed not read", volume=volume, reason=type(error).__name__)
                continue
            for name, rate in rates.items():
                families[name].add_metric([volume], rate)
            updated.add_metric([volume], at)
        yield from families.values()
        yield updated


def _state(node: dict[str, Any]) -> str:
    if not node["alive"]:
        return "silent"
    return "draining" if node["draining"] else "alive"


def _fields(redis: Redis, ids: list[str], *names: str) -> list[tuple[str, ...]]:
    """Return fields of many jobs in one round trip; jobs deleted meanwhile are left out."""
    with redis.pipeline(transaction=False) as pipe:
        for job in ids:
            pipe.hmget(f"{PREFIX}job:{job}", list(names))
        return [tuple(values) for values in pipe.execute() if None not in values]


def _now(redis: Redis) -> float:
    seconds, micros = redis.time()
    return seconds + micros / 1e6
