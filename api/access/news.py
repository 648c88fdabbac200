"""News of vfolders for streams of events: a record changed, or a job moved or made a vfolder.

Changes of records come by the channel of the access cache, those by jobs from the feed. A reader
hears of a vfolder whose record names it, or named it before the change. Each piece of news is
decided for its reader when it is sent: who does not see the vfolder (any more) gets it without its
name, and looks at its list again. One thread serves all streams of a process.
"""

import threading
import time
from contextlib import suppress
from uuid import UUID

import redis

from api.access.decisions import vfolders_of
from api.jobs import Feed, FeedFollower
from core.access import CHANNEL, CHECK_SECONDS, AccessIndex
from core.errors import StorageError
from core.jobs import Job
from core.names import QuotaScope, ScopeKind
from core.redis import Database, connect, json
from core.settings import Settings
from core.telemetry import logger

TOPIC = "vfolders"
#: Changes are gathered for so long (seconds): then no process decides by what was before.
GATHER_SECONDS = CHECK_SECONDS + 0.1
#: More changes at a time are one that concerns all vfolders.
CHANGES_MAX = 500
#: How long the thread waits after it lost its connection, and a new stream for the channel.
AGAIN_SECONDS = 1.0
#: Verbs whose end makes, moves or removes vfolders.
VERBS = frozenset({"clone", "delete", "purge", "restore", "snapshot"})
_log = logger(__name__)


class VFolderNews:
    """The news of one process; its thread starts with the first stream that follows them."""

    def __init__(self, settings: Settings, feed: Feed) -> None:
        self._redis = connect(settings, Database.LIVE)
        self._index = AccessIndex(settings)
        self._feed = feed
        self._lock = threading.Lock()
        #: By volume and id, the words of subjects that a change concerns.
        self._changed: dict[tuple[str, UUID], set[str]] = {}
        self._groups: set[str] = set()
        self._everything = False
        self._since: float | None = None
        self._thread: threading.Thread | None = None
        self._subscribed = threading.Event()

    def begin(self) -> None:
        """Return when changes are received, or soon after; the first call starts the thread."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vfolder-news", daemon=True)
                self._thread.start()
        self._subscribed.wait(AGAIN_SECONDS)

    def note_job(self, job: Job) -> None:
        """Take in a job that changed: the end of some concerns the vfolders that it names."""
        if self._thread is None or job.verb not in VERBS or not job.state.ended:
            return
        for volume, vfolder in vfolders_of(job):
            self._note(volume, vfolder.id, {_owner(vfolder.scope)} if vfolder.scope else set())

    def _note(self, volume: str, vfolder: UUID, words: set[str]) -> None:
        with self._lock:
            self._since = self._since or time.monotonic()
            self._changed.setdefault((volume, vfolder), set()).update(words)
            self._everything |= len(self._changed) > CHANGES_MAX

    def _run(self) -> None:
        while True:
            try:
                self._receive()
            except redis.RedisError as error:
                _log.warning("changes of vfolders not received", reason=type(error).__name__)
                with self._lock:  # some may have been missed
                    self._since, self._everything = self._since or time.monotonic(), True
                time.sleep(AGAIN_SECONDS)

    def _receive(self) -> None:
        channel = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call] # redis-py
        with channel:
            channel.subscribe(CHANNEL)
            self._subscribed.set()
            while True:
                message = channel.get_message(timeout=GATHER_SECONDS)
                if message is not None:
                    self._take(json.loads(message["data"]))
                if self._since is not None and time.monotonic() - self._since >= GATHER_SECONDS:
                    self._send()

    def _take(self, change: dict[str, object]) -> None:
        """Take in a message; one that another version of this service writes may lack members."""
        volumes, words = change.get("volumes") or (), set(change.get("words") or ())  # type: ignore[call-overload] # JSON
        for vfolder in change["vfolders"]:  # type: ignore[attr-defined] # as above
            for volume in volumes:  # type: ignore[attr-defined] # as above
                self._note(volume, UUID(vfolder), words)
        if change["groups"] or change["all"]:
            with self._lock:
                self._since = self._since or time.monotonic()
                self._groups |= {f"group:{one}" for one in change["groups"]}  # type: ignore[attr-defined] # as above
                self._everything |= bool(change["all"])

    def _send(self) -> None:
        with self._lock:
            changed, groups, everything = self._changed, self._groups, self._everything
            self._changed, self._groups = {}, set()
            self._everything, self._since = False, None
        followers = self._feed.following(TOPIC)
        if not followers:
            return
        now_ms = self._feed.now_ms()
        if not everything:
            self._add_words(changed)
        for one in followers:
            if everything or (one.reader.words is not None and groups & one.reader.words):
                one.add(TOPIC, now_ms, None)
            else:
                self._send_to(one, changed, now_ms)

    def _add_words(self, changed: dict[tuple[str, UUID], set[str]]) -> None:
        """Add the subjects that the index knows: those who shared a vfolder that is gone."""
        for (volume, vfolder), words in changed.items():
            words.update(self._index.words(volume, vfolder))

    @staticmethod
    def _send_to(
        follower: FeedFollower, changed: dict[tuple[str, UUID], set[str]], now_ms: int
    ) -> None:
        reader = follower.reader
        for (volume, vfolder), words in changed.items():
            if reader.words is not None and not words & reader.words:
                continue
            reference, sees = f"{volume}:{vfolder}", False
            with suppress(StorageError):  # what is not known is not named
                sees = reader.sees_vfolder(reference)
            follower.add(TOPIC, now_ms, reference if sees else None)


def _owner(scope: QuotaScope) -> str:
    kind = "user" if scope.kind is ScopeKind.USER else "group"
    return f"{kind}:{scope.id}"
