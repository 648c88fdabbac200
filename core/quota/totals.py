"""Limits of a user or group over all volumes, as every process needs them.

    vf:quota-totals          hash  id of a user or group (32 digits) -> limit in bytes
    vf:quota-total-volumes   set   the volumes whose ledgers are summed

The record of the user or group is the truth: this is written after it, and a rescan of the home
volume writes it again. A process reads both keys once in five seconds.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import cast

import redis

from core.jobs.store import PREFIX
from core.telemetry import logger

#: A change is seen by every process after so long (seconds).
CHECK_SECONDS = 5.0
TOTALS, _VOLUMES = f"{PREFIX}quota-totals", f"{PREFIX}quota-total-volumes"
_log = logger(__name__)


class TotalLimits:
    """The total limits of the cluster, as one process knows them. Safe for threads."""

    def __init__(self, client: "redis.Redis", clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = client
        self._clock = clock
        self._read_at: float | None = None
        self._limits: dict[str, int] = {}
        self._volumes: frozenset[str] = frozenset()

    def limit(self, subject: str) -> int | None:
        """Return the total limit of a user or group in bytes; None when there is none."""
        self._refresh()
        return self._limits.get(subject)

    def volumes(self) -> frozenset[str]:
        """Return the volumes whose ledgers are summed."""
        self._refresh()
        return self._volumes

    def set(self, limits: Mapping[str, int | None], volumes: Iterable[str]) -> None:
        """Publish total limits by user or group, None for none; and that these volumes count.

        Raises:
            redis.RedisError: the store is away.
        """
        with self._redis.pipeline(transaction=True) as pipe:
            for subject, limit_bytes in limits.items():
                if limit_bytes is None:
                    pipe.hdel(TOTALS, subject)
                else:
                    pipe.hset(TOTALS, subject, limit_bytes)
            pipe.sadd(_VOLUMES, *volumes)
            pipe.execute()
        self.forget()

    def include(self, volume: str) -> None:
        """Let a volume count that is newer than the limits; a failure of the store is logged."""
        if volume in self.volumes():
            return
        try:
            self._redis.sadd(_VOLUMES, volume)
        except redis.RedisError as error:
            _log.info("volume not included in totals", reason=type(error).__name__)
        self._volumes |= {volume}

    def forget(self) -> None:
        """Read the limits again at the next call."""
        self._read_at = None

    def _refresh(self) -> None:
        now = self._clock()
        if self._read_at is not None and now - self._read_at < CHECK_SECONDS:
            return
        self._read_at = now
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(TOTALS)
                pipe.smembers(_VOLUMES)
                limits, volumes = cast("tuple[dict[str, str], set[str]]", pipe.execute())
        except redis.RedisError as error:  # what is known counts on
            _log.info("total limits not read", reason=type(error).__name__)
            return
        self._limits = {subject: int(limit) for subject, limit in limits.items()}
        self._volumes = frozenset(volumes)
