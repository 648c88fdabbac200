"""Observe the performance of a volume and store it. Beat rings for it on the fast lane.

The rates of a mounted file system are those since this node observed it last. Of several nodes, the
one that takes the doorbell observes. A volume that does not answer keeps one thread of a process,
which observes it no more until it answers.
"""

import threading
from concurrent.futures import Future
from dataclasses import asdict

import redis

from backends.base import Backend, HasMetric, HasObjectFiles, MountedBackend, PerformanceMetric
from backends.mounted import Counters, counters, measured
from backends.volumes import Volumes
from core.cluster import PerformanceStore
from core.errors import DeadlineExceeded, StorageError
from core.settings import Settings
from core.telemetry import logger, metrics

_log = logger(__name__)
_pending: dict[str, Future[PerformanceMetric | None]] = {}


def observe(settings: Settings, volume: str) -> str:
    """Observe a volume once; return one sentence that says how it went."""
    results = PerformanceStore(settings)
    seconds = settings.storage_proxy.volume_stats.observe_timeout
    try:
        with metrics.OBSERVE_SECONDS.labels(volume).time():
            metric = _observed_in_time(volume, Volumes(settings).get(volume), results, seconds)
        if metric is None:
            return f"the speed of {volume} is not known"
        results.keep(volume, asdict(metric))
    except (StorageError, OSError, redis.RedisError) as error:
        metrics.OBSERVED.labels(volume, "failure").inc()
        _log.warning("volume not observed", volume=volume, reason=type(error).__name__)
        return f"{volume} could not be observed"
    metrics.OBSERVED.labels(volume, "success").inc()
    return f"observed {volume}"


def _observed_in_time(
    volume: str, backend: Backend, results: PerformanceStore, seconds: float
) -> PerformanceMetric | None:
    if volume not in _pending:
        future: Future[PerformanceMetric | None] = Future()
        _pending[volume] = future
        threading.Thread(target=_observe_into, args=(future, backend, results), daemon=True).start()
    future = _pending[volume]
    try:
        return future.result(seconds)
    except TimeoutError:
        raise DeadlineExceeded(f"Volume {volume} did not answer.") from None
    finally:
        if future.done():  # with any result: also a backend's own TimeoutError
            del _pending[volume]


def _observe_into(
    future: "Future[PerformanceMetric | None]", backend: Backend, results: PerformanceStore
) -> None:
    try:
        future.set_result(_rates(backend, results))
    except Exception as error:  # noqa: BLE001 - the waiting thread gets it
        future.set_exception(error)


def _rates(backend: Backend, results: PerformanceStore) -> PerformanceMetric | None:
    own = backend.skill(HasMetric) or backend.skill(HasObjectFiles)
    if own or backend.skill(MountedBackend) is None:
        return measured(backend)
    now = counters(backend.mount.path)
    if now is None:
        return None
    volume = backend.mount.volume
    before = results.last_counters(volume)
    results.keep_counters(volume, now.values())
    rates = now.since(Counters.of(*before)) if before else None
    return rates or measured(backend)
