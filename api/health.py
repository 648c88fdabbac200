"""How this node is, looked at in the background: a probe never waits for what it asks about."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from redis import Redis, RedisError

from api.versions import VERSION
from core.telemetry import logger

COMPONENT = "storage-proxy"
#: Between two looks.
PERIOD_SECONDS = 5.0
_log = logger(__name__)


class Health:
    """What was last seen; its thread starts with the first question, after the fork."""

    def __init__(self, store: Callable[[], Redis]) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._started = False
        self._checks: dict[str, dict[str, Any]] = {}

    def report(self, unhealthy: str) -> dict[str, Any]:
        """The health document; `unhealthy` is its word when something is wrong.

        Nothing is known to be wrong before the first look is done.
        """
        self._start()
        checks = list(self._checks.values())
        healthy = all(check["is_healthy"] for check in checks)
        return {
            "status": "ok" if healthy else unhealthy,
            "version": VERSION,
            "component": COMPONENT,
            "connectivity": {
                "overall_healthy": healthy,
                "connectivity_checks": checks,
                "timestamp": _now(),
            },
        }

    def _start(self) -> None:
        with self._lock:
            if not self._started:
                self._started = True
                threading.Thread(target=self._watch, name="health", daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._checks = {"redis/jobs": self._look_at_store()}
            time.sleep(PERIOD_SECONDS)

    def _look_at_store(self) -> dict[str, Any]:
        problem = None
        try:
            self._store().ping()
        except RedisError as error:
            problem = "The store of jobs does not answer."
            _log.warning("store not healthy", reason=type(error).__name__)
        return {
            "service_group": "redis",
            "component_id": "jobs",
            "is_healthy": problem is None,
            "last_checked_at": _now(),
            "error_message": problem,
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
