"""Changes of jobs as they happen: one subscriber per process, for all callers that wait.

Event streams (server-sent events, WHATWG HTML §9.2) and `Prefer: wait` (RFC 7240) use it. A stream
holds no thread: the subscriber's thread gives it each change. A caller that waits for one answer
holds a thread of its door. Both numbers are limited. A record is read once per change and shared by
all its streams.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import redis

from api.http import json
from api.jobs.feed import Feed, FeedFollower, FeedReader
from api.streaming import EventStream
from core.errors import JobNotFound, Unavailable
from core.jobs import Job
from core.jobs.store import LIVE_CHANNEL
from core.telemetry import logger

_log = logger(__name__)

#: How long a client should wait before it connects again (milliseconds).
RECONNECT_MS = 2000
#: What a stream sends when the job was forgotten, and while the store does not answer.
_GONE = b"event: gone\ndata: {}\n\n"
_AWAY = b": the store is away\n\n"
#: How long the subscriber waits after it lost its connection to the store.
SUBSCRIBE_AGAIN_SECONDS = 1.0
#: How often the subscriber checks its connection.
LISTEN_SECONDS = 5.0
#: The longest `Prefer: wait` that is honoured.
WAIT_MAX_SECONDS = 60.0

Read = Callable[[str], Job]
Describe = Callable[[Job], dict[str, Any]]


class _Waiter:
    """A caller that waits for changes of one job."""

    __slots__ = ("woken",)

    def __init__(self) -> None:
        self.woken = threading.Event()


class _JobEvents(NamedTuple):
    """A version of a job as events: its document, and with the last one the end."""

    version: int
    text: bytes
    done: bool


class _Follower:
    """An event stream of one job."""

    __slots__ = ("_last_seen", "_lock", "body")

    def __init__(self, body: EventStream, last_seen: int) -> None:
        self.body = body
        self._last_seen = last_seen
        self._lock = threading.Lock()

    def receive(self, events: _JobEvents) -> None:
        """Pass on a version that is newer than what the caller has, or the last one."""
        with self._lock:
            if events.version > self._last_seen or events.done:
                self._last_seen = events.version
                self.body.put(events.text, last=events.done)


class Live:
    """The subscriber of one process. Its thread starts with the first caller.

    At most `streams` event streams are open, and at most `waits` callers wait for an end.
    """

    def __init__(
        self, client: "redis.Redis", read: Read, describe: Describe, *, streams: int, waits: int
    ) -> None:
        self._redis = client
        self._read = read
        self._describe = describe
        self._waits = waits
        self._streams = streams
        self._lock = threading.Lock()
        self._waiters: dict[str, set[_Waiter]] = defaultdict(set)
        self._followers: dict[str, set[_Follower]] = defaultdict(set)
        self._waiting_count = self._following_count = 0
        self._thread: threading.Thread | None = None
        self._subscribed = threading.Event()
        #: The streams about many things, once there is one.
        self._feed: Feed | None = None

    @contextmanager
    def _waiting(self, job: str) -> Iterator[_Waiter]:
        waiter = _Waiter()
        with self._lock:
            if self._waiting_count >= self._waits:
                raise _too_many()
            self._waiting_count += 1
            self._waiters[job].add(waiter)
        self._start()
        try:
            yield waiter
        finally:
            with self._lock:
                self._waiting_count -= 1
                _remove(self._waiters, job, waiter)

    def _start(self) -> None:
        """Return when changes are received, or soon after; the first call starts the thread."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="live", daemon=True)
                self._thread.start()
        self._subscribed.wait(SUBSCRIBE_AGAIN_SECONDS)

    def _listen(self) -> None:
        while True:
            try:
                self._receive()
            except redis.RedisError as error:
                _log.warning("job changes not received", reason=type(error).__name__)
                for follower in self._all_followers():
                    follower.body.remark(_AWAY)
                time.sleep(SUBSCRIBE_AGAIN_SECONDS)

    def _receive(self) -> None:
        channel = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call] # redis-py
        with channel:
            channel.subscribe(LIVE_CHANNEL)
            self._subscribed.set()
            self._wake_all()
            while True:
                message = channel.get_message(timeout=LISTEN_SECONDS)
                if message is not None:
                    job, _version, _state = message["data"].split(" ")
                    if self._feed is not None:
                        self._feed.note(job)
                    self._wake(job)

    def _wake(self, job: str) -> None:
        with self._lock:
            for waiter in self._waiters.get(job, ()):
                waiter.woken.set()
            followers = list(self._followers.get(job, ()))
        if not followers:
            return
        try:
            self._send_to(job, followers)
        except redis.RedisError:
            raise
        except Exception:  # noqa: BLE001 - a defect in one job must not end the thread of all
            _log.exception("event streams cut", job_id=job)
            for follower in followers:
                follower.body.put(b"", last=True)

    def _wake_all(self) -> None:
        with self._lock:
            jobs = {*self._waiters, *self._followers}
        for job in jobs:
            self._wake(job)

    def _all_followers(self) -> list[_Follower]:
        with self._lock:
            return [one for followers in self._followers.values() for one in followers]

    def _send_to(self, job: str, followers: list[_Follower]) -> None:
        """Read the job and send it.

        Raises:
            redis.RedisError: the store does not answer.
        """
        try:
            record = self._read(job)
        except JobNotFound:
            for follower in followers:
                follower.body.put(_GONE, last=True)
            return
        events = _events_of(record.version, self._describe(record))
        for follower in followers:
            follower.receive(events)

    def wait(self, job: str, seconds: float) -> Job:
        """Return the job when it has ended, at the latest after `seconds`.

        Raises:
            JobNotFound: there is no such job.
            Unavailable: too many callers wait at this door.
        """
        until = time.monotonic() + seconds
        with self._waiting(job) as waiter:
            while True:
                waiter.woken.clear()
                record = self._read(job)
                left = until - time.monotonic()
                if record.state.ended or left <= 0:
                    return record
                waiter.woken.wait(left)

    def stream(self, job: str, last_seen: int) -> EventStream:
        """Return a body of server-sent events: the document at every change, then done.

        It has the changes after `last_seen`. The id of an event is the version of the record. A
        client that connects again with `Last-Event-ID` gets the newest document, in place of all
        events that it missed. The caller closes the body.

        Raises:
            Unavailable: too many event streams are open at this door, or the store is away.
        """
        with self._lock:
            if self._following_count >= self._streams:
                raise _too_many()
            self._following_count += 1
            body = EventStream(b"retry: %d\n\n" % RECONNECT_MS, lambda: self._leave(job, follower))
            follower = _Follower(body, last_seen)
            self._followers[job].add(follower)
        try:
            self._start()
            self._send_to(job, [follower])
        except BaseException:
            body.close()
            raise
        return body

    def open_feed(self, feed: Feed, topics: frozenset[str], reader: FeedReader) -> FeedFollower:
        """Return a new stream about many things, which counts as one of the streams.

        Raises:
            Unavailable: too many event streams are open at this door, or the store is away.
        """
        begun_ms = feed.now_ms()
        with self._lock:
            if self._following_count >= self._streams:
                raise _too_many()
            self._following_count += 1
            self._feed = feed
        self._start()
        return feed.open(topics, reader, self._leave_feed, begun_ms)

    def _leave_feed(self) -> None:
        with self._lock:
            self._following_count -= 1

    def _leave(self, job: str, follower: _Follower) -> None:
        with self._lock:
            self._following_count -= 1
            _remove(self._followers, job, follower)


def _remove(groups: dict[str, set[Any]], key: str, member: object) -> None:
    groups[key].discard(member)
    if not groups[key]:
        del groups[key]


def _too_many() -> Unavailable:
    return Unavailable("Too many callers wait at this door; poll the job, or try again later.")


def _events_of(version: int, document: dict[str, Any]) -> _JobEvents:
    text = _event("job", version, document)
    if document["done"]:
        text += _event("done", version, document)
    return _JobEvents(version, text, document["done"])


def _event(kind: str, version: int, document: dict[str, Any]) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (version, kind.encode(), json.dumps(document))
