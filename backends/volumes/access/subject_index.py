"""Which user has a key or a name, and which groups a user is in: an index of users and groups.

    vfolder:access:subjects           a counter; each change of a record raises it
    vfolder:access:subjects:changed   the users and groups of the newest changes, by that counter
    vfolder:access:subjects:changing  writes that have begun, by when: `<subject>:<write>`

In database 0 of the `live` role. A process compares the counter, and reads the changed records
again. It reads all of them at its start, when it missed too many changes, every 5 minutes, and
every 5 s while the store is away.

While a record is being written, each process reads it again twice a second. So a process that is
killed between its write and the announcement leaves no older membership behind. A write that does
not end in time is announced by those who see it.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar
from uuid import UUID, uuid4

import redis

from core.access import SubjectRecord, records
from core.telemetry import logger

VERSION_KEY = "vfolder:access:subjects"
CHANGED_KEY = "vfolder:access:subjects:changed"
CHANGING_KEY = "vfolder:access:subjects:changing"
#: Changes that the store keeps by name; a process that missed more reads all records.
CHANGES_KEPT = 1000
#: While the store is away, the index is this old at most (seconds).
AWAY_SECONDS = 5.0
#: It is made again after this, whatever the counter says.
INDEX_SECONDS = 300.0
#: How often a record that is being written is read again (seconds).
CHANGING_LOOK_SECONDS = 0.5
#: A write that has not ended after this (seconds) is lost with its process.
CHANGING_SECONDS = 120
#: A change that the store did not take is announced again after this (seconds).
PAUSE_SECONDS = 1.0
#: KEYS: counter, changed, changing. ARGV: subject, changes that are kept, the mark of the write.
_CHANGED = """
local version = redis.call('INCR', KEYS[1])
redis.call('ZADD', KEYS[2], version, ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[2]))
redis.call('ZREM', KEYS[3], ARGV[3])
return version
"""
#: KEYS: changing. ARGV: the mark of the write.
_BEGIN = "redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1])"
#: KEYS: counter, changing. Returns the counter, and the marks.
_LOOK = "return {redis.call('GET', KEYS[1]) or '0', redis.call('ZRANGE', KEYS[2], 0, -1)}"
#: KEYS as _CHANGED. ARGV: changes that are kept, seconds. Announces the writes that were lost.
_SETTLE = """
local oldest = redis.call('TIME')[1] - tonumber(ARGV[2])
for _, mark in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', oldest)) do
  local version = redis.call('INCR', KEYS[1])
  redis.call('ZADD', KEYS[2], version, string.match(mark, '^[^:]*'))
  redis.call('ZREM', KEYS[3], mark)
end
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[1]))
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
    #: When the records that were being written were read (monotonic clock, seconds).
    looked_at: float = 0.0


class _Seen(NamedTuple):
    """What the store says at one moment: the counter, None while it is away, and the writes."""

    version: int | None
    changing: frozenset[UUID] = frozenset()


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
        self._begin = client.register_script(_BEGIN)
        self._look = client.register_script(_LOOK)
        self._settle = client.register_script(_SETTLE)
        self._read_all = read_all
        self._read = read
        self._clock = clock
        self._making = threading.Lock()
        self._view: IndexView | None = None
        #: Changes that the store has not taken yet, and the thread that tries again.
        self._lock = threading.Lock()
        self._unannounced: dict[UUID, str] = {}
        self._announcer: threading.Thread | None = None

    # -- Changes -----------------------------------------------------------------------------------
    def begin(self, subject: UUID) -> str:
        """Let all processes read a record again that is about to be written; return the mark of it.

        `announce` or `give_up` ends that. Without the store the write goes on.
        """
        mark = f"{subject.hex}:{uuid4().hex}"
        try:
            self._begin(keys=[CHANGING_KEY], args=[mark])
        except redis.RedisError as error:
            _log.info("change of subject not begun in the store", reason=type(error).__name__)
        return mark

    def give_up(self, mark: str) -> None:
        """End a write that changed nothing."""
        try:
            self._client.zrem(CHANGING_KEY, mark)
        except redis.RedisError as error:  # it ends by itself
            _log.info("change of subject not ended in the store", reason=type(error).__name__)

    def announce(self, subject: UUID, mark: str = "") -> None:
        """Let all processes read a record again; this one does so in any case.

        While the store is away, this one announces it as soon as it can.
        """
        if self._announced(subject, mark):
            return
        _log.warning("change of subject not announced yet", subject=str(subject))
        self._view = None
        with self._lock:
            self._unannounced[subject] = mark
            if self._announcer is None:
                self._announcer = threading.Thread(target=self._announce_all, daemon=True)
                self._announcer.start()

    def _announced(self, subject: UUID, mark: str) -> bool:
        arguments: list[str | int] = [subject.hex, CHANGES_KEPT, mark]
        try:
            self._changed(keys=[VERSION_KEY, CHANGED_KEY, CHANGING_KEY], args=arguments)
        except redis.RedisError:
            return False
        return True

    def _announce_all(self) -> None:
        while True:
            time.sleep(PAUSE_SECONDS)
            for subject, mark in list(self._unannounced.items()):
                if not self._announced(subject, mark):
                    break
                with self._lock:
                    self._unannounced.pop(subject, None)
            with self._lock:
                if not self._unannounced:
                    self._announcer = None
                    return

    # -- The index ---------------------------------------------------------------------------------
    def current(self) -> IndexView:
        """Return the index as of now: all changes that were announced before this call.

        Raises:
            StorageError: the records cannot be read, and no index was made before.
        """
        view, seen = self._view, self._seen()
        if view is not None and not self._is_old(view, seen):
            return view
        # One thread makes it. The others wait for a change that was announced: a new key counts at
        # once. They do not wait where only its time has passed.
        is_behind = view is None or (seen.version is not None and seen.version != view.version)
        if not self._making.acquire(blocking=is_behind) and view is not None:
            return view
        try:
            view, seen = self._view, self._seen()
            if view is None or self._is_old(view, seen):
                view = self._view = self._updated(view, seen) or self._made(seen.version)
            return view
        finally:
            self._making.release()

    def _seen(self) -> _Seen:
        """Return what the store says; a write that was lost is announced."""
        try:
            version, marks = self._look(keys=[VERSION_KEY, CHANGING_KEY])
            if marks:
                keys = [VERSION_KEY, CHANGED_KEY, CHANGING_KEY]
                self._settle(keys=keys, args=[CHANGES_KEPT, CHANGING_SECONDS])
                version, marks = self._look(keys=[VERSION_KEY, CHANGING_KEY])
        except redis.RedisError:
            return _Seen(None)
        return _Seen(int(version), frozenset(UUID(mark.partition(":")[0]) for mark in marks))

    def _is_old(self, view: IndexView, seen: _Seen) -> bool:
        now = self._clock()
        if seen.version is None:
            return now - view.made_at >= AWAY_SECONDS
        if seen.changing and now - view.looked_at >= CHANGING_LOOK_SECONDS:
            return True
        return seen.version != view.version or now - view.made_at >= INDEX_SECONDS

    def _updated(self, view: IndexView | None, seen: _Seen) -> IndexView | None:
        """Return the view with the changed records; None where all must be read."""
        version, now = seen.version, self._clock()
        if view is None or view.version is None or version is None:
            return None
        is_near = 0 <= version - view.version < CHANGES_KEPT
        if not is_near or now - view.made_at >= INDEX_SECONDS:
            return None
        try:
            changed: Any = self._client.zrangebyscore(CHANGED_KEY, f"({view.version}", "+inf")
        except redis.RedisError:
            return None
        summaries = dict(view.summaries)
        for subject in {*map(UUID, changed), *seen.changing}:
            record = self._read(subject)
            if record is None:
                summaries.pop(subject, None)
            else:
                summaries[subject] = _summary(record)
        return _view(version, view.made_at, summaries, now)

    def _made(self, version: int | None) -> IndexView:
        now = self._clock()
        return view_of(self._read_all(), version, now)._replace(looked_at=now)


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


def _view(
    version: int | None,
    made_at: float,
    summaries: dict[UUID, SubjectSummary],
    looked_at: float = 0.0,
) -> IndexView:
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
    return IndexView(version, made_at, summaries, holders, *kept, looked_at)


def _frozen(sets: dict[K, set[UUID]]) -> dict[K, frozenset[UUID]]:
    return {key: frozenset(found) for key, found in sets.items()}
