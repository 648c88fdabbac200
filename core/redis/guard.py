"""A server that does not answer is left alone for a moment by all threads of the process.

A call to a server whose packets vanish takes its time-outs, several of them with the checks and the
retries of redis-py, and a request may make many calls. So after `FAILURES` time-outs in a row, with
no answer between them, each call fails at once. After `PAUSE_SECONDS` one thread tries again; the
others fail at once until it has an answer. In this sense a server that refuses connections answers.
"""

import threading
import time
from typing import Any

import redis
from redis.sentinel import MasterNotFoundError

#: So many time-outs in a row are no accident of one connection.
FAILURES = 2
#: How long the server is left alone, and how long one thread may try it (seconds).
PAUSE_SECONDS, TRIAL_SECONDS = 1.0, 10.0
#: A failed connection that took this part of its time-out is one without an answer.
_SLOW = 0.9


class StoreGuard:
    """What a process knows of a server. Safe for threads."""

    def __init__(self, connect_timeout: float) -> None:
        """Take a failed connection for unanswered by its time-out (seconds)."""
        self.slow_seconds = connect_timeout * _SLOW
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_until = 0.0
        self._trying: int | None = None

    def check(self) -> None:
        """Let a call go on.

        Raises:
            redis.ConnectionError: the server did not answer a moment ago.
        """
        if self._failures < FAILURES:
            return
        with self._lock:
            if self._failures < FAILURES or self._trying == threading.get_ident():
                return
            now = time.monotonic()
            if now < self._closed_until:
                raise redis.ConnectionError("The server did not answer a moment ago.")
            self._trying = threading.get_ident()
            self._closed_until = now + TRIAL_SECONDS

    def answered(self) -> None:
        """Note an answer, of whatever kind."""
        if self._failures:
            with self._lock:
                self._failures, self._trying, self._closed_until = 0, None, 0.0

    def silent(self) -> None:
        """Note that no answer came in time."""
        with self._lock:
            self._failures += 1
            self._trying = None
            self._closed_until = time.monotonic() + PAUSE_SECONDS


class _Guarded:
    """What a connection of redis-py does beside its own work: it asks and tells its guard."""

    guard: StoreGuard

    def connect(self) -> Any:  # noqa: ANN401 - as redis-py
        self.guard.check()
        try:
            return super().connect()  # type: ignore[misc] # the class that it is mixed into
        except MasterNotFoundError:  # no Sentinel answered, or none has a master
            self.guard.silent()
            raise

    def _connect(self) -> Any:  # noqa: ANN401 - as redis-py
        self.guard.check()
        began = time.monotonic()
        try:
            return super()._connect()  # type: ignore[misc] # as above
        except OSError:
            if time.monotonic() - began >= self.guard.slow_seconds:
                self.guard.silent()
            else:
                self.guard.answered()
            raise

    def read_response(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - as redis-py
        try:
            response = super().read_response(*given, **named)  # type: ignore[misc] # as above
        except redis.TimeoutError:
            if "timeout" not in named:  # else the caller waits for what may come
                self.guard.silent()
            raise
        except redis.RedisError:
            self.guard.answered()
            raise
        self.guard.answered()
        return response


def guarded(connection_class: type[Any], guard: StoreGuard) -> type[Any]:
    """Return a class of connections of redis-py with a guard."""
    return type(connection_class.__name__, (_Guarded, connection_class), {"guard": guard})
