"""Kept figures: the last known usage of vfolders, and of our hidden directories.

They serve answers that must not wait for a walk of the tree.
"""

import time
from typing import Any, cast

import redis

from core.jobs.store import PREFIX
from core.names import VFolderId, moment
from core.redis import json

#: A figure expires after this long; then the usage is counted again.
USAGE_KEEP_SECONDS = 30 * 86_400
#: Figures of hidden directories expire when no sweep renews them for this long (seconds).
HIDDEN_KEEP_SECONDS = 1800


class LastUsageStore:
    """Usage documents by volume and vfolder."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def keep(self, volume: str, vfolder: VFolderId, document: dict[str, Any]) -> None:
        """Keep the result of a count, with the time of its end as `as_of`."""
        document = document | {"as_of": moment(time.time())}
        self._redis.set(_usage_key(volume, vfolder), json.dumps(document), ex=USAGE_KEEP_SECONDS)

    def last(self, volume: str, vfolder: VFolderId) -> dict[str, Any] | None:
        """Return the last count with its `as_of`; None when there is none."""
        text = cast("str | None", self._redis.get(_usage_key(volume, vfolder)))
        if text is None:
            return None
        document: dict[str, Any] = json.loads(text)
        return document

    def forget(self, volume: str, vfolder: VFolderId) -> None:
        """Drop the figure of a deleted vfolder."""
        self._redis.delete(_usage_key(volume, vfolder))


def _usage_key(volume: str, vfolder: VFolderId) -> str:
    return f"{PREFIX}usage:{volume}/{vfolder}"


class HiddenUsageStore:
    """Bytes in the hidden directories of a volume, by kind (`staging`, `trash`)."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def keep(self, volume: str, figures: dict[str, int | None]) -> None:
        """Keep the figures of a sweep; None is unknown and not kept."""
        known: dict[Any, Any] = {kind: size for kind, size in figures.items() if size is not None}
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(_hidden_key(volume))
            if known:
                pipe.hset(_hidden_key(volume), mapping=known)
                pipe.expire(_hidden_key(volume), HIDDEN_KEEP_SECONDS)
            pipe.execute()

    def last(self, volume: str) -> dict[str, int]:
        """Return the figures that have not expired."""
        figures = cast("dict[str, str]", self._redis.hgetall(_hidden_key(volume)))
        return {kind: int(size) for kind, size in figures.items()}


def _hidden_key(volume: str) -> str:
    return f"{PREFIX}rooms:{volume}"
