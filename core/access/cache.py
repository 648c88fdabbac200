"""The cache of records, memberships and answers: near in the process, then in the store.

    vfolder:<hex>:record:<volume>   the record as its file has it; an hour
    user:<hex>:record               the record of a user; 5 minutes
    group:<hex>:members             the record of a group; 5 minutes
    vfolder:<hex>:version, user:<hex>:version, group:<hex>:version
                                    counters that each change raises; two hours
    vfolder:<hex>:record:<volume>:changing
                                    a record is being written; two minutes, unless it is done before
    vf:access:version               the counter that stands for all values; no end
    vf:access                       channel: JSON of each change, for those who follow

It is in database 0 of the `live` role. Nothing depends on it: cold or away, the files are read.

While the store is up, a value that was not compared with its counters for `CHECK_SECONDS` is not
used. So a change is seen by every process within a second, whether its message came or not. While
the store is away, a value is used for `AWAY_SECONDS` after its last comparison.

While a record is being written, it is read from its file and not kept. So a process that is killed
between its write and its message leaves no older text behind.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar, cast
from uuid import UUID

import redis

from core.redis import Database, connect, json
from core.settings import Settings
from core.telemetry import logger

T = TypeVar("T")
#: A value near in the process is compared with its counters this often (seconds).
CHECK_SECONDS = 0.9
#: How long it is used without the store, and how long the process then leaves the store alone.
AWAY_SECONDS = 5.0
PAUSE_SECONDS = 1.0
#: When the store answers again it may have values from before changes that were not published yet.
#: For so long (seconds) values are read from their files, and what the store has is not used.
SETTLE_SECONDS = 5.0
#: How long values and counters are kept in the store.
RECORD_SECONDS = 3600
MEMBERS_SECONDS = 300
#: Counters outlive the values that were kept with them.
VERSION_SECONDS = 7200
#: A value near that was not compared for this long is forgotten: its counter may begin again.
NEAR_SECONDS = 600.0
#: Most values near in one process.
NEAR_MAX = 20_000
#: More changes that wait for the store are published as one that stands for all values.
UNPUBLISHED_MAX = 1000
#: Names of values that a process has at hand.
KEYS_KNOWN = 20_000
#: Longer values are read from their file.
VALUE_MAX_BYTES = 256 * 1024
#: A write that has not ended after this (seconds) is lost with its process.
CHANGING_SECONDS = 120
#: The channel of changes, and the counter that stands for all values.
CHANNEL = "vf:access"
EVERYTHING = "vf:access:version"
#: After the counters of a value in the store: there is a text, or there is none.
_PRESENT, _ABSENT = b"+", b"-"
_log = logger(__name__)

#: Keeps a value only when no change came since its counter was read, and none is under way.
_KEEP = """
local same = (redis.call('GET', KEYS[2]) or '') == ARGV[1]
if same and redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
  redis.call('EXPIRE', KEYS[2], ARGV[4])
end
"""
#: Raises the counters, the first ARGV[1] keys; drops the values, all others. Seconds, if any, end
#: the counters.
_CHANGE = """
for at = 1, #KEYS do
  if at > tonumber(ARGV[1]) then
    redis.call('DEL', KEYS[at])
  else
    redis.call('INCR', KEYS[at])
    if ARGV[2] ~= '' then redis.call('EXPIRE', KEYS[at], ARGV[2]) end
  end
end
redis.call('PUBLISH', ARGV[3], ARGV[4])
"""
#: Begins a write: the value is dropped, and none is kept until the mark goes.
_BEGIN = """
redis.call('SET', KEYS[3], '', 'EX', ARGV[2])
redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
"""


class CacheKey(NamedTuple):
    """The names of one value: its key, its counter, and how long the store keeps it (seconds)."""

    value: str
    version: str
    seconds: int

    @property
    def changing(self) -> str:
        """Return the name of the mark of a write."""
        return f"{self.value}:changing"


@lru_cache(KEYS_KNOWN)
def record_key(volume: str, vfolder: UUID) -> CacheKey:
    """Return the key of a vfolder's record."""
    top = f"vfolder:{vfolder.hex}"
    return CacheKey(f"{top}:record:{volume}", f"{top}:version", RECORD_SECONDS)


def user_key(user: UUID) -> CacheKey:
    """Return the key of a user's record."""
    top = f"user:{user.hex}"
    return CacheKey(f"{top}:record", f"{top}:version", MEMBERS_SECONDS)


def group_key(group: UUID) -> CacheKey:
    """Return the key of a group's record: members and group admins."""
    top = f"group:{group.hex}"
    return CacheKey(f"{top}:members", f"{top}:version", MEMBERS_SECONDS)


class AccessChange(NamedTuple):
    """What changed; `everything` stands for all values."""

    users: tuple[UUID, ...] = ()
    groups: tuple[UUID, ...] = ()
    #: Each with the volumes whose record is dropped.
    vfolders: tuple[UUID, ...] = ()
    volumes: tuple[str, ...] = ()
    everything: bool = False
    #: False: whether it was written is not known, so it may still come.
    settled: bool = True
    #: Who owns or shares the vfolders, or did: `user:<uuid>`, `group:<uuid>`. For those who follow.
    words: tuple[str, ...] = ()


class _Near(Generic[T]):
    """One value in the process, with the counters it was compared with."""

    __slots__ = ("checked", "value", "versions")

    def __init__(self, value: T, versions: tuple[bytes, ...] | None, checked: float) -> None:
        self.value = value
        #: None: it was read without the store.
        self.versions = versions
        self.checked = checked


class AccessCache:
    """The cache as one process sees it; made after the fork. Safe for threads."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = connect(settings, Database.LIVE, text=False)
        self._keep = self._redis.register_script(_KEEP)
        self._change = self._redis.register_script(_CHANGE)
        self._begin = self._redis.register_script(_BEGIN)
        self._clock = clock
        self._near: dict[Any, _Near[Any]] = {}
        self._lock = threading.Lock()
        self._paused_until = 0.0
        #: The store was away: until then its values may be old.
        self._settles_until = 0.0
        #: Changes that the store has not taken yet, and the thread that tries again.
        self._unpublished: dict[AccessChange, None] = {}
        self._publisher: threading.Thread | None = None

    def get(
        self, key: CacheKey, load: Callable[[], bytes | None], parse: Callable[[bytes | None], T]
    ) -> T:
        """Return a parsed value: near, else from the store, else from `load`.

        A value near costs no call. A comparison costs one round trip to the store.

        Raises:
            StorageError: `load` or `parse` raised it; nothing is kept then.
        """
        now = self._clock()
        near = cast("_Near[T] | None", self._near.get(key))
        if near is not None and now - near.checked < CHECK_SECONDS:
            return near.value
        found = self._compare(key, now)
        if found is None:
            return self._without_store(key, near, now, lambda: parse(load()))
        kept, *counters, changing = found
        if changing is not None or now < self._settles_until:
            return self._remember(key, parse(load()), None, now)
        versions = tuple(one or b"" for one in counters)
        if near is not None and near.versions == versions and now - near.checked < NEAR_SECONDS:
            near.checked = now
            return near.value
        text = self._text(key, kept, versions, load)
        return self._remember(key, parse(text), versions, now)

    def answers(
        self,
        items: Sequence[tuple[tuple[str, ...], Sequence[str]]],
        ask: Callable[[list[int]], list[tuple[T, float]]],
    ) -> list[T]:
        """Return one answer for each item: near ones that still count, and those of one question.

        For answers of a policy service. They stay in the process; the store has counters only.

        Args:
            items: for each, what names it, and the counters that end it when they are raised.
            ask: takes the positions of the missing answers; returns each with its seconds.

        Raises:
            StorageError: `ask` raised it; nothing is kept then.
        """
        now = self._clock()
        found: dict[int, T] = {}
        nears = [cast("_Near[tuple[T, float]] | None", self._near.get(key)) for key, _ in items]
        for at, near in enumerate(nears):
            if near and now < near.value[1] and now - near.checked < CHECK_SECONDS:
                found[at] = near.value[0]
        rest = [at for at in range(len(items)) if at not in found]
        if not rest:
            return [found[at] for at in range(len(items))]
        counters = self._counters(sorted({name for at in rest for name in items[at][1]}), now)
        versions = {at: _picked(counters, items[at][1]) for at in rest}
        for at in rest:
            near = nears[at]
            if near and now < near.value[1] and self._still(near, versions[at], now):
                found[at] = near.value[0]
        missing = [at for at in rest if at not in found]
        for at, (value, seconds) in zip(missing, ask(missing) if missing else [], strict=True):
            found[at] = value
            self._remember(items[at][0], (value, now + seconds), versions[at], now)
        return [found[at] for at in range(len(items))]

    @staticmethod
    def _still(near: _Near[Any], versions: tuple[bytes, ...] | None, now: float) -> bool:
        if versions is None:
            return now - near.checked < AWAY_SECONDS
        if versions == near.versions:
            near.checked = now
            return True
        return False

    def begin_change(self, key: CacheKey) -> None:
        """Keep no value that is about to be written, in any process; `changed` ends that.

        Without the store the change goes on: the files are the truth.
        """
        if self._clock() < self._paused_until:
            return
        try:
            arguments = [VERSION_SECONDS, CHANGING_SECONDS]
            self._begin(keys=[key.version, key.value, key.changing], args=arguments)
        except redis.RedisError as error:
            _log.info("change of access not begun in the store", reason=type(error).__name__)

    def changed(self, change: AccessChange) -> None:
        """Drop what changed, everywhere, and publish it. Call it after the change is on disk.

        While the store is away, a process that cannot reach it either sees the change after
        `AWAY_SECONDS`. For the others this one publishes it as soon as it can.
        """
        counted, _ = _names(change)
        self._forget_near(change, counted)
        if not self._publish(change):
            self._publish_later(change)

    def _publish_later(self, change: AccessChange) -> None:
        """Let one thread publish what the store did not take; many changes become one."""
        with self._lock:
            if len(self._unpublished) >= UNPUBLISHED_MAX:
                self._unpublished = {AccessChange(everything=True): None}
            self._unpublished[change] = None
            if self._publisher is None:
                self._publisher = threading.Thread(target=self._publish_all, daemon=True)
                self._publisher.start()

    def _publish_all(self) -> None:
        while True:
            time.sleep(PAUSE_SECONDS)
            for change in list(self._unpublished):
                if not self._publish(change):
                    break
                with self._lock:
                    self._unpublished.pop(change, None)
            with self._lock:
                if not self._unpublished:
                    self._publisher = None
                    return

    def _publish(self, change: AccessChange) -> bool:
        counted, dropped = _names(change)
        seconds = "" if change.everything else VERSION_SECONDS
        arguments: list[str | int] = [len(counted), seconds, CHANNEL, _message(change)]
        try:
            self._change(keys=[*counted, *dropped], args=arguments)
        except redis.RedisError as error:
            _log.warning("change of access not published yet", reason=type(error).__name__)
            return False
        return True

    # -- Near --------------------------------------------------------------------------------------
    def _remember(self, key: object, value: T, versions: tuple[bytes, ...] | None, now: float) -> T:
        with self._lock:
            if len(self._near) >= NEAR_MAX:
                self._near.clear()
            self._near[key] = _Near(value, versions, now)
        return value

    def _forget_near(self, change: AccessChange, counted: list[str]) -> None:
        names = set(counted)
        with self._lock:
            if change.everything:
                self._near.clear()
                return
            gone = [key for key in self._near if isinstance(key, CacheKey) and key.version in names]
            gone += [key for key in self._near if not isinstance(key, CacheKey)]
            for key in gone:
                del self._near[key]

    def _without_store(
        self, key: CacheKey, near: _Near[T] | None, now: float, read: Callable[[], T]
    ) -> T:
        if near is not None and now - near.checked < AWAY_SECONDS:
            return near.value
        return self._remember(key, read(), None, now)

    # -- Store -------------------------------------------------------------------------------------
    def _compare(self, key: CacheKey, now: float) -> list[bytes | None] | None:
        return self._mget([key.value, key.version, EVERYTHING, key.changing], now)

    def _counters(self, names: list[str], now: float) -> dict[str, bytes] | None:
        found = self._mget([*names, EVERYTHING], now)
        if found is None:
            return None
        return dict(zip([*names, EVERYTHING], [one or b"" for one in found], strict=True))

    def _mget(self, keys: list[str], now: float) -> list[bytes | None] | None:
        """Return values of the store; None while it is away. A frozen store is left alone."""
        if now < self._paused_until:
            return None
        try:
            return cast("list[bytes | None]", self._redis.mget(keys))
        except redis.RedisError as error:
            self._paused_until = self._clock() + PAUSE_SECONDS
            self._settles_until = self._paused_until + SETTLE_SECONDS
            _log.info("access cache not read", reason=type(error).__name__)
            return None

    def _text(
        self,
        key: CacheKey,
        kept: bytes | None,
        versions: tuple[bytes, ...],
        load: Callable[[], bytes | None],
    ) -> bytes | None:
        """Return the text of a value, kept with these counters, or from its file."""
        known = b":".join(versions)
        if kept is not None and kept.startswith(known + _PRESENT):
            return kept[len(known) + 1 :]
        if kept == known + _ABSENT:
            return None
        text = load()
        if text is None or len(text) <= VALUE_MAX_BYTES:
            value = known + (_ABSENT if text is None else _PRESENT + text)
            arguments: list[bytes | int] = [versions[0], value, key.seconds, VERSION_SECONDS]
            try:
                self._keep(keys=[key.value, key.version, key.changing], args=arguments)
            except redis.RedisError as error:
                _log.info("access cache not written", reason=type(error).__name__)
        return text


def _picked(counters: dict[str, bytes] | None, names: Sequence[str]) -> tuple[bytes, ...] | None:
    return None if counters is None else tuple(counters[name] for name in (*names, EVERYTHING))


def _names(change: AccessChange) -> tuple[list[str], list[str]]:
    """Return the counters that a change raises, and the values that it drops."""
    if change.everything:
        return [EVERYTHING], []
    keys = [user_key(one) for one in change.users] + [group_key(one) for one in change.groups]
    keys += [record_key(volume, one) for one in change.vfolders for volume in change.volumes]
    counted = {key.version for key in keys}
    counted |= {f"vfolder:{one.hex}:version" for one in change.vfolders}
    marks = {key.changing for key in keys if change.settled}
    return sorted(counted), sorted({key.value for key in keys} | marks)


def _message(change: AccessChange) -> str:
    return json.dumps(
        {
            "users": [str(one) for one in change.users],
            "groups": [str(one) for one in change.groups],
            "vfolders": [str(one) for one in change.vfolders],
            "volumes": change.volumes,
            "words": change.words,
            "all": change.everything,
        }
    )
