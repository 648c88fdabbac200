"""A short cache of vfolder metadata, so that repeated reads do not go to the storage.

    vfolder:<32 hex>:metadata:<volume>   the manager's metadata; expires after a minute
    vfolder:<32 hex>:version             raised by every change; an older read is not kept

It is in database 0 of the `live` role. Nothing depends on it: when it is empty or the server does
not answer, the storage is read. A change while the server is away is seen after a minute at most.
"""

from collections.abc import Callable
from typing import Any, cast

import redis

from core.names import VFolderId
from core.redis import Database, connect
from core.settings import Settings
from core.telemetry import logger

#: A value is kept this long.
KEEP_SECONDS = 60
#: A read of the storage ends sooner than this, so its version is still there when it ends.
VERSION_SECONDS = 3600
#: Larger payloads are not kept.
PAYLOAD_MAX_BYTES = 64 * 1024
#: The first byte of a value: a payload follows, or there is no payload.
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
        """Return the metadata of a vfolder from the cache, else from `load`.

        Raises:
            StorageError: `load` raised it; nothing is kept then.
        """
        keys = _keys(volume, vfolder)
        try:
            kept, version = cast("list[bytes | None]", self._redis.mget(keys))
        except redis.RedisError as error:
            _log.info("cache not read", reason=type(error).__name__)
            return load()
        if kept is not None:
            return kept[1:] if kept.startswith(_PRESENT) else None
        payload = load()
        if payload is None or len(payload) <= PAYLOAD_MAX_BYTES:
            value = _ABSENT if payload is None else _PRESENT + payload
            self._quietly(self._keep, keys, [version or b"", value, KEEP_SECONDS])
        return payload

    def forget(self, volume: str, vfolder: VFolderId) -> None:
        """Drop the value. Call it after the vfolder was deleted or its metadata was written."""
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
