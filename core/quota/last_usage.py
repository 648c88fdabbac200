"""The last known usage of a vfolder, with its moment: for answers that must not wait for a walk."""

import time
from typing import Any, cast

import redis

from core.jobs import moment
from core.jobs.store import PREFIX
from core.names import VFolderId
from core.redis import json

#: A figure older than this is not worth telling; it is counted anew.
KEEP_SECONDS = 30 * 86_400


class LastUsageStore:
    """Usage documents by volume and vfolder."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def keep(self, volume: str, vfolder: VFolderId, document: dict[str, Any]) -> None:
        """Store what a count found, with the moment it ended."""
        document = document | {"as_of": moment(int(time.time() * 1000))}
        self._redis.set(_key(volume, vfolder), json.dumps(document), ex=KEEP_SECONDS)

    def last(self, volume: str, vfolder: VFolderId) -> dict[str, Any] | None:
        """The last count with its `as_of`, or None when there is none."""
        text = cast("str | None", self._redis.get(_key(volume, vfolder)))
        if text is None:
            return None
        document: dict[str, Any] = json.loads(text)
        return document

    def forget(self, volume: str, vfolder: VFolderId) -> None:
        """The vfolder is gone."""
        self._redis.delete(_key(volume, vfolder))


def _key(volume: str, vfolder: VFolderId) -> str:
    return f"{PREFIX}usage:{volume}/{vfolder}"
