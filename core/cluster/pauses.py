"""Why the jobs of a volume are paused: what the operator wrote, for people who wait.

vf:paused:notes    hash  volume -> JSON: reason, who paused it, when

The set of paused volumes is the job store's (`core.jobs.store`). A note without a pause means
nothing.
"""

from typing import cast

import redis
from msgspec import Struct, convert, to_builtins

from core.jobs.store import PREFIX
from core.redis import json

_KEY = PREFIX + "paused:notes"


class PauseNote(Struct, frozen=True, kw_only=True):
    """Why a volume is paused."""

    reason: str
    #: The subject: `operator:<uuid>`.
    by: str
    #: Seconds of the epoch.
    at: float


class PauseNotes:
    """The notes in Redis. Every method raises `redis.RedisError` when it does not answer."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def set(self, volume: str, note: PauseNote | None) -> None:
        """Set the note of a volume; None removes it."""
        if note is None:
            self._redis.hdel(_KEY, volume)
        else:
            self._redis.hset(_KEY, volume, json.dumps(to_builtins(note)))

    def all(self) -> dict[str, PauseNote]:
        """Return the note of each volume that has one."""
        found = cast("dict[str, str]", self._redis.hgetall(_KEY))
        return {volume: convert(json.loads(text), PauseNote) for volume, text in found.items()}

    def of(self, volume: str) -> PauseNote | None:
        """Return the note of a volume; None where there is none."""
        text = cast("str | None", self._redis.hget(_KEY, volume))
        return None if text is None else convert(json.loads(text), PauseNote)
