"""Which user has a key or a name, and which groups a user is in: an index of users and groups.

    vfolder:access:subjects           a counter; each change of a record raises it
    vfolder:access:subjects:changed   the users and groups of the newest changes, by that counter

In database 0 of the `live` role. A process compares the counter, and reads the changed records
again. It reads all of them at its start, when it missed too many changes, every 5 minutes (a change
may have been cut off), and every 5 s while the store is away.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import redis

from core.access import SubjectRecord, records
from core.telemetry import logger

VERSION_KEY = "vfolder:access:subjects"
CHANGED_KEY = "vfolder:access:subjects:changed"
#: Changes that the store keeps by name; a process that missed more reads all records.
CHANGES_KEPT = 1000
#: While the store is away, the index is this old at most (seconds).
AWAY_SECONDS = 5.0
#: It is made again after this, whatever the counter says.
INDEX_SECONDS = 300.0
_CHANGED = """
local version = redis.call('INCR', KEYS[1])
redis.call('ZADD', KEYS[2], version, ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[2]))
return version
"""
K = TypeVar("K")
_log = logger(__name__)


class SubjectSummary(NamedTuple):
    """What the index has of one record."""

    kind: str
    name: str
    blocked: bool
    keys: tuple[str, ...]
    #: Members and admins, of a group that is kept here.
    members: frozenset[UUID]
    admins: frozenset[UUID]
    members_kept: bool
    links_allowed: bool


class IndexView(NamedTuple):
    """The index at one moment; it never changes."""

    #: None: it was made while the store was away.
    version: int | None
    #: When all records were read, and when the version was compared (monotonic clock, seconds).
    made_at: float
    summaries: dict[UUID, SubjectSummary]
    #: The user that holds each key.
    holders: dict[str, UUID]
    #: The groups of each user, and those whose admin it is, of the groups that are kept here.
    groups: dict[UUID, frozenset[UUID]]
    admin_of: dict[UUID, frozenset[UUID]]
    #: Who has a name, by `records.name_key`.
    named: dict[str, frozenset[UUID]]


class SubjectIndex:
    """The index as one process has it. Safe for threads."""

    def __init__(
        self,
        client: "redis.Redis",
        read_all: Callable[[], Iterable[SubjectRecord]],
        read: Callable[[UUID], SubjectRecord | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._changed = client.register_script(_CHANGED)
        self._read_all = read_all
        self._read = read
        self._clock = clock
        self._making = threading.Lock()
        self._view: IndexView | None = None

    def announce(self, subject: UUID) -> None:
        """Let all processes read a record again; this one does so in any case."""
        try:
            self._changed(keys=[VERSION_KEY, CHANGED_KEY], args=[subject.hex, CHANGES_KEPT])
        except redis.RedisError as error:  # each process looks again by itself
            _log.warning("change of subject not announced", reason=str(error))
            self._view = None

    def current(self) -> IndexView:
        """Return the index as of now: all changes that were announced before this call.

        Raises:
            StorageError: the records cannot be read, and no index was made before.
        """
        view, version = self._view, self._version()
        if view is not None and not self._is_old(view, version):
            return view
        # One thread makes it. The others wait for a change that was announced: a new key counts at
        # once. They do not wait where only its time has passed.
        is_behind = view is None or (version is not None and version != view.version)
        if not self._making.acquire(blocking=is_behind) and view is not None:
            return view
        try:
            view, version = self._view, self._version()
            if view is None or self._is_old(view, version):
                view = self._view = self._updated(view, version) or self._made(version)
            return view
        finally:
            self._making.release()

    def _version(self) -> int | None:
        """Return the counter of changes; None while the store is away."""
        try:
            found: Any = self._client.get(VERSION_KEY)
        except redis.RedisError:
            return None
        return int(found or 0)

    def _is_old(self, view: IndexView, version: int | None) -> bool:
        age = self._clock() - view.made_at
        if version is None:
            return age >= AWAY_SECONDS
        return version != view.version or age >= INDEX_SECONDS

    def _updated(self, view: IndexView | None, version: int | None) -> IndexView | None:
        """Return the view with the changed records; None where all must be read."""
        if view is None or view.version is None or version is None:
            return None
        is_near = 0 < version - view.version < CHANGES_KEPT
        if not is_near or self._clock() - view.made_at >= INDEX_SECONDS:
            return None
        try:
            changed: Any = self._client.zrangebyscore(CHANGED_KEY, f"({view.version}", "+inf")
        except redis.RedisError:
            return None
        summaries = dict(view.summaries)
        for subject in map(UUID, changed):
            record = self._read(subject)
            if record is None:
                summaries.pop(subject, None)
            else:
                summaries[subject] = _summary(record)
        return _view(version, view.made_at, summaries)

    def _made(self, version: int | None) -> IndexView:
        now = self._clock()
        return view_of(self._read_all(), version, now)


def view_of(
    found: Iterable[SubjectRecord], version: int | None = None, made_at: float = 0.0
) -> IndexView:
    """Return the index of these records."""
    return _view(version, made_at, {one.id: _summary(one) for one in found})


def _summary(record: SubjectRecord) -> SubjectSummary:
    kept = record.members_kept
    return SubjectSummary(
        record.kind,
        record.name,
        record.blocked,
        tuple(str(key.get("id", "")) for key in record.keys),
        frozenset((*record.members, *record.admins) if kept else ()),
        frozenset(record.admins if kept else ()),
        kept,
        record.links_allowed,
    )


def _view(version: int | None, made_at: float, summaries: dict[UUID, SubjectSummary]) -> IndexView:
    holders: dict[str, UUID] = {}
    groups: dict[UUID, set[UUID]] = defaultdict(set)
    admin_of: dict[UUID, set[UUID]] = defaultdict(set)
    named: dict[str, set[UUID]] = defaultdict(set)
    for subject, summary in summaries.items():
        holders |= dict.fromkeys(summary.keys, subject)
        if summary.name:
            named[records.name_key(summary.name)].add(subject)
        for user in summary.members:
            groups[user].add(subject)
        for user in summary.admins:
            admin_of[user].add(subject)
    kept = _frozen(groups), _frozen(admin_of), _frozen(named)
    return IndexView(version, made_at, summaries, holders, *kept)


def _frozen(sets: dict[K, set[UUID]]) -> dict[K, frozenset[UUID]]:
    return {key: frozenset(found) for key, found in sets.items()}
