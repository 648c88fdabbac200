"""Which file system is which volume: the id of each volume, as the cluster knows it.

The first node that proves a new volume writes its id here. From then on every node serves the
volume only where it finds that id (`backends.volumes.identity`).
"""

from typing import cast

import redis

from core.jobs.store import PREFIX

_IDS = PREFIX + "volume-ids"


class VolumeIdStore:
    """The ids of all volumes in Redis."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    def all(self) -> dict[str, str]:
        """Return the id of every volume that has one, by the volume's name."""
        return cast("dict[str, str]", self._redis.hgetall(_IDS))

    def remember(self, volume: str, found: str) -> str:
        """Write the id of a volume that has none yet; return the id that the volume has now."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hsetnx(_IDS, volume, found)
            pipe.hget(_IDS, volume)
            return str(pipe.execute()[1])

    def replace(self, volume: str, found: str) -> None:
        """Write the id of a volume in place of the one before."""
        self._redis.hset(_IDS, volume, found)
