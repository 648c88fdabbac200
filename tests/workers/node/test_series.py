"""The last hour as numbers: rates from totals, a bounded ring, and what is unknown."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from core.cluster import NodeStore, SeriesPoint, SeriesStore, Throughput
from core.cluster.series import SERIES_POINTS
from tests.support.doors import settings_in
from tests.support.valkey import Valkey
from workers.node.series import SeriesSampler, streamed_bytes

COUNT = """
import os, sys
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
from core.telemetry import metrics
metrics.STREAMED_BYTES.labels("in").inc(5)
metrics.STREAMED_BYTES.labels("out").inc(7)
metrics.JOBS.labels("clone", "failed").inc()
"""


def node(name: str, received: int | None, sent: int | None = 0, **more: Any) -> dict[str, Any]:
    return {"id": name, "alive": True, "received_bytes": received, "sent_bytes": sent, **more}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ([node("a", 0)], [node("a", 50, 100)], (10.0, 20.0)),
        ([node("a", 0), node("b", 10)], [node("a", 5), node("b", 15)], (2.0, 0.0)),
        ([], [], (None, None)),
        ([node("a", 0)], [node("a", 5), node("b", 5)], (None, None)),  # one has just joined
        ([node("a", 9)], [node("a", 5)], (None, None)),  # its doors were started again
        ([node("a", 0)], [node("a", None)], (None, None)),  # an earlier version
        ([node("a", 0), node("b", 0)], [node("a", 5), node("b", 9, alive=False)], (1.0, 0.0)),
    ],
)
def test_rates_are_known_or_null(
    before: list[dict[str, Any]],
    now: list[dict[str, Any]],
    expected: tuple[float | None, float | None],
) -> None:
    throughput = Throughput()
    assert throughput.rates(100.0, before) == (None, None)
    assert throughput.rates(105.0, now) == expected


def test_the_ring_is_bounded_and_the_oldest_comes_first(redis_client: Redis) -> None:
    series = SeriesStore(redis_client)
    for at in range(SERIES_POINTS + 3):
        series.add(SeriesPoint(at=float(at), volumes={"v": (1.5, 2.0)}))
    found = series.last()
    assert [found[0].at, found[-1].at] == [3, SERIES_POINTS + 2]
    assert series.last(1)[0].volumes == {"v": (1.5, 2.0)}


def test_the_leader_adds_a_point_when_one_is_due(
    redis_client: Redis, valkey: Valkey, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, valkey.url, marked=False)
    sampler = SeriesSampler(settings, redis_client, NodeStore(redis_client))
    assert sampler.sample()
    assert not sampler.sample()
    (point,) = SeriesStore(redis_client).last()
    assert (point.received, point.running, point.waiting) == (None, 0, 0)


def test_the_bytes_of_all_doors_of_a_node_are_added_up(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, marked=False)
    assert streamed_bytes(settings) == (0, 0)
    for door in ("client", "manager"):
        directory = settings.state_dir / "metrics" / door
        directory.mkdir(parents=True)
        subprocess.run([sys.executable, "-c", COUNT, str(directory)], check=True)
    assert streamed_bytes(settings) == (10, 14)
