"""One run of a job: its lease, its control, its progress.

The heartbeat thread renews the lease every fifth of it. Before each effect the verb calls `check`.
Past the local deadline it blocks until a renewal succeeds. So a run that was frozen (SIGSTOP, swap,
a hung store) does nothing after another run may have taken the job. A run whose lease has ended
unrenewed stops: on a node that is cut off, its fence would keep every other node from the job.

A thread of its own publishes the progress to watchers, because their broker may hang.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import redis

from backends.tree import Throttle
from core.cluster import boot_clock
from core.jobs import (
    Cancelled,
    Counter,
    Interrupted,
    Job,
    JobSummary,
    LeaseLost,
    Progress,
    Released,
    summary,
)
from core.jobs.store import JobStore, PurgeRates
from core.redis import json, retrying
from core.telemetry import logger
from workers.run.node_signals import DRAIN, Drain

_log = logger(__name__)

#: Renewals per lease.
RENEWALS_PER_LEASE = 5
#: Effects are allowed until this share of the lease has passed since the last renewal was sent.
SAFE_SHARE = 0.8
#: Seconds until the first progress, so that short jobs show some.
FIRST_BEAT_SECONDS = 0.5
#: Seconds between two renewals while the store is away.
RETRY_SECONDS = 0.5
#: The longest pause between two calls of a verb to a store that is away (seconds).
STORE_PAUSE_MAX_SECONDS = 1.0
#: A blocked run checks this often whether it may continue (seconds).
WAIT_SECONDS = 0.05

#: Seconds between two publications of the progress.
PUBLISH_SECONDS = 2.0
#: The end of a run waits this long for a publication in progress (seconds).
LAST_PUBLICATION_SECONDS = 2.0

T = TypeVar("T")

#: Publishes the progress, as `Progress.snapshot` returns it.
ProgressPublisher = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Purges:
    """Where a run purges, and its limit where the volume has no purge rate."""

    rates: PurgeRates
    volume: str
    without_rate: float

    def limit(self, job: str, lease_seconds: float) -> float:
        """Return the present limit (entries per second)."""
        share = self.rates.share(job, self.volume, lease_seconds)
        return self.without_rate if share is None else share


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
        claimed_at: float | None = None,
    ) -> None:
        """Take over a claimed job; `claimed_at` is the boot clock when the claim was sent."""
        self.id = name or new_run_id()
        self.job = job
        former = job.member("progress") or {}
        self.progress = Progress(percent=former.get("percent"), continues=self.may_continue)
        self._store = store
        self._lease = lease_seconds
        self._drain = drain
        self._renewed = boot_clock() if claimed_at is None else claimed_at
        self._ending: Interrupted | None = None
        self._final = False
        self._cleaning = False
        self._waits_past_lease = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._publisher_thread: threading.Thread | None = None
        self.throttle = Throttle(int(job.fields.get("share") or 0))
        self._entries_per_second = 0.0
        self._purges: _Purges | None = None
        self.on_fault: Callable[[str, str], None] | None = None

    def start(self, publish: ProgressPublisher | None = None) -> None:
        """Start to renew the lease that the claim took."""
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()
        if publish is not None:
            self._publisher_thread = threading.Thread(
                target=self._publish, args=(publish,), daemon=True
            )
            self._publisher_thread.start()

    def stop(self) -> None:
        """Stop renewing; return when no renewal is in progress any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._publisher_thread is not None:
            self._publisher_thread.join(LAST_PUBLICATION_SECONDS)

    def close(self) -> None:
        """Release what helper processes shared; call it after they have ended."""
        self.throttle.close()

    # -- Control -----------------------------------------------------------------------------------
    def check(self) -> None:
        """See `Control.check`; block while the lease may have ended.

        Raises:
            Cancelled, Released, LeaseLost: the store or the node ends the run.
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
        """See `Control.expect`."""
        self.progress.expect(items, size_bytes)

    def weigh(self, weights: Mapping[str, float]) -> None:
        """See `Progress.weigh`."""
        self.progress.weigh(weights)

    def count(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        """See `Control.count`."""
        self.progress.count(counter, items, size_bytes)

    def entry(self, path: str) -> None:
        """See `Control.entry`."""
        self.progress.entry(path)

    def wait(self, what: str) -> None:
        """See `Control.wait`."""
        self.progress.wait(what)

    def fault(self, path: str, reason: str) -> None:
        """See `Control.fault`."""
        self.progress.fault(path, reason)
        if self.on_fault is not None:
            self.on_fault(path, reason)

    @property
    def may_continue(self) -> bool:
        """Whether an earlier attempt of the job may have done what this one finds done."""
        return self.job.attempt > 1

    @property
    def passed_no_return(self) -> bool:
        """Whether an earlier attempt of the job passed the point of no return."""
        return self.job.fields.get("final") == "1"

    def patiently(self, call: Callable[[], T]) -> T:
        """Call the store; while it is away or refuses, call again for as long as the lease allows.

        The call must be one that may run twice.

        Raises:
            Cancelled, Released, LeaseLost: the store or the node ends the run.
        """

        def wait(error: BaseException) -> None:
            _log.warning("verb waits for the store", reason=type(error).__name__)
            if not self._waits_past_lease:
                self.check()

        tries = retrying(
            first_pause_seconds=WAIT_SECONDS,
            longest_pause_seconds=STORE_PAUSE_MAX_SECONDS,
            on_wait=wait,
        )
        return tries(call)

    @contextmanager
    def waiting_past_lease(self) -> Iterator[None]:
        """Let `patiently` wait without limit in this block: for a fact that no later run can learn.

        The block may change nothing on a volume.
        """
        self._waits_past_lease = True
        try:
            yield
        finally:
            self._waits_past_lease = False

    # -- Points of the job's life ------------------------------------------------------------------
    def point_of_no_return(self) -> None:
        """Mark in the store that the job cannot be cancelled any more; block until it is marked.

        Raises:
            Cancelled, Released, LeaseLost: the run was ended before.
        """
        self.check()
        while not self._renew(final=True):
            self.check()
            self._stop.wait(WAIT_SECONDS)
        self.check()
        self._final = True

    def begin_cleaning(self) -> None:
        """Let a cancelled run continue, to remove what it staged."""
        self._cleaning = True

    def hold_back(self, volume: str, entries_per_second: float) -> None:
        """Limit the entries per second that the run purges on a volume from now on.

        It has its share of the volume's purge rate, as operators set it; without one, or before the
        store answers, the given limit. 0 sets no limit.
        """
        self._entries_per_second = entries_per_second
        self._purges = _Purges(PurgeRates(self._store.redis), volume, entries_per_second)
        self._follow_purge_rate()

    def _follow_purge_rate(self) -> None:
        """Take over the present share of a run that purges; while the store is away it stays."""
        if self._purges is None:
            return
        try:
            self._entries_per_second = self._purges.limit(self.job.id, self._lease)
        except redis.RedisError as error:
            _log.warning("purge rate kept as it was", reason=type(error).__name__)
        self.throttle.set(self.throttle.limits[0], self._entries_per_second)

    def snapshot(self) -> str:
        """Return the progress as JSON."""
        return json.dumps(self.progress.snapshot())

    def last_snapshot(self, whole: JobSummary | None = None) -> str:
        """Return the progress at the end of the job as JSON."""
        return json.dumps(self.progress.final(whole))

    def summary(self, done: str, *amounts: str, size_bytes: int | None = None) -> str:
        """Return the sentence of the job's end; without a time when earlier attempts took some."""
        return summary(done, amounts, self.progress.seconds, size_bytes)

    # -- Renewal -----------------------------------------------------------------------------------
    def _beat(self) -> None:
        pause = min(FIRST_BEAT_SECONDS, self._lease / RENEWALS_PER_LEASE)
        while not self._stop.wait(pause):
            pause = self._lease / RENEWALS_PER_LEASE
            if not self._renew():
                pause = min(RETRY_SECONDS, pause)
            if self._is_lost():
                return

    def _publish(self, publish: ProgressPublisher) -> None:
        pause = FIRST_BEAT_SECONDS
        while not self._stop.wait(pause):
            publish(self.progress.snapshot())
            pause = PUBLISH_SECONDS

    def _renew(self, *, final: bool = False) -> bool:
        sent_at = boot_clock()
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
        self._renewed = sent_at
        if self._ending is None and not self._final:
            self._ending = (
                Cancelled("cancelled") if cancel else Released("paused") if pause else None
            )
        self._follow_purge_rate()
        return True


def new_run_id() -> str:
    """Return a random run id: a counter could repeat after the store lost its last second."""
    return uuid4().hex
