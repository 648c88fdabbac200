"""What our own rooms of a volume hold, as the last sweep found it: figures for those who watch."""

from typing import Any, cast

import redis

from core.jobs.store import PREFIX

#: Figures that no sweep renewed for this long are not known any more (seconds).
KEEP_SECONDS = 1800


class HiddenUsageStore:
    """Bytes by room (`staging`, `trash`) and volume."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def keep(self, volume: str, found: dict[str, int | None]) -> None:
        """Keep what was found; None is unknown and not kept."""
        known: dict[Any, Any] = {room: size for room, size in found.items() if size is not None}
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(_key(volume))
            if known:
                pipe.hset(_key(volume), mapping=known)
                pipe.expire(_key(volume), KEEP_SECONDS)
            pipe.execute()

    def last(self, volume: str) -> dict[str, int]:
        """What is known."""
        found = cast("dict[str, str]", self._redis.hgetall(_key(volume)))
        return {room: int(size) for room, size in found.items()}


def _key(volume: str) -> str:
    return f"{PREFIX}rooms:{volume}"
