"""How often links were used: counts in the store, which keeps nothing else of them.

    vfolder:access:link:<id>                a hash: downloads, last_used_at
    vfolder:access:link:<id>:<visit>        there while a visitor's ranges of an entry count as one

In database 0 of the `live` role. Limits, ends and secrets are in the records. When the store loses
the counts, they begin again.
"""

import hashlib
import time
from typing import NamedTuple, cast

import redis

from core.errors import AccessUnavailable
from core.telemetry import logger

_PREFIX = "vfolder:access:link:"
#: Ranges and resumptions of one visitor and entry count as one download for so long (seconds).
ONE_DOWNLOAD_SECONDS = 3600
#: The counts of a link are kept so long after its last use (seconds): two years.
KEPT_SECONDS = 2 * 365 * 86_400
_log = logger(__name__)

#: KEYS: the hash, the visit. ARGV: the most downloads or '', now, seconds of a visit, of the hash.
_COUNT = """
if redis.call('EXISTS', KEYS[2]) == 0 then
  local had = tonumber(redis.call('HGET', KEYS[1], 'downloads') or '0')
  if ARGV[1] ~= '' and had >= tonumber(ARGV[1]) then return 0 end
  redis.call('HINCRBY', KEYS[1], 'downloads', 1)
  redis.call('SET', KEYS[2], '1', 'EX', ARGV[3])
end
redis.call('HSET', KEYS[1], 'last_used_at', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""


class LinkUse(NamedTuple):
    """How much a link was used; `last_used_at` is seconds of the epoch."""

    downloads: int = 0
    last_used_at: float | None = None


class LinkCounts:
    """The counts of links, for one process. Safe for threads."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._count = client.register_script(_COUNT)

    def downloaded(self, link_id: str, visitor: str, entry: str, most: int | None) -> bool:
        """Count a download once per visitor, entry and hour; False where the link is used up.

        Raises:
            AccessUnavailable: the store is away, and the link has a limit.
        """
        what = f"{visitor}\0{entry}".encode("utf-8", "surrogateescape")
        visit = f"{_PREFIX}{link_id}:{hashlib.sha256(what).hexdigest()}"
        arguments: list[str | int | float] = [
            "" if most is None else most,
            time.time(),
            ONE_DOWNLOAD_SECONDS,
            KEPT_SECONDS,
        ]
        try:
            return bool(self._count(keys=[_PREFIX + link_id, visit], args=arguments))
        except redis.RedisError as error:
            if most is not None:
                raise AccessUnavailable("The store that counts visits does not answer.") from error
            _log.info("use of link not counted", reason=type(error).__name__)
            return True

    def is_used_up(self, link_id: str, most: int | None) -> bool:
        """Return whether no further visitor may download; one that began goes on."""
        return most is not None and self.use_of([link_id])[0].downloads >= most

    def use_of(self, link_ids: list[str]) -> list[LinkUse]:
        """Return how much links were used; nothing is known while the store is away."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for link_id in link_ids:
                    pipe.hgetall(_PREFIX + link_id)
                found = cast("list[dict[str, str]]", pipe.execute())
        except redis.RedisError as error:
            _log.info("use of links not read", reason=type(error).__name__)
            return [LinkUse() for _ in link_ids]
        return [
            LinkUse(
                int(one.get("downloads", 0)),
                float(one["last_used_at"]) if "last_used_at" in one else None,
            )
            for one in found
        ]
