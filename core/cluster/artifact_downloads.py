"""The progress of a model's download, in the form that the manager reads.

    artifact:download:<model>:<revision>               hash: totals, and what is done
    artifact:download:<model>:<revision>:file:<hex>    JSON of one file

`/` is `:` in both names. The hex are the first 16 digits of the SHA-256 of the file's path.

They are in database 0 of the `live` role and expire after a day. Nothing depends on them: while the
server is away, they are not written.
"""

import time
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import redis

from core.redis import Database, connect, json
from core.settings import Settings
from core.telemetry import logger

KEEP_SECONDS = 86_400
#: Files written per round trip.
BATCH = 500
_DIGITS = 16
_log = logger(__name__)


class ArtifactDownload:
    """The record of one model's download."""

    def __init__(self, settings: Settings, model_id: str, revision: str) -> None:
        self._redis = connect(settings, Database.LIVE)
        self._key = f"artifact:download:{model_id}:{revision}".replace("/", ":")
        self._about = {"model_id": model_id, "revision": revision}

    def begin(self, files: Iterable[tuple[str, int]]) -> None:
        """Write the totals and every file, nothing of it done."""
        listed = list(files)
        now = str(time.time())
        totals: dict[Any, Any] = self._about | {
            "start_time": now,
            "last_updated": now,
            "total_files": str(len(listed)),
            "total_bytes": str(sum(size for _, size in listed)),
            "completed_files": "0",
            "downloaded_bytes": "0",
        }
        try:
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(self._key)
                pipe.hset(self._key, mapping=totals)
                pipe.expire(self._key, KEEP_SECONDS)
                pipe.execute()
            for start in range(0, len(listed), BATCH):
                with self._redis.pipeline(transaction=False) as pipe:
                    for path, size in listed[start : start + BATCH]:
                        facts = json.dumps(_facts(path, size, 0))
                        pipe.set(self._key_of(path), facts, ex=KEEP_SECONDS)
                    pipe.execute()
        except redis.RedisError as error:
            _log.info("download not recorded", reason=type(error).__name__)

    def progress(self, path: str, size: int, done: int, *, added: int) -> None:
        """Record how much of a file is there, and how many bytes came since the last call."""
        self._update(path, _facts(path, size, done), {"downloaded_bytes": added})

    def complete(self, path: str, size: int, *, added: int) -> None:
        """Record that a file is complete; also an empty one counts."""
        sums = {"downloaded_bytes": added, "completed_files": 1}
        self._update(path, _facts(path, size, size) | {"success": True}, sums)

    def failed(self, path: str, size: int, done: int, reason: str) -> None:
        """Record that a file failed."""
        self._update(path, _facts(path, size, done) | {"error_message": reason}, {})

    def _update(self, path: str, facts: dict[str, Any], sums: dict[str, int]) -> None:
        try:
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(self._key_of(path), json.dumps(facts), ex=KEEP_SECONDS)
                for name, added in sums.items():
                    pipe.hincrby(self._key, name, added)
                pipe.hset(self._key, "last_updated", str(time.time()))
                pipe.expire(self._key, KEEP_SECONDS)
                pipe.execute()
        except redis.RedisError as error:
            _log.info("download not recorded", reason=type(error).__name__)

    def _key_of(self, path: str) -> str:
        digest = sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
        return f"{self._key}:file:{digest}"


def _facts(path: str, size: int, done: int) -> dict[str, Any]:
    return {
        "file_path": path,
        "success": False,
        "current_bytes": done,
        "total_bytes": size,
        "last_updated": time.time(),
        "error_message": None,
    }
