"""Kept figures: the last known usage of vfolders, and of our hidden directories.

They serve answers that must not wait for a walk of the tree.
"""

import time
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import redis
from msgspec import Struct

from core.jobs.store import PREFIX
from core.names import VFolderId, moment
from core.redis import json

#: A figure expires after this long; then the usage is counted again.
USAGE_KEEP_SECONDS = 30 * 86_400
#: What a sweep found is kept for this long when no other sweep ends.
HIDDEN_KEEP_SECONDS = 7 * 86_400


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
        return self.last_of([(volume, vfolder)])[0]

    def last_of(self, places: Sequence[tuple[str, VFolderId]]) -> list[dict[str, Any] | None]:
        """Return the last counts of vfolders on their volumes, as `last`, by one call."""
        if not places:
            return []
        found = self._redis.mget([_usage_key(volume, vfolder) for volume, vfolder in places])
        texts = cast("list[str | None]", found)
        return [None if text is None else json.loads(text) for text in texts]

    def forget(self, volume: str, vfolder: VFolderId) -> None:
        """Drop the figure of a deleted vfolder."""
        self._redis.delete(_usage_key(volume, vfolder))


def _usage_key(volume: str, vfolder: VFolderId) -> str:
    return f"{PREFIX}usage:{volume}/{vfolder}"


class HiddenUsage(Struct, frozen=True, kw_only=True):
    """What a sweep found in the hidden directories of a volume; None is unknown.

    A `_due_at` is when the oldest of what is left should have been gone, and None where nothing is
    late (seconds since the epoch).
    """

    staging_bytes: int | None
    trash_bytes: int | None
    trash_due_at: float | None
    staging_due_at: float | None
    #: When the sweep ended.
    swept_at: float


class HiddenUsageStore:
    """What the last sweep of each volume found."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def keep(self, volume: str, usage: HiddenUsage) -> None:
        """Keep what a sweep found, in place of what the one before found."""
        document = json.dumps(msgspec.structs.asdict(usage))
        self._redis.set(_hidden_key(volume), document, ex=HIDDEN_KEEP_SECONDS)

    def last(self, volume: str) -> HiddenUsage | None:
        """Return what the last sweep found; None when there was none for a week."""
        text = cast("str | None", self._redis.get(_hidden_key(volume)))
        return None if text is None else msgspec.convert(json.loads(text), HiddenUsage)


def _hidden_key(volume: str) -> str:
    return f"{PREFIX}swept:{volume}"
