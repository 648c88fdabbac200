"""What is read when Prometheus asks: the cluster's jobs from the store, this node's volumes.

What comes from the store is the same at every node: use `max`, never `sum`, over nodes. What
cannot be read is left out: absent, not zero.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis import Redis, RedisError

from backends.fs import native
from backends.volumes import Mounts
from core.cluster import STATS_KEY, BandwidthStore, NodeStore
from core.jobs.store import PREFIX
from core.names import moment_ns
from core.quota import HiddenUsageStore, scopes_at_thresholds
from core.redis import connections, json
from core.settings import Settings
from core.telemetry import logger

#: The oldest waiting jobs looked at; the age of a queue behind all of them is not known.
OLDEST_MAX = 1000
#: The reference's gauges of a volume's speed: our cache's field → the metric's ending.
_SPEED = {
    "iops_read": "iops_read",
    "iops_write": "iops_write",
    "io_bytes_read": "throughput_bytes_read",
    "io_bytes_write": "throughput_bytes_write",
    "io_usec_read": "latency_usec_read",
    "io_usec_write": "latency_usec_write",
}
_log = logger(__name__)


def _gauge(name: str, says: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, says, labels=labels)


class VolumeGauges(Collector):
    """The volumes of this node, as their own threads last saw them."""

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts

    def collect(self) -> Iterable[Metric]:
        """What is known now."""
        up = _gauge("vfolder_volume_up", "Whether the volume answers on this node.", "volume")
        took = _gauge("vfolder_volume_probe_seconds", "How long its last proof took.", "volume")
        for name, look in self._mounts.states().items():
            if look.known:
                up.add_metric([name], float(look.volume.proven))
            if look.seconds is not None:
                took.add_metric([name], look.seconds)
        says = "Whether the part in C is used (1), or slower Python in its place (0)."
        in_c = _gauge("vfolder_native_code", says)
        in_c.add_metric([], float(native.AVAILABLE))
        return [up, took, in_c]


class ClusterGauges(Collector):
    """What the store knows of the whole cluster."""

    def __init__(self, settings_now: Callable[[], Settings]) -> None:
        settings = settings_now()
        self._settings = settings_now
        self._jobs = connections.connect(settings, connections.Database.JOBS)
        self._bandwidth = BandwidthStore(self._jobs)
        self._uploads = connections.connect(settings, connections.Database.UPLOADS)
        self._live = connections.connect(settings, connections.Database.LIVE)

    def collect(self) -> Iterable[Metric]:
        """Read the store; when it is away, only that is said."""
        up = _gauge("vfolder_store_up", "Whether the store of jobs answers.")
        try:
            found = [*self._of_jobs(), *self._of_uploads(), *self._of_nodes()]
            found += [*self._of_rooms(), *self._of_quota(), *self._of_speed()]
            found += self._of_bandwidth()
        except RedisError as error:
            _log.warning("store not read for metrics", reason=type(error).__name__)
            up.add_metric([], 0.0)
            return [up]
        up.add_metric([], 1.0)
        return [up, *found]

    def _of_jobs(self) -> Iterator[Metric]:
        redis = self._jobs
        running = _gauge("vfolder_jobs_running", "Jobs that run.", "verb", "volume")
        ids = [
            *cast("list[str]", redis.zrange(f"{PREFIX}ix:state:running", 0, -1)),
            *cast("list[str]", redis.zrange(f"{PREFIX}ix:state:cancelling", 0, -1)),
        ]
        for labels, count in Counter(_fields(redis, ids, "verb", "volume")).items():
            running.add_metric(labels, count)
        yield running
        waiting = _gauge("vfolder_jobs_waiting", "Jobs that wait.")
        waiting.add_metric([], redis.zcard(f"{PREFIX}ix:state:queued"))
        yield waiting
        yield self._oldest()
        age = _gauge("vfolder_lease_age_seconds", "Since the most silent run was heard.")
        told = [int(at) for (at,) in _fields(redis, ids, "updated_at")]
        age.add_metric([], max(0.0, _now(redis) - min(told) / 1000) if told else 0.0)
        yield age
        overdue = _gauge("vfolder_lease_overdue_seconds", "How late the reaper is.")
        due = cast("list[tuple[str, float]]", redis.zrange(f"{PREFIX}due", 0, 0, withscores=True))
        late = _now(redis) - due[0][1] / 1000 if due else 0.0
        overdue.add_metric([], max(0.0, late))
        yield overdue
        untold = _gauge("vfolder_ends_untold", "Ended jobs the manager was not told of yet.")
        untold.add_metric([], redis.zcard(f"{PREFIX}outbox"))
        yield untold

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
        keys = self._uploads.scan_iter(match="tus.upload.offset:*", count=1000)
        family.add_metric([], sum(1 for _ in keys))
        yield family

    def _of_nodes(self) -> Iterator[Metric]:
        family = _gauge("vfolder_nodes", "Nodes seen in the last day.", "state")
        states = Counter(_state(node) for node in NodeStore(self._jobs).all())
        for state in ("alive", "draining", "silent"):
            family.add_metric([state], states[state])
        yield family

    def _of_rooms(self) -> Iterator[Metric]:
        says = "Bytes of {} on the volume, as the last sweep found it."
        families = {
            "staging": _gauge("vfolder_staging_bytes", says.format("unfinished results"), "volume"),
            "trash": _gauge("vfolder_trash_bytes", says.format("deleted vfolders"), "volume"),
        }
        for volume in self._settings().volume:
            for room, size in HiddenUsageStore(self._jobs).last(volume).items():
                families[room].add_metric([volume], size)
        yield from families.values()

    def _of_quota(self) -> Iterator[Metric]:
        says = "Quota scopes at or above a share of their limit (percent), and below the next."
        family = _gauge("vfolder_quota_scopes_above", says, "volume", "percent")
        for volume in self._settings().volume:
            for percent, count in scopes_at_thresholds(self._jobs, volume).items():
                family.add_metric([volume, str(percent)], count)
        yield family

    def _of_bandwidth(self) -> list[Metric]:
        budget = _gauge("vfolder_bandwidth_bytes_per_second", "A volume's budget.", "volume")
        says = "Running jobs and streams of the client doors that share a volume's budget."
        sharers = _gauge("vfolder_bandwidth_sharers", says, "volume", "kind")
        for volume, share in self._bandwidth.shares().items():
            budget.add_metric([volume], share.bytes_per_second)
            sharers.add_metric([volume, "jobs"], share.jobs)
            sharers.add_metric([volume, "streams"], share.streams)
        return [budget, sharers]

    def _of_speed(self) -> Iterator[Metric]:
        names = [*_SPEED.values()]
        families = {
            name: _gauge(f"backendai_storage_volume_{name}", "Speed as last observed.", "volume")
            for name in names
        }
        updated = _gauge(
            "backendai_storage_volume_metric_last_updated_timestamp",
            "When the speed was observed.",
            "volume",
        )
        for volume in self._settings().volume:
            text = cast("str | None", self._live.get(STATS_KEY + volume))
            if text is None:
                continue
            known = json.loads(text)
            for field, name in _SPEED.items():
                families[name].add_metric([volume], known[field])
            at = moment_ns(known["observed_at"]) / 1e9
            updated.add_metric([volume], at)
        yield from families.values()
        yield updated


def _state(node: dict[str, Any]) -> str:
    if not node["alive"]:
        return "silent"
    return "draining" if node["draining"] else "alive"


def _fields(redis: Redis, ids: list[str], *names: str) -> list[tuple[str, ...]]:
    """Fields of many jobs in one round trip; jobs forgotten meanwhile are left out."""
    with redis.pipeline(transaction=False) as pipe:
        for job in ids:
            pipe.hmget(f"{PREFIX}job:{job}", list(names))
        return [tuple(found) for found in pipe.execute() if None not in found]


def _now(redis: Redis) -> float:
    seconds, micros = redis.time()
    return seconds + micros / 1e6
