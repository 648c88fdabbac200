"""How this node is, looked at in the background: a probe never waits for what it asks about.

Every part has a thread of its own, so that one that hangs keeps only its own thread; an answer that
does not come in time counts as none, and the report names the part.
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
from core.telemetry import logger

COMPONENT = "storage-proxy"
#: Between two looks at a service.
PERIOD_SECONDS = 5.0
#: A service that did not answer for this long is not well, whatever it says later.
ANSWER_SECONDS = 5.0
_log = logger(__name__)

#: Asks a service for a sign of life; raises when it gives none.
Ask = Callable[[], object]
#: The group and the name of a part, as the report has them.
Part = tuple[str, str]


class HealthMonitor:
    """What was last seen; its threads start with the first question, after the fork."""

    def __init__(self, services: Mapping[Part, Ask], mounts: Mounts) -> None:
        self._services = [_Service(part, ask) for part, ask in services.items()]
        self._mounts = mounts
        self._lock = threading.Lock()
        self._started = False

    def report(self, unhealthy: str) -> dict[str, Any]:
        """The health document; `unhealthy` is its word when something is wrong.

        Nothing is known to be wrong before the first look is done.
        """
        self.start()
        checks = [check for service in self._services if (check := service.check())]
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
        """Begin to look, in the background; again is nothing."""
        with self._lock:
            if self._started:
                return
            self._started = True
            self._mounts.start(wait=False)
            for service in self._services:
                service.start()

    def _volumes(self) -> list[dict[str, Any]]:
        return [
            _check(("volume", name), look.at, look.volume.reason)
            for name, look in self._mounts.looks().items()
            if look.known
        ]


class _Service:
    """One service, asked again and again."""

    def __init__(self, part: Part, ask: Ask) -> None:
        self._part = part
        self._ask = ask
        self._asked_at: float | None = None
        self._looked_at: float | None = None
        self._problem: str | None = None

    def start(self) -> None:
        name = " ".join(self._part)
        threading.Thread(target=self._watch, name=f"health {name}", daemon=True).start()

    def check(self) -> dict[str, Any] | None:
        """What is known of it; None before anything is."""
        asked = self._asked_at
        if asked is not None and time.monotonic() - asked > ANSWER_SECONDS:
            return _check(self._part, self._looked_at, "It does not answer.")
        if self._looked_at is None:
            return None
        return _check(self._part, self._looked_at, self._problem)

    def _watch(self) -> None:
        while True:
            self._asked_at = time.monotonic()
            self._problem = self._look()
            self._looked_at = time.time()
            self._asked_at = None
            time.sleep(PERIOD_SECONDS)

    def _look(self) -> str | None:
        try:
            self._ask()
        except (RedisError, OSError, StorageError) as error:
            if self._problem is None:
                kind = type(error).__name__
                _log.warning("service found not well", part="/".join(self._part), reason=kind)
            return "It cannot be reached."
        return None


def _native_code() -> list[dict[str, Any]]:
    """The check that names a missing part in C; the node works without it, so it is healthy."""
    if native.AVAILABLE:
        return []
    return [_check(("process", "native-code"), None, None) | {"error_message": native.MISSING}]


def _check(part: Part, looked_at: float | None, problem: str | None) -> dict[str, Any]:
    return {
        "service_group": part[0],
        "component_id": part[1],
        "is_healthy": problem is None,
        "last_checked_at": moment(looked_at or time.time()),
        "error_message": problem,
    }
