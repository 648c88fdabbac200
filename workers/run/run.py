"""One run of a job: its lease, its control, its progress.

The heartbeat thread renews the lease every fifth of it. Before each effect the work asks `check`:
past the local deadline nothing happens until a renewal succeeds, so a run that was frozen (SIGSTOP,
swap, a hung store) never acts after another may have taken over. A run whose lease has passed
unrenewed stops: held by a node that is cut off, the fence would keep every other node from the job.

Watchers are told by a thread of their own: their broker may hang as long as it likes.
"""

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import redis

from backends.tree import Throttle
from core.cluster import boot_clock
from core.jobs import Cancelled, Counter, Interrupted, Job, LeaseLost, Progress, Released
from core.jobs.store import JobStore
from core.redis import json
from core.telemetry import logger
from workers.run.node_signals import DRAIN, Drain

_log = logger(__name__)

#: Renew the lease this often in its length.
RENEWALS_PER_LEASE = 5
#: Act only while this share of the lease has not passed since the last renewal was asked.
SAFE_SHARE = 0.8
#: The first look at progress comes this soon, so that short jobs show some.
FIRST_BEAT_SECONDS = 0.5
#: While the store is away, ask again this often.
RETRY_SECONDS = 0.5
#: A stopped run looks this often whether it may go on.
WAIT_SECONDS = 0.05

#: Watchers are told this often, and of a short job's beginning soon.
TELL_SECONDS = 2.0
#: The end of a run waits so long for a telling under way.
LAST_WORD_SECONDS = 2.0

#: Told the progress, as `Progress.snapshot` gives it.
Teller = Callable[[dict[str, Any]], None]


class Run:
    """The right to work on a job, and the `Control` handed to engines."""

    def __init__(
        self,
        store: JobStore,
        job: Job,
        lease_seconds: float,
        *,
        name: str = "",
        drain: Drain = DRAIN,
    ) -> None:
        self.id = name or new_run_id()
        self.job = job
        self.progress = Progress()
        self._store = store
        self._lease = lease_seconds
        self._drain = drain
        self._renewed = boot_clock()
        self._ending: Interrupted | None = None
        self._final = False
        self._cleaning = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._teller: threading.Thread | None = None
        self.throttle = Throttle(int(job.fields.get("share") or 0))
        self._entries_per_second = 0.0
        self.on_fault: Callable[[str, str], None] | None = None
        self.on_expect: Callable[[int | None, int | None], None] | None = None

    def start(self, tell: Teller | None = None) -> None:
        """Begin to renew; the lease was taken by the claim just before."""
        self._renewed = boot_clock()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()
        if tell is not None:
            self._teller = threading.Thread(target=self._tell, args=(tell,), daemon=True)
            self._teller.start()

    def stop(self) -> None:
        """Stop renewing; returns when no beat is under way any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._teller is not None:
            self._teller.join(LAST_WORD_SECONDS)

    def close(self) -> None:
        """Give back what helpers shared; call it once they are gone."""
        self.throttle.close()

    # -- Control -----------------------------------------------------------------------------------
    def check(self) -> None:
        """See `Control.check`; blocks while the lease is not known to hold.

        Raises:
            Cancelled, Released, LeaseLost: what the store or the node says.
        """
        while True:
            if self._ending is not None and not (self._cleaning and not self._is_lost()):
                raise self._ending
            if self._drain.is_active and not self._final:
                raise Released("drained")
            silent = boot_clock() - self._renewed
            if silent < self._lease * SAFE_SHARE:
                return
            if silent > self._lease:
                self._ending = LeaseLost("the lease ended unrenewed")
            self._stop.wait(WAIT_SECONDS)

    def _is_lost(self) -> bool:
        return isinstance(self._ending, LeaseLost)

    def phase(self, name: str) -> None:
        """See `Control.phase`."""
        self.progress.phase(name)

    def expect(self, items: int | None = None, size_bytes: int | None = None) -> None:
        """See `Control.expect`; whoever asked to hear of it may refuse by raising."""
        if self.on_expect is not None:
            self.on_expect(items, size_bytes)
        self.progress.expect(items, size_bytes)

    def count(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        """See `Control.count`."""
        self.progress.count(counter, items, size_bytes)

    def entry(self, path: str) -> None:
        """See `Control.entry`."""
        self.progress.entry(path)

    def fault(self, path: str, reason: str) -> None:
        """See `Control.fault`."""
        self.progress.fault(path, reason)
        if self.on_fault is not None:
            self.on_fault(path, reason)

    # -- Points of the job's life ------------------------------------------------------------------
    def point_of_no_return(self) -> None:
        """From here on the job is not cancelled; tells the store first, and fails if it cannot.

        Raises:
            Cancelled, Released, LeaseLost: somebody was faster.
        """
        self.check()
        while not self._renew(final=True):
            self.check()
            self._stop.wait(WAIT_SECONDS)
        self.check()
        self._final = True

    def begin_cleaning(self) -> None:
        """A cancelled run may go on to remove what never became visible."""
        self._cleaning = True

    def hold_back(self, entries_per_second: float) -> None:
        """From here on touch no more entries per second than this; 0 does not hold back."""
        self._entries_per_second = entries_per_second
        self.throttle.set(self.throttle.limits[0], entries_per_second)

    def snapshot(self) -> str:
        """Progress as JSON."""
        return json.dumps(self.progress.snapshot())

    # -- Renewal -----------------------------------------------------------------------------------
    def _beat(self) -> None:
        pause = min(FIRST_BEAT_SECONDS, self._lease / RENEWALS_PER_LEASE)
        while not self._stop.wait(pause):
            pause = self._lease / RENEWALS_PER_LEASE
            if not self._renew():
                pause = min(RETRY_SECONDS, pause)
            if self._is_lost():
                return

    def _tell(self, tell: Teller) -> None:
        pause = FIRST_BEAT_SECONDS
        while not self._stop.wait(pause):
            tell(self.progress.snapshot())
            pause = TELL_SECONDS

    def _renew(self, *, final: bool = False) -> bool:
        asked = boot_clock()
        try:
            answer = self._store.heartbeat(
                self.job, self.id, self._lease, self.snapshot(), final=final
            )
        except redis.RedisError as error:
            _log.warning("lease not renewed", reason=type(error).__name__)
            return False
        if answer is None:
            self._ending = LeaseLost("another run may own the job")
            return True
        cancel, pause, bandwidth = answer
        self.throttle.set(bandwidth or 0, self._entries_per_second)
        self._renewed = asked
        if self._ending is None and not self._final:
            self._ending = (
                Cancelled("cancelled") if cancel else Released("paused") if pause else None
            )
        return True


def new_run_id() -> str:
    """A random name of a run: a counter could repeat after the store lost its last second."""
    return uuid4().hex
