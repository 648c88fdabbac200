"""News of many things as one stream of events: jobs, nodes, volumes, the audit log.

A program that shows a page follows one stream, whatever the page has. Each thing has its newest
event alone, so a slow reader gets the newest state. An event says what changed; that of a job has
its document. The id of an event is the moment when it was read (milliseconds of the store's clock):
a stream that begins with one gets the jobs that changed since.

One thread serves all streams of a process. Changes of jobs come from the subscriber
(`api.jobs.live`); the others are compared every two seconds, while someone follows them.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from redis import RedisError

from api.http import json
from api.streaming import EventStream
from core.jobs import Job
from core.telemetry import logger

#: Changes of a moment are read together (seconds).
GATHER_SECONDS = 0.25
#: How often what has no channel of its own is compared (seconds).
COMPARE_SECONDS = 2.0
#: How long a reader waits before it connects again (milliseconds).
RECONNECT_MS = 2000
#: Jobs that are read at once; more wait for the next turn.
BATCH = 500
_log = logger(__name__)

#: What a topic looks like now: the state of each thing by its id.
States = Mapping[str, object]
Look = Callable[[], States]


@dataclass(frozen=True, slots=True)
class FeedFollower:
    """One stream: its topics, and which jobs its reader may see."""

    body: EventStream
    topics: frozenset[str]
    sees: Callable[[Job], bool]


@dataclass(slots=True)
class _Compared:
    """A topic without a channel: how it is looked at, and what it was."""

    look: Look
    states: States | None = None


@dataclass(slots=True)
class JobReads:
    """What the feed needs of the store of jobs."""

    #: Returns the records of ids, without those that are gone.
    read: Callable[[list[str]], list[Job]]
    #: Returns the store's clock (milliseconds).
    now_ms: Callable[[], int]


class Feed:
    """The streams of one process. Its thread starts with the first stream."""

    def __init__(self, jobs: JobReads, looks: Mapping[str, Look]) -> None:
        self._jobs = jobs
        self._compared = {topic: _Compared(look) for topic, look in looks.items()}
        self._lock = threading.Lock()
        self._by_id: dict[int, FeedFollower] = {}
        self._changed: dict[str, None] = {}
        self._begun = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, job: str) -> None:
        """Take in that a job changed; costs nothing while no stream is open."""
        if self._by_id:
            with self._lock:
                self._changed[job] = None

    def open(
        self,
        topics: frozenset[str],
        sees: Callable[[Job], bool],
        on_close: Callable[[], None],
    ) -> FeedFollower:
        """Return a new stream; what happens from now on comes to it."""

        def closed() -> None:
            with self._lock:
                self._by_id.pop(id(follower), None)
            on_close()

        body = EventStream(b"retry: %d\n\n" % RECONNECT_MS, closed)
        follower = FeedFollower(body, topics, sees)
        with self._lock:
            self._by_id[id(follower)] = follower
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
                self._thread.start()
        self._begun.set()
        return follower

    def catch_up(self, follower: FeedFollower, jobs: list[Job], since_ms: int) -> None:
        """Send a stream the jobs that changed since a moment."""
        missed = [job for job in jobs if int(job.fields["updated_at"]) >= since_ms]
        self._send_jobs(missed, self._jobs.now_ms(), [follower])

    def _run(self) -> None:
        compared_at = 0.0
        while True:
            self._begun.wait()
            try:
                self._pass_jobs()
                if time.monotonic() - compared_at >= COMPARE_SECONDS:
                    compared_at = time.monotonic()
                    self._compare()
            except RedisError as error:
                _log.warning("news not read", reason=type(error).__name__)
            except Exception:  # noqa: BLE001 - a defect in one event must not end the thread of all
                _log.exception("news not sent")
            with self._lock:
                if not self._by_id:
                    self._begun.clear()
                    self._changed.clear()
                    self._forget()
            time.sleep(GATHER_SECONDS)

    def _forget(self) -> None:
        """Forget what was compared: the next stream begins with the state of its beginning."""
        for one in self._compared.values():
            one.states = None

    def _following(self, topic: str) -> list[FeedFollower]:
        with self._lock:
            return [one for one in self._by_id.values() if topic in one.topics]

    def _pass_jobs(self) -> None:
        with self._lock:
            ids = list(self._changed)[:BATCH]
            for job in ids:
                del self._changed[job]
        followers = self._following("jobs")
        if ids and followers:
            self._send_jobs(self._jobs.read(ids), self._jobs.now_ms(), followers)

    def _send_jobs(self, jobs: list[Job], now_ms: int, followers: list[FeedFollower]) -> None:
        for job in jobs:
            text = b""
            for one in followers:
                if one.sees(job):
                    text = text or _job_event(job, now_ms)
                    one.body.add(f"jobs {job.id}", text)

    def _compare(self) -> None:
        for topic, one in self._compared.items():
            followers = self._following(topic)
            if not followers:
                one.states = None
                continue
            before, one.states = one.states, one.look()
            if before is None:
                continue
            now_ms = self._jobs.now_ms()
            for name in _differing(before, one.states):
                piece = _event(topic, now_ms, {"id": name})
                for follower in followers:
                    follower.body.add(f"{topic} {name}", piece)


def _differing(before: States, now: States) -> Iterator[str]:
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            yield name


def _job_event(job: Job, now_ms: int) -> bytes:
    document = {"id": job.id, "version": job.version, "document": job.document()}
    return _event("jobs", now_ms, document)


def _event(topic: str, now_ms: int, document: dict[str, Any]) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (now_ms, topic.encode(), json.dumps(document))
