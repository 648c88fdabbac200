"""Notices for people, kept in Redis: what concerns a user or a group, the newest thousand of each.

    vf:notices:<subject>        stream  one entry per notice, a JSON document; 90 days
    vf:notices-read:<user>      hash    id of a notice -> when the user read it (ms); 90 days

`<subject>` is the id of a user or group as 32 hexadecimal digits, which is also the directory of
its quota scope. Whether a notice was read is known for each reader: a group has several admins. A
store that is lost takes the notices along; the state that they are about is not in them alone.

With `[vfolder.notices] url` a notice also waits to be posted (`core.quota.webhook_queue`).
"""

import re
import time
from collections.abc import Iterable
from typing import Any, NamedTuple, cast
from uuid import UUID

import redis

from core.jobs.store import PREFIX
from core.quota.webhook_queue import PUSH, push_keys
from core.redis import json
from core.telemetry import logger, metrics

#: Most notices of one subject; the oldest go first, about.
NOTICES_MAX = 1000
KEEP_SECONDS = 90 * 86_400
_FACTS = "facts"
_log = logger(__name__)
#: Lua: `keep(base, subject, facts, posted)` with the keys of `keep_keys` after `base`. `posted` is
#: '1' where notices are posted, too; false: the queue of posts is full.
KEEP = (
    PUSH
    + f"""
local function keep(base, subject, facts, posted)
  local most, key = {NOTICES_MAX}, KEYS[base + 1]
  local place = redis.call('XADD', key, 'MAXLEN', '~', most, '*', 'facts', facts)
  redis.call('EXPIRE', KEYS[base + 1], {KEEP_SECONDS})
  return posted ~= '1' or push(base + 1, subject, subject .. '-' .. place, facts)
end
"""
)
_ADD = KEEP + "return keep(0, ARGV[1], ARGV[2], ARGV[3]) and 1 or 0"
_ID = re.compile(r"([0-9a-f]{32})-(0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,15})")


class Notice(NamedTuple):
    """A notice: its id, its moment (ms of the epoch), and what it says."""

    at_ms: int
    number: int
    subject: str
    facts: dict[str, Any]

    @property
    def id(self) -> str:
        """Return the text that names it."""
        return f"{self.subject}-{self.at_ms}-{self.number}"


class NoticeStore:
    """The notices of the cluster. Safe for threads; methods raise `redis.RedisError`."""

    def __init__(self, client: "redis.Redis", *, posted: bool = False) -> None:
        """Take the store, and whether notices are posted, too."""
        self._redis = client
        self._posted = "1" if posted else ""
        self._add = client.register_script(_ADD)

    @staticmethod
    def is_id(text: str) -> bool:
        """Return whether a text has the form of the id of a notice."""
        return _parsed(text) is not None

    def add(self, subject: str, facts: dict[str, Any]) -> None:
        """Keep a notice for a subject."""
        text = json.dumps(facts)
        if not self._add(keys=keep_keys(subject), args=[subject, text, self._posted]):
            report_full(subject)

    def of(self, subjects: Iterable[UUID], count: int, before: str = "") -> list[Notice]:
        """Return the newest notices of subjects that are older than `before`, the newest first.

        Costs one round trip.
        """
        last = _parsed(before) if before else None
        names = sorted({subject.hex for subject in subjects})
        end = "+" if last is None else f"{last[0]}-{last[1]}"
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:  # one more: of the same moment, one may be of the page before
                pipe.xrevrange(newest_key(name), end, "-", count + 1)
            answers = cast("list[list[tuple[str, dict[str, str]]]]", pipe.execute())
        oldest = (time.time() - KEEP_SECONDS) * 1000
        found = [
            _notice(name, entry)
            for name, entries in zip(names, answers, strict=True)
            for entry in entries
        ]
        found = [one for one in found if one.at_ms >= oldest and (last is None or one[:3] < last)]
        return sorted(found, key=lambda one: one[:3], reverse=True)[:count]

    def named(self, notice_id: str, subjects: Iterable[UUID]) -> Notice | None:
        """Return a notice of one of the subjects; None when there is none."""
        at = _parsed(notice_id)
        if at is None or at[2] not in {subject.hex for subject in subjects}:
            return None
        place = f"{at[0]}-{at[1]}"
        entries = cast("list[Any]", self._redis.xrange(newest_key(at[2]), place, place))
        return _notice(at[2], entries[0]) if entries else None

    def read_by(self, user: UUID) -> frozenset[str]:
        """Return the ids of the notices that a user has read."""
        return frozenset(cast("list[str]", self._redis.hkeys(_read_key(user))))

    def mark_read(self, user: UUID, notice: Notice) -> None:
        """Remember that a user has read a notice; the marks of notices that are gone go, too."""
        key, now = _read_key(user), round(time.time() * 1000)
        marks = cast("dict[str, str]", self._redis.hgetall(key))
        ended = [name for name, at in marks.items() if now - int(at) > KEEP_SECONDS * 1000]
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, notice.id, str(now))
            pipe.expire(key, KEEP_SECONDS)
            if ended:
                pipe.hdel(key, *ended)
            pipe.execute()


def keep_keys(subject: str) -> list[str]:
    """Return the keys that `KEEP` needs."""
    return [newest_key(subject), *push_keys(subject)]


def report_full(subject: str) -> None:
    """Report that a notice is not posted: too many wait. Its readers have it all the same."""
    _log.error("notice not posted: too many wait", subject=subject)
    metrics.NOTICES_DROPPED.labels("full").inc()


def at_ms_of(notice_id: str) -> int:
    """Return the moment of a notice (ms of the epoch), of its id."""
    return int(notice_id.split("-")[1])


def _parsed(text: str) -> tuple[int, int, str] | None:
    found = _ID.fullmatch(text)
    return None if found is None else (int(found[2]), int(found[3]), found[1])


def _notice(subject: str, entry: tuple[str, dict[str, str]]) -> Notice:
    place, fields = entry
    at_ms, _, number = place.partition("-")
    return Notice(int(at_ms), int(number), subject, json.loads(fields[_FACTS]))


def newest_key(subject: str) -> str:
    """Return the key of the notices of a subject."""
    return f"{PREFIX}notices:{subject}"


def _read_key(user: UUID) -> str:
    return f"{PREFIX}notices-read:{user.hex}"
