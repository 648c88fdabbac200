"""News of many things as one stream of events: jobs, vfolders, uploads, quotas, nodes, volumes.

A program that shows a page follows one stream, whatever the page has. Each thing has its newest
event alone, so a slow reader gets the newest state. An event says what changed; that of a job has
its document. The id of an event is the moment when it was read (milliseconds of the store's clock):
a stream that begins with one gets the jobs that changed since. A stream begins with such an id, and
says `alive` while nothing changes: a page cannot see the comments of a stream, so it could not tell
a quiet stream from a connection that is gone.

One thread serves all streams of a process. Changes of jobs come from the subscriber
(`api.jobs.live`), those of vfolders from another one (`api.access.news`). The others are compared
every two seconds, while someone follows them. Uploads and quotas belong to subjects: what a process
compares in a turn has a bound, so with many subjects their news come later.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
#: What a stream says while nothing changes.
ALIVE = b"event: alive\ndata: {}\n\n"
#: Jobs that are read at once; more wait for the next turn.
BATCH = 500
#: Subjects whose things are compared in one turn; more are compared in the next ones.
SUBJECTS_MAX = 200
_log = logger(__name__)

#: What a topic looks like now: the state of each thing by its id.
States = Mapping[str, object]
Look = Callable[[], States]


#: The states of the things of subjects, by subject.
OwnLook = Callable[[Sequence[str]], Mapping[str, States]]


@dataclass(frozen=True, slots=True)
class FeedReader:
    """Who reads a stream, as of now: what it may see."""

    sees: Callable[[Job], bool]
    #: By topic, the subjects whose things the reader gets: scopes, or the session of uploads.
    subjects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Whether the reader may see a thing of a topic, by its state.
    admits: Callable[[str, object], bool] = lambda _topic, _state: True
    #: By which words records of vfolders name the reader; None: it gets the news of all.
    words: frozenset[str] | None = frozenset()
    #: Whether the reader may see the vfolder of a reference (`VOLUME:ID`) now.
    sees_vfolder: Callable[[str], bool] = lambda _reference: False


@dataclass(slots=True)
class FeedFollower:
    """One stream: its topics, and its reader, which a new decision replaces."""

    body: EventStream
    topics: frozenset[str]
    reader: FeedReader

    def add(self, topic: str, now_ms: int, name: str | None) -> None:
        """Send that a thing of a topic changed; None: that something may have, without a name."""
        self.body.add(f"{topic} {name}", _event(topic, now_ms, {"id": name}))


@dataclass(slots=True)
class _Compared:
    """A topic without a channel: how it is looked at, and what it was."""

    look: Look
    states: States | None = None


@dataclass(slots=True)
class _Own:
    """A topic whose things belong to subjects: how they are looked at, and what they were."""

    look: OwnLook
    states: dict[str, States] = field(default_factory=dict)
    #: The last subject of the turn before; None before the first turn.
    after: str | None = None


@dataclass(slots=True)
class JobReads:
    """What the feed needs of the store of jobs."""

    #: Returns the records of ids, without those that are gone.
    read: Callable[[list[str]], list[Job]]
    #: Returns the store's clock (milliseconds).
    now_ms: Callable[[], int]
    #: Takes a job that changed, while streams are open.
    note: Callable[[Job], None] = lambda _job: None


class Feed:
    """The streams of one process. Its thread starts with the first stream."""

    def __init__(
        self, jobs: JobReads, looks: Mapping[str, Look], own: Mapping[str, OwnLook]
    ) -> None:
        """Take the jobs, and by topic how all its things, or those of subjects, are looked at."""
        self._jobs = jobs
        self._own = {topic: _Own(look) for topic, look in own.items()}
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
        reader: FeedReader,
        on_close: Callable[[], None],
        begun_ms: int,
    ) -> FeedFollower:
        """Return a new stream; what happens from now on comes to it.

        `begun_ms` is a moment before now, of the store's clock: the first id of the stream.
        """

        def closed() -> None:
            with self._lock:
                self._by_id.pop(id(follower), None)
            on_close()

        head = b"retry: %d\n\nid: %d\n%s" % (RECONNECT_MS, begun_ms, ALIVE)
        body = EventStream(head, closed, comment=ALIVE)
        follower = FeedFollower(body, topics, reader)
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
                    self._compare_own()
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
        for own in self._own.values():
            own.states.clear()

    def now_ms(self) -> int:
        """Return the moment of an event (milliseconds of the store's clock)."""
        return self._jobs.now_ms()

    def following(self, topic: str) -> list[FeedFollower]:
        """Return the open streams that have a topic."""
        with self._lock:
            return [one for one in self._by_id.values() if topic in one.topics]

    def _pass_jobs(self) -> None:
        with self._lock:
            ids = list(self._changed)[:BATCH]
            for job in ids:
                del self._changed[job]
        followers = self.following("jobs")
        if not ids:
            return
        jobs = self._jobs.read(ids)
        for one in jobs:
            self._jobs.note(one)
        if followers:
            self._send_jobs(jobs, self._jobs.now_ms(), followers)

    def _send_jobs(self, jobs: list[Job], now_ms: int, followers: list[FeedFollower]) -> None:
        for job in jobs:
            text = b""
            for one in followers:
                if one.reader.sees(job):
                    text = text or _job_event(job, now_ms)
                    one.body.add(f"jobs {job.id}", text)

    def _compare(self) -> None:
        for topic, one in self._compared.items():
            followers = self.following(topic)
            if not followers:
                one.states = None
                continue
            before, one.states = one.states, one.look()
            if before is None:
                continue
            now_ms = self._jobs.now_ms()
            for name in _differing(before, one.states):
                for follower in followers:
                    follower.add(topic, now_ms, name)

    def _compare_own(self) -> None:
        """Compare the things of some subjects, and send what changed to those who may see it."""
        for topic, own in self._own.items():
            followers = self.following(topic)
            followed = {s for one in followers for s in one.reader.subjects.get(topic, ())}
            for gone in own.states.keys() - followed:
                del own.states[gone]
            turn = next_turn(sorted(followed), own.after)
            if not turn:
                continue
            own.after, now_ms = turn[-1], self._jobs.now_ms()
            for subject, states in own.look(turn).items():
                before = own.states.get(subject)
                own.states[subject] = states
                readers = [
                    one for one in followers if subject in one.reader.subjects.get(topic, ())
                ]
                for name in [] if before is None else _differing(before, states):
                    state = states.get(name, (before or {}).get(name))
                    for one in readers:
                        if one.reader.admits(topic, state):
                            one.add(topic, now_ms, name or None)


def next_turn(subjects: list[str], after: str | None) -> list[str]:
    """Return the subjects of the next turn: those behind the last one of the turn before."""
    rest = [one for one in subjects if after is None or one > after]
    return (rest or subjects)[:SUBJECTS_MAX]


def _differing(before: States, now: States) -> Iterator[str]:
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            yield name


def _job_event(job: Job, now_ms: int) -> bytes:
    document = {"id": job.id, "version": job.version, "document": job.document()}
    return _event("jobs", now_ms, document)


def _event(topic: str, now_ms: int, document: dict[str, Any]) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (now_ms, topic.encode(), json.dumps(document))
