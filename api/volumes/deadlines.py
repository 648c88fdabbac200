"""Calls to backends, each with a deadline, and no volume in another's way.

A storage system may hang for hours. Each volume has threads of its own, so a hung one keeps only
those; its callers get `DeadlineExceeded` (504), and while its threads are stuck nobody waits for
them: `Unavailable` (503) at once. A healthy volume that is asked more than its threads can do lets
callers wait for their turn. A call that was given up may still run and may still take effect, as
with any storage that answers late.
"""

import contextvars
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from core.errors import DeadlineExceeded, StorageUnavailable, Unavailable
from core.telemetry import metrics

#: Calls to one volume that are under way at once in one process, when they are slow. Fast ones
#: follow each other on one thread: several would only fight for the interpreter's lock.
THREADS_PER_VOLUME = 8
#: A call that takes longer waits for the storage, not for the processor.
SLOW_SECONDS = 0.025
#: Calls to one volume that are under way or wait, in one process.
CALLS_PER_VOLUME = 48
#: A volume whose threads are all busy this long is stuck, and nobody waits for it.
STUCK_SECONDS = 1.0
#: A thread that had nothing to do for this long ends.
IDLE_SECONDS = 60.0

P = ParamSpec("P")
T = TypeVar("T")
_Item = tuple["Future[Any]", Callable[[], Any]]


class Deadlines:
    """Runs calls on the threads of their volume."""

    def __init__(self, timeout_seconds: float, threads: int = THREADS_PER_VOLUME) -> None:
        #: How long a call may take.
        self.seconds = timeout_seconds
        self._threads = threads
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}

    def call(self, volume: str, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `act` on a thread of the volume and return or raise what it does.

        Raises:
            DeadlineExceeded: no answer in time.
            Unavailable: every thread of the volume is stuck.
        """
        return self.observed(volume, lambda: self._call(volume, act, *args, **kwargs))

    @staticmethod
    def observed(volume: str, call: Callable[[], T]) -> T:
        """Do a call and count how it went."""
        began = time.perf_counter()
        outcome = "error"
        try:
            result = call()
            outcome = "ok"
        except DeadlineExceeded:
            outcome = "late"
            raise
        except StorageUnavailable:
            raise
        except Unavailable:
            outcome = "busy"
            raise
        finally:
            seconds = time.perf_counter() - began
            metrics.BACKEND_SECONDS.labels(volume, outcome).observe(seconds)
        return result

    def _call(self, volume: str, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        lane = self._lanes.get(volume) or self._new_lane(volume)
        context = contextvars.copy_context()
        future = lane.submit(lambda: context.run(act, *args, **kwargs))
        deadline = time.monotonic() + self.seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                return future.result(left if future.running() else min(left, SLOW_SECONDS))  # type: ignore[no-any-return] # the future is of Any, the act of T
            except TimeoutError:
                if future.done():  # just now, or the act's own error of the same type
                    return future.result()  # type: ignore[no-any-return] # as above
            lane.grow()
            if lane.is_stuck() and future.cancel():
                raise lane.refusal()
        future.cancel()
        raise DeadlineExceeded(
            f"Volume {volume} did not answer within {self.seconds:g} s; try again later.",
            volume=volume,
        )

    def _new_lane(self, volume: str) -> "_Lane":
        with self._lock:
            return self._lanes.setdefault(volume, _Lane(volume, self._threads))


class _Lane:
    """The threads of one volume: started on demand, ended when idle."""

    def __init__(self, volume: str, threads: int) -> None:
        self._volume = volume
        self._threads_max = threads
        self._lock = threading.Lock()
        self._todo: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._calls = 0
        self._threads = 0
        self._running: dict[int, float] = {}

    def submit(self, act: Callable[[], Any]) -> "Future[Any]":
        """Have the act run on a thread of the volume.

        Raises:
            Unavailable: all of them are stuck, or too many wait already.
        """
        future: Future[Any] = Future()
        stuck = self.is_stuck()
        with self._lock:
            if stuck or self._calls >= CALLS_PER_VOLUME:
                raise self.refusal()
            self._calls += 1
        self._todo.put((future, act))
        self.grow()
        return future

    def grow(self) -> None:
        """Start a thread if calls wait and all threads there are have slow ones at work."""
        with self._lock:
            began = time.monotonic() - SLOW_SECONDS
            slow = sum(moment < began for moment in list(self._running.values()))
            if self._calls <= self._threads or not slow == self._threads < self._threads_max:
                return
            self._threads += 1
        threading.Thread(target=self._run, name=f"volume {self._volume}", daemon=True).start()

    def is_stuck(self) -> bool:
        """Whether every thread has been busy with one call for too long."""
        running = list(self._running.values())
        return len(running) >= self._threads_max and (
            max(running) < time.monotonic() - STUCK_SECONDS
        )

    def refusal(self) -> Unavailable:
        """What callers are told while the volume is stuck."""
        return Unavailable(
            f"Volume {self._volume} does not answer: {self._calls} calls wait for it.",
            volume=self._volume,
        )

    def _run(self) -> None:
        while (item := self._next()) is not None:
            future, act = item
            began = time.monotonic()
            if future.set_running_or_notify_cancel():
                self._finish(future, act)
            else:
                self._free()
            if time.monotonic() - began < SLOW_SECONDS and self._leave():
                return

    def _leave(self) -> bool:
        """Whether this thread may end, because one is enough for fast calls."""
        with self._lock:
            if self._threads == 1 or not self._todo.empty():
                return False
            self._threads -= 1
            return True

    def _free(self) -> None:
        self._running.pop(threading.get_ident(), None)
        with self._lock:
            self._calls -= 1

    def _next(self) -> _Item | None:
        while True:
            try:
                return self._todo.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if not self._calls:
                        self._threads -= 1
                        return None

    def _finish(self, future: "Future[Any]", act: Callable[[], Any]) -> None:
        self._running[threading.get_ident()] = time.monotonic()
        try:
            result = act()
        except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
            self._free()  # first, so that the caller's next call finds this thread free
            future.set_exception(error)
        else:
            self._free()
            future.set_result(result)
