"""Answers that are open for people: each is decided again, and ends when the permission is gone.

These are streams of events, and the bytes of long downloads. One that cannot be decided, because
what decides is away, ends within a minute, too.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import Response
from redis import RedisError

from api.streaming import EventStream, LoadedPart, Pace
from core.errors import DeadlineExceeded, StorageError, Unavailable
from core.telemetry import logger

#: How often each open stream is decided again (seconds).
LOOK_SECONDS = 20.0
#: A stream that was not decided for this long (seconds) ends at the next look.
UNDECIDED_SECONDS = 35.0
#: Bytes of a shorter answer are on their way before anybody could decide again.
LONG_BYTES = 8 << 20
#: One subject has at most so many streams in one process; the others are for others.
SUBJECT_STREAMS_MAX = 100
#: What decides is away; it is asked again.
_AWAY = (Unavailable, DeadlineExceeded, RedisError)
_ENDED = b"event: gone\ndata: {}\n\n"
_log = logger(__name__)


OpenAnswer = EventStream | Pace


def open_answer(response: Response) -> OpenAnswer | None:
    """Return what sends a response that may be open for long; None for all others."""
    body = response.response
    if isinstance(body, EventStream):
        return body
    if isinstance(body, LoadedPart):  # it is short; this costs no search for its length
        return None
    length = response.content_length
    if length is not None and length < LONG_BYTES:
        return None
    pace = getattr(getattr(body, "filelike", body), "pace", None)
    return pace if isinstance(pace, Pace) else None


@dataclass(slots=True)
class _OpenStream:
    stream: OpenAnswer
    subject: str
    decide: Callable[[], object]
    #: When it was last allowed (monotonic seconds).
    decided_at: float


class KeptDecision:
    """A decision about what a request still receives, asked for again where that takes long."""

    def __init__(
        self, decide: Callable[[], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._decide = decide
        self._clock = clock
        self._allowed_at = self._asked_at = clock()

    def check(self) -> None:
        """Decide again, when the last time was `LOOK_SECONDS` ago.

        Raises:
            StorageError: it is not allowed any more, or what decides is away for too long.
        """
        now = self._clock()
        if now < self._asked_at + LOOK_SECONDS:
            return
        self._asked_at = now
        try:
            self._decide()
        except _AWAY:
            if now - self._allowed_at >= UNDECIDED_SECONDS:
                raise
        else:
            self._allowed_at = now


class PersonStreams:
    """The open answers of people, in one process. Its thread starts with the first one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[int, _OpenStream] = {}
        self._thread: threading.Thread | None = None

    def check(self, subject: str) -> None:
        """Refuse one more stream of events of a subject that has too many.

        Raises:
            Unavailable: it may open one when it has closed another.
        """
        with self._lock:
            mine = [one.stream for one in self._open.values() if one.subject == subject]
        events = [stream for stream in mine if isinstance(stream, EventStream)]
        if sum(not stream.closed for stream in events) >= SUBJECT_STREAMS_MAX:
            raise Unavailable("You have too many open event streams; close one first.")

    def add(self, stream: OpenAnswer, subject: str, decide: Callable[[], object]) -> None:
        """End the stream when `decide` raises that it is not allowed any more."""
        with self._lock:
            self._open[id(stream)] = _OpenStream(stream, subject, decide, self._clock())
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="access", daemon=True)
                self._thread.start()

    @property
    def count(self) -> int:
        """How many answers are known to be open."""
        with self._lock:
            return len(self._open)

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Decide each open stream again; the closed ones are forgotten."""
        with self._lock:
            self._open = {key: one for key, one in self._open.items() if not one.stream.closed}
            found = list(self._open.values())
        for one in found:
            if self._is_allowed(one):
                continue
            if isinstance(one.stream, EventStream):
                one.stream.put(_ENDED, last=True)
            else:
                one.stream.cut_off()

    def _is_allowed(self, one: _OpenStream) -> bool:
        """Decide a stream; what is not known now is allowed for a short time."""
        try:
            one.decide()
        except _AWAY as error:
            _log.info("stream not decided again", reason=type(error).__name__)
            return self._clock() - one.decided_at < UNDECIDED_SECONDS
        except StorageError:
            return False
        except Exception:  # noqa: BLE001 - a defect in one decision must not end the thread of all
            _log.exception("stream not decided again")
            return False
        one.decided_at = self._clock()
        return True
