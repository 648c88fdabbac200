"""What is kept of vfolders for a moment, so that asking again does not go to the storage.

    vfolder:<32 hex>:metadata:<volume>   what the manager stored about it; gone after a minute
    vfolder:<32 hex>:version             raised by every change; a read from before is not kept

In database 0 of the `live` role. Nothing depends on it: cold, emptied or away, the storage is
asked. A change made while the server is away is seen a minute later at most.
"""

from collections.abc import Callable
from typing import Any, cast

import redis

from core.names import VFolderId
from core.redis import Database, connect
from core.settings import Settings
from core.telemetry import logger

#: How long a value is kept.
KEEP_SECONDS = 60
#: A read takes less than this, so its version is still known when it ends.
VERSION_SECONDS = 3600
#: Larger payloads are not kept.
PAYLOAD_MAX_BYTES = 64 * 1024
#: Before a payload that is there; alone it says that none is.
_PRESENT, _ABSENT = b"+", b"-"
_log = logger(__name__)

_KEEP = """
if (redis.call('GET', KEYS[2]) or '') == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
"""
_FORGET = """
redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1])
"""


class VFolderCache:
    """The cache as one process sees it; made after the fork."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings, Database.LIVE, text=False)
        self._keep = self._redis.register_script(_KEEP)
        self._forget = self._redis.register_script(_FORGET)

    def metadata(
        self, volume: str, vfolder: VFolderId, load: Callable[[], bytes | None]
    ) -> bytes | None:
        """What was stored about a vfolder: as kept, else as `load` reads it.

        Raises:
            StorageError: what `load` raises; that is not kept.
        """
        keys = _keys(volume, vfolder)
        try:
            kept, version = cast("list[bytes | None]", self._redis.mget(keys))
        except redis.RedisError as error:
            _log.info("cache not read", reason=type(error).__name__)
            return load()
        if kept is not None:
            return kept[1:] if kept.startswith(_PRESENT) else None
        found = load()
        if found is None or len(found) <= PAYLOAD_MAX_BYTES:
            value = _ABSENT if found is None else _PRESENT + found
            self._quietly(self._keep, keys, [version or b"", value, KEEP_SECONDS])
        return found

    def forget(self, volume: str, vfolder: VFolderId) -> None:
        """The vfolder is gone, or its metadata was written: call it when that is so."""
        self._quietly(self._forget, _keys(volume, vfolder), [VERSION_SECONDS])

    @staticmethod
    def _quietly(script: Any, keys: list[str], arguments: list[Any]) -> None:  # noqa: ANN401 - redis-py's script
        try:
            script(keys=keys, args=arguments)
        except redis.RedisError as error:
            _log.info("cache not written", reason=type(error).__name__)


def _keys(volume: str, vfolder: VFolderId) -> list[str]:
    top = f"vfolder:{vfolder.id.hex}"
    return [f"{top}:metadata:{volume}", f"{top}:version"]
