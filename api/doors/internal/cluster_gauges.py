"""Gauges of the cluster, read from the store at each scrape.

One node exports them, the first that is scraped; when it is not scraped any more, another takes its
place. So use `max`, never `sum`, over nodes. A value that cannot be read is absent, and one that is
known to be zero is 0.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import Any, cast

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis import Redis, RedisError

from core.cluster import (
    EXPORTER_SECONDS,
    BandwidthStore,
    Leadership,
    NodeStore,
    PerformanceStore,
)
from core.errors import StoreUnavailable
from core.events import task_name
from core.jobs import Lane
from core.jobs.requests import VERBS
from core.jobs.store import PREFIX, Queues, RunningJob, read_queues
from core.names import moment_ns
from core.quota import HiddenUsage, HiddenUsageStore, WebhookQueue, scopes_at_thresholds
from core.redis import connections, store_refuses
from core.settings import Settings
from core.telemetry import logger
from core.uploads import UploadStore

#: Bytes that a sweep counted longer ago than this are unknown (seconds).
COUNT_FRESH_SECONDS = 1800
#: The reference's gauges of a volume's performance: field of our cache → end of the metric name.
_SPEED = {
    "iops_read": "iops_read",
    "iops_write": "iops_write",
    "io_bytes_read": "throughput_bytes_read",
    "io_bytes_write": "throughput_bytes_write",
    "io_usec_read": "latency_usec_read",
    "io_usec_write": "latency_usec_write",
}
#: Gauges of the hidden directories of a volume: the end of the name, and the description.
_HIDDEN = {
    "staging_bytes": "Bytes of unfinished results on the volume, as the last sweep counted them.",
    "trash_bytes": "Bytes of deleted vfolders on the volume, as the last sweep counted them.",
    "trash_overdue_seconds": "How long the oldest deleted vfolder waits beyond its time.",
    "staging_overdue_seconds": "How long the oldest left-over waits that no sweep could remove.",
    "sweep_age_seconds": "Time since the last sweep of the volume ended.",
}
_log = logger(__name__)


def gauge(name: str, description: str, *labels: str) -> GaugeMetricFamily:
    """Return an empty family of gauges."""
    return GaugeMetricFamily(name, description, labels=labels)


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
        self._performance = PerformanceStore(settings)

    def collect(self) -> Iterable[Metric]:
        """Read the store; say only whether it answers when it does not, or another node exports."""
        up = gauge("vfolder_store_up", "Whether the store of jobs answers.")
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
        redis, queues = self._jobs, read_queues(self._jobs)
        yield from self._running(queues.running)
        waiting = gauge("vfolder_jobs_waiting", "Waiting jobs.")
        waiting.add_metric([], queues.waiting)
        yield waiting
        yield self._oldest(queues)
        age = gauge(
            "vfolder_lease_age_seconds",
            "Time since the last heartbeat of the most silent running job.",
        )
        silent = max((queues.at - one.beat_at for one in queues.running), default=0.0)
        age.add_metric([], max(0.0, silent))
        yield age
        overdue = gauge(
            "vfolder_lease_overdue_seconds", "How long the most overdue job waits for the reaper."
        )
        due = cast("list[tuple[str, float]]", redis.zrange(f"{PREFIX}due", 0, 0, withscores=True))
        late = _now(redis) - due[0][1] / 1000 if due else 0.0
        overdue.add_metric([], max(0.0, late))
        yield overdue
        unpublished = gauge("vfolder_ends_untold", "Ended jobs whose end is not yet published.")
        unpublished.add_metric([], redis.zcard(f"{PREFIX}outbox"))
        yield unpublished
        unposted = gauge("vfolder_notices_waiting", "Notices that are not yet posted.")
        unposted.add_metric([], len(WebhookQueue(redis)))
        yield unposted

    def _running(self, jobs: list[RunningJob]) -> Iterator[Metric]:
        """Count the running jobs; every verb and lane of a volume of this node has a number."""
        volumes = list(self._settings().volume)
        running = gauge("vfolder_jobs_running", "Running jobs.", "verb", "volume")
        verbs = Counter(dict.fromkeys(product(VERBS, volumes), 0))
        verbs.update((one.verb, one.volume) for one in jobs)
        for labels, count in verbs.items():
            running.add_metric(labels, count)
        yield running
        tasks = gauge("backendai_bgtask_count", "Running background tasks.", "task_name")
        names = Counter(dict.fromkeys(map(task_name, VERBS), 0))
        names.update(task_name(one.verb) for one in jobs)
        for name, count in names.items():
            tasks.add_metric([name], count)
        yield tasks
        slots = gauge("vfolder_lane_running", "Running jobs of a lane.", "volume", "lane")
        lanes = Counter(dict.fromkeys(product(volumes, Lane), 0))
        lanes.update((one.volume, Lane(one.lane)) for one in jobs)
        for labels, count in lanes.items():
            slots.add_metric(labels, count)
        yield slots

    def _oldest(self, queues: Queues) -> Metric:
        family = gauge(
            "vfolder_queue_oldest_seconds", "Age of the oldest waiting job.", "volume", "lane"
        )
        ages: dict[tuple[str, ...], float] = (
            dict.fromkeys(product(self._settings().volume, Lane), 0.0) if queues.all_read else {}
        )
        ages |= {(one.volume, one.lane): one.oldest_seconds for one in queues.lanes}
        for labels, age in ages.items():
            family.add_metric(labels, age)
        return family

    def _of_uploads(self) -> Iterator[Metric]:
        family = gauge("vfolder_uploads_open", "Uploads that are not complete.")
        family.add_metric([], self._uploads.count())
        yield family

    def _of_connections(self) -> Iterator[Metric]:
        clients = cast("dict[str, int]", self._jobs.info("clients"))
        used = gauge("vfolder_store_connections", "Connections of the store of jobs.")
        used.add_metric([], clients["connected_clients"])
        yield used
        limit = gauge("vfolder_store_connections_max", "Connections that the store accepts.")
        if "maxclients" in clients:
            limit.add_metric([], clients["maxclients"])
        yield limit

    def _of_nodes(self) -> Iterator[Metric]:
        family = gauge("vfolder_nodes", "Nodes seen in the last day.", "state")
        states = Counter(_state(node) for node in NodeStore(self._jobs).all())
        for state in ("alive", "draining", "silent"):
            family.add_metric([state], states[state])
        yield family

    def _of_hidden_usage(self) -> Iterator[Metric]:
        families = {
            name: gauge(f"vfolder_{name}", description, "volume")
            for name, description in _HIDDEN.items()
        }
        now = _now(self._jobs)
        for volume in self._settings().volume:
            usage = HiddenUsageStore(self._jobs).last(volume)
            if usage is not None:
                for name, value in _hidden_figures(usage, now).items():
                    families[name].add_metric([volume], value)
        yield from families.values()

    def _of_quota(self) -> Iterator[Metric]:
        description = (
            "Quota scopes at or above a share of their limit (percent), and below the next."
        )
        family = gauge("vfolder_quota_scopes_above", description, "volume", "percent")
        for volume in self._settings().volume:
            for percent, count in scopes_at_thresholds(self._jobs, volume).items():
                family.add_metric([volume, str(percent)], count)
        yield family

    def _of_bandwidth(self) -> list[Metric]:
        budget = gauge(
            "vfolder_bandwidth_bytes_per_second", "The bandwidth limit of a volume.", "volume"
        )
        description = "Running jobs and client doors' streams that share a volume's limit."
        sharers = gauge("vfolder_bandwidth_sharers", description, "volume", "kind")
        for volume, share in self._bandwidth.shares().items():
            budget.add_metric([volume], share.bytes_per_second)
            sharers.add_metric([volume, "jobs"], share.jobs)
            sharers.add_metric([volume, "streams"], share.streams)
        return [budget, sharers]

    def _of_speed(self) -> Iterator[Metric]:
        names = [*_SPEED.values()]
        families = {
            name: gauge(f"backendai_storage_volume_{name}", "As last observed.", "volume")
            for name in names
        }
        updated = gauge(
            "backendai_storage_volume_metric_last_updated_timestamp",
            "When the performance was observed.",
            "volume",
        )
        for volume in self._settings().volume:
            known = self._performance.last(volume)
            if known is None:
                continue
            try:
                rates = {name: float(known["metric"][field]) for field, name in _SPEED.items()}
                at = moment_ns(known["observed_at"]) / 1e9
            except (ValueError, TypeError, KeyError) as error:  # another service writes it, too
                _log.warning("volume speed not read", volume=volume, reason=type(error).__name__)
                continue
            for name, rate in rates.items():
                families[name].add_metric([volume], rate)
            updated.add_metric([volume], at)
        yield from families.values()
        yield updated


def _hidden_figures(usage: HiddenUsage, now: float) -> dict[str, float]:
    """Return the known figures of a volume's hidden directories, by the name of the gauge."""
    age = max(0.0, now - usage.swept_at)
    figures: dict[str, float | None] = {
        "sweep_age_seconds": age,
        "trash_overdue_seconds": max(0.0, now - (usage.trash_due_at or now)),
        "staging_overdue_seconds": max(0.0, now - (usage.staging_due_at or now)),
    }
    if age < COUNT_FRESH_SECONDS:
        figures |= {"staging_bytes": usage.staging_bytes, "trash_bytes": usage.trash_bytes}
    return {name: value for name, value in figures.items() if value is not None}


def _state(node: dict[str, Any]) -> str:
    if not node["alive"]:
        return "silent"
    return "draining" if node["draining"] else "alive"


def _now(redis: Redis) -> float:
    seconds, micros = redis.time()
    return seconds + micros / 1e6
