"""Changes of jobs as they happen: one subscriber per process, for all callers that wait.

Event streams (server-sent events, WHATWG HTML §9.2) and `Prefer: wait` (RFC 7240) use it. Each
waiter holds a thread of its door, so their number is limited. A record is read once per change and
shared by all its waiters.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from api.http import json
from core.errors import JobNotFound, Unavailable
from core.jobs import Job
from core.jobs.store import LIVE_CHANNEL
from core.telemetry import logger

_log = logger(__name__)

#: How often a stream sends a comment when nothing changes, so that proxies keep it open.
COMMENT_SECONDS = 10.0
#: How long a client should wait before it connects again (milliseconds).
RECONNECT_MS = 2000
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


class Live:
    """The subscriber of one process. Its thread starts with the first waiter."""

    def __init__(self, client: "redis.Redis", read: Read, describe: Describe, limit: int) -> None:
        self._redis = client
        self._read = read
        self._describe = describe
        self._limit = limit
        self._lock = threading.Lock()
        self._waiters: dict[str, set[_Waiter]] = defaultdict(set)
        self._shared: dict[str, tuple[int, dict[str, Any]]] = {}
        self._newest: dict[str, int] = {}
        self._count = 0
        self._thread: threading.Thread | None = None
        self._subscribed = threading.Event()

    @contextmanager
    def _waiting(self, job: str) -> Iterator[_Waiter]:
        waiter = _Waiter()
        with self._lock:
            if self._count >= self._limit:
                raise Unavailable(
                    "Too many callers wait at this door; poll the job, or try again later."
                )
            self._count += 1
            self._waiters[job].add(waiter)
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="live", daemon=True)
                self._thread.start()
        self._subscribed.wait(SUBSCRIBE_AGAIN_SECONDS)
        try:
            yield waiter
        finally:
            with self._lock:
                self._count -= 1
                self._waiters[job].discard(waiter)
                if not self._waiters[job]:
                    del self._waiters[job]
                    self._shared.pop(job, None)
                    self._newest.pop(job, None)

    def _listen(self) -> None:
        while True:
            try:
                self._receive()
            except redis.RedisError as error:
                _log.warning("job changes not received", reason=type(error).__name__)
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
                    job, version, _state = message["data"].split(" ")
                    self._wake(job, int(version))

    def _wake(self, job: str, version: int = 0) -> None:
        with self._lock:
            if job in self._waiters:
                self._newest[job] = max(version, self._newest.get(job, 0))
            for waiter in self._waiters.get(job, ()):
                waiter.woken.set()

    def _wake_all(self) -> None:
        with self._lock:
            jobs = list(self._waiters)
        for job in jobs:
            self._wake(job)

    def _current(self, job: str) -> tuple[int, dict[str, Any]]:
        """Return version and document; they are read once per change for all waiters."""
        with self._lock:
            shared = self._shared.get(job)
            if shared is not None and 0 < self._newest.get(job, 0) <= shared[0]:
                return shared
        record = self._read(job)
        fresh = record.version, self._describe(record)
        with self._lock:
            if job in self._waiters:
                self._shared[job] = fresh
        return fresh

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

    def stream(self, job: str, last_seen: int) -> Iterator[bytes]:
        """Yield server-sent events: the document at every change after `last_seen`, then done.

        The id of an event is the version of the record. A client that connects again with
        `Last-Event-ID` gets the newest document, in place of all events that it missed.

        Raises:
            Unavailable: too many callers wait at this door (raised before the first byte).
        """
        with self._waiting(job) as waiter:
            yield b"retry: %d\n\n" % RECONNECT_MS
            while True:
                waiter.woken.clear()
                try:
                    version, document = self._current(job)
                except JobNotFound:
                    yield b"event: gone\ndata: {}\n\n"
                    return
                except redis.RedisError:
                    yield b": the store is away\n\n"
                    waiter.woken.wait(SUBSCRIBE_AGAIN_SECONDS)
                    continue
                if version > last_seen or document["done"]:
                    last_seen = version
                    yield _event("job", version, document)
                if document["done"]:
                    yield _event("done", version, document)
                    return
                if not waiter.woken.wait(COMMENT_SECONDS):
                    yield b": alive\n\n"


def _event(kind: str, version: int, document: dict[str, Any]) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (version, kind.encode(), json.dumps(document))
