"""Notices for people, kept in Redis: what concerns a user or a group, the newest thousand of each.

    vf:notices:<subject>        stream  one entry per notice, a JSON document; 90 days
    vf:notices-read:<user>      hash    id of a notice -> when the user read it (ms); 90 days

`<subject>` is the id of a user or group as 32 hexadecimal digits, which is also the directory of
its quota scope. Whether a notice was read is known for each reader: a group has several admins. A
store that is lost takes the notices along; the state that they are about is not in them alone.
"""

import re
import time
from collections.abc import Iterable
from typing import Any, NamedTuple, cast
from uuid import UUID

import redis

from core.jobs.store import PREFIX
from core.redis import json

#: Most notices of one subject; the oldest go first, about.
NOTICES_MAX = 1000
KEEP_SECONDS = 90 * 86_400
_FACTS = "facts"
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

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client

    @staticmethod
    def is_id(text: str) -> bool:
        """Return whether a text has the form of the id of a notice."""
        return _parsed(text) is not None

    def add(self, subject: str, facts: dict[str, Any]) -> None:
        """Keep a notice for a subject."""
        key = _key(subject)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.xadd(key, {_FACTS: json.dumps(facts)}, maxlen=NOTICES_MAX, approximate=True)
            pipe.expire(key, KEEP_SECONDS)
            pipe.execute()

    def of(self, subjects: Iterable[UUID], count: int, before: str = "") -> list[Notice]:
        """Return the newest notices of subjects that are older than `before`, the newest first.

        Costs one round trip.
        """
        last = _parsed(before) if before else None
        names = sorted({subject.hex for subject in subjects})
        end = "+" if last is None else f"{last[0]}-{last[1]}"
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:  # one more: of the same moment, one may be of the page before
                pipe.xrevrange(_key(name), end, "-", count + 1)
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
        entries = cast("list[Any]", self._redis.xrange(_key(at[2]), place, place))
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


def _parsed(text: str) -> tuple[int, int, str] | None:
    found = _ID.fullmatch(text)
    return None if found is None else (int(found[2]), int(found[3]), found[1])


def _notice(subject: str, entry: tuple[str, dict[str, str]]) -> Notice:
    place, fields = entry
    at_ms, _, number = place.partition("-")
    return Notice(int(at_ms), int(number), subject, json.loads(fields[_FACTS]))


def _key(subject: str) -> str:
    return f"{PREFIX}notices:{subject}"


def _read_key(user: UUID) -> str:
    return f"{PREFIX}notices-read:{user.hex}"
