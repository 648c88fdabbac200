"""The observer: asks a volume for its speed and keeps the answer, rung by beat on the fast lane.

For a mounted file system the rates are those since this node's last look; of several nodes the one
that took the bell speaks. A volume that does not answer keeps one thread, and is not asked again by
the same process before it does.
"""

import threading
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

import redis

from backends.base import Backend, HasMetric, MountedBackend, PerformanceMetric
from backends.mounted import Counters, counters, measured
from backends.volumes import Volumes
from core.cluster import PerformanceStore
from core.errors import DeadlineExceeded, StorageError
from core.jobs import Lane, queue_name
from core.settings import Settings
from core.telemetry import logger, metrics

OBSERVE_TASK = "storage.observe"
_log = logger(__name__)
_asked: dict[str, Future[PerformanceMetric | None]] = {}


def schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Beat's schedule: one bell per volume; one that is late is worthless."""
    seconds = settings.storage_proxy.volume_stats.observe_interval
    return {
        f"observe {name}": {
            "task": OBSERVE_TASK,
            "schedule": seconds,
            "args": [name],
            "options": {"queue": queue_name(name, Lane.FAST), "expires": seconds},
        }
        for name in settings.volume
    }


def observe(settings: Settings, volume: str) -> str:
    """Observe a volume once; one sentence says what came of it."""
    book = PerformanceStore(settings)
    seconds = settings.storage_proxy.volume_stats.observe_timeout
    try:
        with metrics.OBSERVE_SECONDS.labels(volume).time():
            found = _patiently(volume, Volumes(settings).get(volume), book, seconds)
        if found is None:
            return f"the speed of {volume} is not known"
        book.keep(volume, asdict(found))
    except (StorageError, OSError, redis.RedisError) as error:
        metrics.OBSERVED.labels(volume, "failure").inc()
        _log.warning("volume not observed", volume=volume, reason=type(error).__name__)
        return f"{volume} could not be observed"
    metrics.OBSERVED.labels(volume, "success").inc()
    return f"observed {volume}"


def _patiently(
    volume: str, backend: Backend, book: PerformanceStore, seconds: float
) -> PerformanceMetric | None:
    if volume not in _asked:
        future: Future[PerformanceMetric | None] = Future()
        _asked[volume] = future
        threading.Thread(target=_ask, args=(future, backend, book), daemon=True).start()
    future = _asked[volume]
    try:
        return future.result(seconds)
    except TimeoutError:
        raise DeadlineExceeded(f"Volume {volume} did not answer.") from None
    finally:
        if future.done():  # with whatever came: also a backend's own TimeoutError
            del _asked[volume]


def _ask(
    future: "Future[PerformanceMetric | None]", backend: Backend, book: PerformanceStore
) -> None:
    try:
        future.set_result(_rates(backend, book))
    except Exception as error:  # noqa: BLE001 - whoever waits gets it
        future.set_exception(error)


def _rates(backend: Backend, book: PerformanceStore) -> PerformanceMetric | None:
    if backend.skill(HasMetric) or backend.skill(MountedBackend) is None:
        return measured(backend)
    now = counters(backend.mount.path)
    if now is None:
        return None
    volume = backend.mount.volume
    before = book.last_counters(volume)
    book.keep_counters(volume, now.values())
    rates = now.since(Counters.of(*before)) if before else None
    return rates or measured(backend)
