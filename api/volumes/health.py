"""The health of this node, checked in the background: a probe never waits for a service.

Each service has a thread of its own, so a service that hangs keeps only its own thread. An answer
that does not come in time counts as none, and the report names the service.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from redis import RedisError

from backends.fs import native
from backends.volumes import Mounts
from core.errors import StorageError
from core.names import moment
from core.process.version import VERSION
from core.redis import store_refuses
from core.telemetry import logger

COMPONENT = "storage-proxy"
#: Between two checks of a service.
PERIOD_SECONDS = 5.0
#: A service that has not answered for this long is unhealthy, whatever it answers later.
ANSWER_SECONDS = 5.0
_log = logger(__name__)

#: Calls a service; raises when the service does not answer.
Ping = Callable[[], object]
#: The group and the name of a service, as the report has them.
ServiceName = tuple[str, str]


class HealthMonitor:
    """The last result of each check; its threads start with the first report, after the fork."""

    def __init__(self, services: Mapping[ServiceName, Ping], mounts: Mounts) -> None:
        self._services = [_Service(name, ping) for name, ping in services.items()]
        self._mounts = mounts
        self._lock = threading.Lock()
        self._started = False
        self._stopped = threading.Event()

    def report(self, unhealthy: str) -> dict[str, Any]:
        """Return the health document; `unhealthy` is its `status` when a check failed.

        Every part is in it, always. A part that was not looked at yet counts as unhealthy.
        """
        self.start()
        checks = [service.check() for service in self._services]
        checks += [*self._volumes(), *_native_code()]
        healthy = all(check["is_healthy"] for check in checks)
        return {
            "status": "ok" if healthy else unhealthy,
            "version": VERSION,
            "component": COMPONENT,
            "connectivity": {
                "overall_healthy": healthy,
                "connectivity_checks": checks,
                "timestamp": moment(time.time()),
            },
        }

    def start(self) -> None:
        """Start the checks in the background; a second call does nothing."""
        with self._lock:
            if self._started:
                return
            self._started = True
            self._mounts.start(wait=False)
            for service in self._services:
                service.start(self._stopped)

    def stop(self) -> None:
        """Check no service again: each thread ends after its present call, which may hang."""
        self._stopped.set()

    def _volumes(self) -> list[dict[str, Any]]:
        return [
            _check(("volume", name), proof.at, proof.volume.reason)
            for name, proof in self._mounts.states().items()
        ]


class _Service:
    """One service, checked again and again."""

    def __init__(self, name: ServiceName, ping: Ping) -> None:
        self._name = name
        self._ping = ping
        self._ping_began: float | None = None
        self._checked_at: float | None = None
        self._problem: str | None = None

    def start(self, stopped: threading.Event) -> None:
        name = " ".join(self._name)
        watch = threading.Thread(
            target=self._watch, args=(stopped,), name=f"health {name}", daemon=True
        )
        watch.start()

    def check(self) -> dict[str, Any]:
        """Return the last result; before the first one, that there is none."""
        began = self._ping_began
        if began is not None and time.monotonic() - began > ANSWER_SECONDS:
            return _check(self._name, self._checked_at, "It does not answer.")
        if self._checked_at is None:
            return _check(self._name, None, "It was not looked at yet.")
        return _check(self._name, self._checked_at, self._problem)

    def _watch(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            self._ping_began = time.monotonic()
            self._problem = self._find_problem()
            self._checked_at = time.time()
            self._ping_began = None
            stopped.wait(PERIOD_SECONDS)

    def _find_problem(self) -> str | None:
        try:
            self._ping()
        except (RedisError, OSError, StorageError) as error:
            if self._problem is None:
                reason = type(error).__name__
                _log.warning("service unhealthy", part="/".join(self._name), reason=reason)
            return "It refuses writes." if store_refuses(error) else "It cannot be reached."
        return None


def _native_code() -> list[dict[str, Any]]:
    """Return a check that names a missing part in C; a node without it is still healthy."""
    if native.AVAILABLE:
        return []
    return [_check(("process", "native-code"), None, None) | {"error_message": native.MISSING}]


def _check(name: ServiceName, checked_at: float | None, problem: str | None) -> dict[str, Any]:
    return {
        "service_group": name[0],
        "component_id": name[1],
        "is_healthy": problem is None,
        "last_checked_at": moment(checked_at or time.time()),
        "error_message": problem,
    }
