"""The speed of volumes: from the kernel's counters, by beat into the cache, and at the door."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from redis import Redis

from backends.base import Mount, PerformanceMetric
from backends.mounted import Counters, PosixBackend, counters
from backends.mounted.performance import _of_device, _of_nfs
from core.cluster import PerformanceStore
from core.errors import DeadlineExceeded
from core.settings import CONFIG_VARIABLE, Settings
from tests.core.telemetry.test_counting import scrape
from tests.support import preloaded
from tests.support.doors import running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey
from tests.support.worker import running_worker
from workers.node import performance as observe

RATES = set(PerformanceMetric.__dataclass_fields__)
MEMORY = Path("/dev/shm")  # noqa: S108 - a file system of memory, nothing is written
#: One mount of a client, cut to what is read (as nfsiostat(8) reads it).
MOUNTSTATS = """device proc mounted on /proc with fstype proc
device server:/export mounted on /mnt/other with fstype nfs4 statvers=1.1
\tbytes:\t1 2 3 4 5 6 7 8
device server:/export mounted on /mnt/data with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.2
\tbytes:\t10 20 30 40 5000 6000 70 80
\tper-op statistics
\t        READ: 11 11 0 2200 5000 3 44 50 0
\t       WRITE: 22 22 0 6000 3300 4 88 99 0
\t      COMMIT: 1 1 0 1 1 1 1 1 0
"""


def test_counters_become_rates() -> None:
    before = Counters.of(10.0, 100, 200, 1000, 2000, 3000, 4000)
    now = Counters.of(14.0, 108, 200, 9000, 2000, 3400, 4000)
    assert now.since(before) == PerformanceMetric(2, 0, 2000, 0, 50.0, 0.0)
    assert before.since(now) is None, "the counters were reset"
    assert before.since(before) is None


def test_paragraphs_of_nfs_and_lines_of_devices() -> None:
    found = _of_nfs(MOUNTSTATS, "/mnt/data")
    assert found is not None
    assert found.values()[1:] == (11, 22, 5000, 6000, 50_000, 99_000)
    assert _of_nfs(MOUNTSTATS, "/mnt/other") is None, "no operation was counted"
    assert _of_nfs(MOUNTSTATS, "/mnt") is None
    line = "   8       1 sda1 5 0 10 7 6 0 12 8 0 1 2 0 0 0 0\n"
    device = _of_device(line, "8:1")
    assert device is not None
    assert device.values()[1:] == (5, 6, 5120, 6144, 7000, 8000)
    assert _of_device(line, "8:2") is None


def needs_counters(path: Path) -> None:
    """A file system of which the kernel counts: a part like others, so an error with CI=true."""
    if counters(path) is None:
        what = "the kernel counts nothing of the file system of temporary files"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)


def test_memory_counts_nothing() -> None:
    assert counters(MEMORY) is None


@contextmanager
def running_beat(settings: Settings) -> Iterator[None]:
    with (settings.directory / "beat.log").open("wb") as log:
        process = preloaded.start(
            "worker",
            ["workers.serve", "beat"],
            output=log,
            environment=os.environ | {CONFIG_VARIABLE: settings.origin},
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(120)


def test_beat_fills_the_cache_and_the_door_reads_it(
    tmp_path: Path, valkey: Valkey, redis_client: Redis
) -> None:
    needs_counters(tmp_path)
    more = "[storage-proxy.volume-stats]\nobserve-interval = 1.0\ncache-ttl = 300.0"
    settings = settings_in(
        tmp_path, valkey.url, f'{more}\n[volume.memory]\nbackend="vfs"\npath="{MEMORY}"'
    )
    with (
        running_worker(settings),
        running_beat(settings),
        running_door("manager", settings) as manager,
        running_door("internal", settings) as internal,
    ):
        key = "storage:volume_stats:local"
        first = orjson.loads(wait_for(lambda: redis_client.get(key), 120))
        assert set(first) == RATES | {"volume_name", "observed_at"}
        wait_for(lambda: orjson.loads(redis_client.get(key) or b"") != first, 60)
        answered = manager.call("GET", "/volume/performance-metric", {"volume": "local"}).json()
        assert set(answered["metric"]) == RATES
        unknown = manager.call("GET", "/volume/performance-metric", {"volume": "memory"})
        assert unknown.json()["error_code"] == "vfolder_request_not-implemented"
        samples = {
            (name, frozenset(labels.items())): value for name, labels, value in scrape(internal.url)
        }
        labels = frozenset({("volume", "local"), ("status", "success")})
        assert samples["backendai_storage_volume_stats_observe_total", labels] >= 1
        labels = frozenset({("volume", "local")})
        assert ("backendai_storage_volume_iops_read", labels) in samples


#: Each rate in the cache and the gauge that reports it, as the reference names both.
GAUGES = {
    "iops_read": "iops_read",
    "iops_write": "iops_write",
    "io_bytes_read": "throughput_bytes_read",
    "io_bytes_write": "throughput_bytes_write",
    "io_usec_read": "latency_usec_read",
    "io_usec_write": "latency_usec_write",
}


def test_each_gauge_reports_its_own_rate(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    rates = {field: float(number) for number, field in enumerate(GAUGES, 1)}
    assert set(rates) == RATES
    PerformanceStore(settings).keep("local", rates)
    with running_door("internal", settings) as internal:
        found = {
            name: value
            for name, labels, value in scrape(internal.url)
            if labels == {"volume": "local"}
        }
    expected = {f"backendai_storage_volume_{GAUGES[field]}": rates[field] for field in GAUGES}
    assert {name: found.get(name) for name in expected} == expected


def test_a_cold_cache_is_no_hindrance(tmp_path: Path, valkey: Valkey, redis_client: Redis) -> None:
    needs_counters(tmp_path)
    settings = settings_in(tmp_path, valkey.url)
    with running_door("manager", settings) as manager:
        ask = ("GET", "/volume/performance-metric", {"volume": "local"})
        first = manager.call(*ask).json()
        assert manager.call(*ask).json() == first, "kept for others"
        assert 0 < redis_client.pttl("storage:volume_stats:local") <= 30_000


class Refused(PosixBackend):
    """A backend whose own question timed out."""

    def performance(self) -> PerformanceMetric:
        raise TimeoutError


def test_a_backend_that_timed_out_is_asked_again(tmp_path: Path) -> None:
    backend = Refused(Mount("refused", tmp_path))
    book = PerformanceStore(settings_in(tmp_path))
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            observe._observed_in_time("refused", backend, book, 5)
        assert "refused" not in observe._pending
