"""The last known usage of a vfolder, with its moment: for answers that must not wait for a walk."""

import time
from typing import Any, cast

import redis

from core.jobs.store import PREFIX
from core.names import VFolderId, moment
from core.redis import json

#: A figure older than this is not worth telling; it is counted anew.
USAGE_KEEP_SECONDS = 30 * 86_400
#: Figures that no sweep renewed for this long are not known any more (seconds).
HIDDEN_KEEP_SECONDS = 1800


class LastUsageStore:
    """Usage documents by volume and vfolder."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def keep(self, volume: str, vfolder: VFolderId, document: dict[str, Any]) -> None:
        """Store what a count found, with the moment it ended."""
        document = document | {"as_of": moment(time.time())}
        self._redis.set(_usage_key(volume, vfolder), json.dumps(document), ex=USAGE_KEEP_SECONDS)

    def last(self, volume: str, vfolder: VFolderId) -> dict[str, Any] | None:
        """The last count with its `as_of`, or None when there is none."""
        text = cast("str | None", self._redis.get(_usage_key(volume, vfolder)))
        if text is None:
            return None
        document: dict[str, Any] = json.loads(text)
        return document

    def forget(self, volume: str, vfolder: VFolderId) -> None:
        """The vfolder is gone."""
        self._redis.delete(_usage_key(volume, vfolder))


def _usage_key(volume: str, vfolder: VFolderId) -> str:
    return f"{PREFIX}usage:{volume}/{vfolder}"


class HiddenUsageStore:
    """Bytes by room (`staging`, `trash`) and volume."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def keep(self, volume: str, found: dict[str, int | None]) -> None:
        """Keep what was found; None is unknown and not kept."""
        known: dict[Any, Any] = {room: size for room, size in found.items() if size is not None}
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(_hidden_key(volume))
            if known:
                pipe.hset(_hidden_key(volume), mapping=known)
                pipe.expire(_hidden_key(volume), HIDDEN_KEEP_SECONDS)
            pipe.execute()

    def last(self, volume: str) -> dict[str, int]:
        """What is known."""
        found = cast("dict[str, str]", self._redis.hgetall(_hidden_key(volume)))
        return {room: int(size) for room, size in found.items()}


def _hidden_key(volume: str) -> str:
    return f"{PREFIX}rooms:{volume}"
