"""Calls to storage that are nearly always quick, made on the caller's thread while that is so.

To pass each open to another thread (`api/volumes/deadlines.py`) costs more than the open itself. So
a volume is called directly as long as no call to it is overdue. From then on, until that call
answers, calls go through the deadlines: they end with 504 and take only a few threads. A volume
that hangs therefore keeps only the threads of its first second.

The callers of that first second are answered too. A watching thread finds calls past the deadline,
sends 504 on their connections, and half-closes them. When the storage heals, the hung threads
return, see that their call was given up, and end without a further effect.
"""

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from api.http import Takeover
from api.volumes.deadlines import Deadlines
from core.errors import DeadlineExceeded
from core.telemetry import logger

#: A call that takes longer makes its volume suspect.
SUSPECT_SECONDS = 1.0
#: How often overdue calls are looked for, and given-up connections are read (seconds).
WATCH_SECONDS = 0.25
#: A caller that does not close its side of a given-up connection is cut off after this (seconds).
LINGER_SECONDS = 5.0
#: Storage that writes slower than this is taken for hung (bytes per second).
SLOWEST_BYTES_PER_SECOND = 4 << 20

P = ParamSpec("P")
T = TypeVar("T")

_log = logger(__name__)


class InlineCalls:
    """Knows, for each volume, when its running calls began."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._began: dict[str, dict[int, float]] = defaultdict(dict)
        #: The running calls, and how to answer the requests that made them.
        self._watched: dict[int, WatchedCall] = {}
        #: Given-up connections, and until when their callers may send.
        self._lingering: list[tuple[Takeover, WatchedCall, float]] = []
        self._watcher: threading.Thread | None = None

    def call(self, volume: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on this thread, or with a deadline when its volume is suspect.

        Raises:
            DeadlineExceeded, Unavailable: as `Deadlines.call`.
        """
        call = WatchedCall(self, volume, next(self._numbers))
        if not self._enter(call):
            return self._deadlines.call(volume, function, *args, **kwargs)
        try:
            return function(*args, **kwargs)
        finally:
            self._leave(call)

    @contextmanager
    def watched(self, volume: str, probe: Callable[[], object]) -> Iterator["WatchedCall"]:
        """Do the block on this thread, and give its request up when the volume hangs.

        A suspect volume must first answer `probe`, with a deadline. A block that takes long reports
        its work to the `WatchedCall`: the deadline holds for each piece of it.

        Raises:
            DeadlineExceeded, Unavailable: as `Deadlines.call`; or the request was given up.
        """
        call = WatchedCall(self, volume, next(self._numbers))
        if not self._enter(call):
            self._deadlines.call(volume, probe)
            self._enter(call, although_suspect=True)
        try:
            yield call
        finally:
            self._leave(call)

    def _enter(self, call: "WatchedCall", *, although_suspect: bool = False) -> bool:
        """Watch a call from now on; return false when its volume is suspect."""
        now = time.monotonic()
        with self._lock:
            began = self._began[call.volume]
            if began and not although_suspect and now - min(began.values()) > SUSPECT_SECONDS:
                return False
            began[call.number] = now
            self._watched[call.number] = call
        if self._watcher is None:
            self._start()
        return True

    def _leave(self, call: "WatchedCall") -> None:
        with self._lock:
            self._began[call.volume].pop(call.number, None)
            self._watched.pop(call.number, None)
        call.check()

    def begin(self, call: "WatchedCall", extra_seconds: float) -> None:
        """Start or restart the time of a call."""
        with self._lock:
            self._began[call.volume][call.number] = time.monotonic() + extra_seconds

    def end(self, call: "WatchedCall") -> None:
        """Stop the time of a call."""
        with self._lock:
            self._began[call.volume].pop(call.number, None)

    # -- The watching thread ----------------------------------------------------------------------

    def _start(self) -> None:
        with self._lock:
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
                self._watcher.start()

    def _watch(self) -> None:
        while True:
            time.sleep(WATCH_SECONDS)
            for call in self._overdue():
                self._give_up(call)
            self._lingering = [one for one in self._lingering if not self._has_ended(*one)]

    def _overdue(self) -> list["WatchedCall"]:
        """Return the calls past the deadline; from now on they are given up."""
        late = time.monotonic() - self._deadlines.seconds
        with self._lock:
            numbers = [
                number
                for began in self._began.values()
                for number, moment in began.items()
                if moment < late
            ]
            calls = [self._watched.pop(number) for number in numbers if number in self._watched]
            for call in calls:
                call.answered = threading.Event()
        return calls

    def _give_up(self, call: "WatchedCall") -> None:
        error = call.error(self._deadlines.seconds)
        answered = False
        try:
            answered = call.request.answer(error)
        except Exception:  # noqa: BLE001 - a defect here must not end the watch over all others
            _log.exception("request not given up")
        _log.warning("request given up", volume=call.volume, answered=answered)
        if answered:
            until = time.monotonic() + LINGER_SECONDS
            self._lingering.append((call.request, call, until))
        elif call.answered is not None:
            call.answered.set()

    def _has_ended(self, request: Takeover, call: "WatchedCall", until: float) -> bool:
        if not request.has_read() and time.monotonic() < until:
            return False
        request.close()
        if call.answered is not None:
            call.answered.set()
        return True


class WatchedCall:
    """One request's use of a volume; its time runs except between `pause` and `resume`."""

    def __init__(self, calls: InlineCalls, volume: str, number: int) -> None:
        self._calls = calls
        self.volume = volume
        self.number = number
        self.request = Takeover()
        #: Made when the request is given up, and set when its caller has the answer.
        self.answered: threading.Event | None = None

    def work(self, size_bytes: int = 0) -> None:
        """Report that a new piece of work begins; one of many bytes may take longer.

        Raises:
            DeadlineExceeded: the request was given up; the caller has its answer.
        """
        self.check()
        self._calls.begin(self, size_bytes / SLOWEST_BYTES_PER_SECOND)

    def pause(self) -> None:
        """Stop the time: what follows waits for the caller, not for the storage.

        Raises:
            DeadlineExceeded: as `work`.
        """
        self._calls.end(self)
        self.check()

    def resume(self) -> None:
        """Let the time run again."""
        self._calls.begin(self, 0.0)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the time during the block; it runs again however the block ends.

        Raises:
            DeadlineExceeded: as `work`.
        """
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def check(self) -> None:
        """Raise when the request was given up, as soon as its caller has the answer.

        Raises:
            DeadlineExceeded: it was given up.
        """
        if self.answered is not None:
            self.answered.wait()
            raise self.error(0)

    def error(self, seconds: float) -> DeadlineExceeded:
        """Return the problem of a request that was given up."""
        within = f" within {seconds:g} s" if seconds else " in time"
        return DeadlineExceeded(
            f"Volume {self.volume} did not answer{within}; try again later.", volume=self.volume
        )
