"""How often links were used, and what visitors sent: kept in the store alone.

    vfolder:access:link:<id>                a hash: downloads, sent_bytes, last_used_at
    vfolder:access:link:<id>:<visit>        there while a visitor's ranges of an entry count as one
    vfolder:access:link:<id>:sent:<visit>   a list: what one visitor sent, as JSON; an hour
    vfolder:access:drop:<place>             there while a name is taken; a day

In database 0 of the `live` role. Limits, ends and secrets are in the records. When the store loses
the counts, they begin again.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import redis

from core.errors import AccessUnavailable
from core.redis import json
from core.telemetry import logger

_PREFIX = "vfolder:access:link:"
_DROPS = "vfolder:access:drop:"
#: A name is taken for so long (seconds): an upload without a write is forgotten then.
DAY_SECONDS = 86_400
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


#: KEYS: the hash. ARGV: bytes, the most or '', now, seconds.
_ANNOUNCE = """
local had = tonumber(redis.call('HGET', KEYS[1], 'sent_bytes') or '0')
if ARGV[2] ~= '' and had + tonumber(ARGV[1]) > tonumber(ARGV[2]) then return 0 end
redis.call('HINCRBY', KEYS[1], 'sent_bytes', ARGV[1])
redis.call('HSET', KEYS[1], 'last_used_at', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""
#: A visitor sees what it sent for so long after its last file (seconds), and so many files.
VISIT_SECONDS = 3600
SENT_SHOWN = 1000


class LinkUse(NamedTuple):
    """How much a link was used; `last_used_at` is seconds of the epoch."""

    downloads: int = 0
    sent_bytes: int = 0
    last_used_at: float | None = None


class LinkCounts:
    """The counts of links, for one process. Safe for threads."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._count = client.register_script(_COUNT)
        self._announce = client.register_script(_ANNOUNCE)

    def downloaded(self, link_id: str, visitor: str, entry: str, most: int | None) -> bool:
        """Count a download once per visitor, entry and hour; False where the link is used up.

        Raises:
            AccessUnavailable: the store is away, and the link has a limit.
        """
        visit = f"{_PREFIX}{link_id}:{_digest(f'{visitor}{chr(0)}{entry}')}"
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

    def announced(self, link_id: str, size_bytes: int, most: int | None) -> bool:
        """Count bytes that a visitor is about to send; False where they pass the link's limit.

        Raises:
            AccessUnavailable: the store is away.
        """
        limit = "" if most is None else most
        arguments: list[str | int | float] = [size_bytes, limit, time.time(), KEPT_SECONDS]
        return bool(self._needed(lambda: self._announce(keys=[_PREFIX + link_id], args=arguments)))

    def take_name(self, place: str) -> bool:
        """Take the name of a file that a visitor is about to send; False where another one has it.

        Raises:
            AccessUnavailable: the store is away.
        """
        key = f"{_DROPS}{_digest(place)}"
        taken = self._needed(lambda: self._client.set(key, "1", nx=True, ex=DAY_SECONDS))
        return bool(taken)

    def note_sent(self, link_id: str, visitor: str, name: str, size_bytes: int) -> None:
        """Keep what a visitor has sent, for its own list; not while the store is away."""
        key = f"{_PREFIX}{link_id}:sent:{_digest(visitor)}"
        try:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.rpush(key, json.dumps([name, size_bytes]))
                pipe.ltrim(key, -SENT_SHOWN, -1)
                pipe.expire(key, VISIT_SECONDS)
                pipe.execute()
        except redis.RedisError as error:
            _log.info("sent file not noted", reason=type(error).__name__)

    def sent_by(self, link_id: str, visitor: str) -> list[tuple[str, int]]:
        """Return name and bytes of each file that a visitor has sent, the oldest first.

        Raises:
            AccessUnavailable: the store is away.
        """
        key = f"{_PREFIX}{link_id}:sent:{_digest(visitor)}"
        found = cast("list[str]", self._needed(lambda: self._client.lrange(key, 0, -1)))
        return [(str(name), int(size)) for name, size in map(json.loads, found)]

    def _needed(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - what Redis answers
        try:
            return call()
        except redis.RedisError as error:
            raise AccessUnavailable("The store that counts visits does not answer.") from error

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
                int(one.get("sent_bytes", 0)),
                float(one["last_used_at"]) if "last_used_at" in one else None,
            )
            for one in found
        ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
