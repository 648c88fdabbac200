"""Calls to backends, each with a deadline, so that no volume blocks another.

A storage system may hang for hours. Each volume has threads of its own, so a volume that hangs
keeps only those. Its callers get `DeadlineExceeded` (504). While all its threads are stuck, further
callers get `Unavailable` (503) at once. A healthy volume with more calls than threads lets callers
wait for their turn. A call whose caller gave up may still run and may still take effect, as with
any storage that answers late.
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

#: Slow calls to one volume that run at once in one process. Fast calls follow each other on one
#: thread: several threads would only compete for the interpreter's lock.
THREADS_PER_VOLUME = 8
#: A call that takes longer waits for the storage, not for the processor.
SLOW_SECONDS = 0.025
#: Calls to one volume that run or wait, in one process.
CALLS_PER_VOLUME = 48
#: A volume whose threads are all busy for this long is stuck; no caller waits for it.
STUCK_SECONDS = 1.0
#: A thread without work for this long ends.
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
        self._pools: dict[str, _ThreadPool] = {}

    def call(self, volume: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on a thread of the volume; return or raise what it does.

        Raises:
            DeadlineExceeded: no answer in time; the call may still take effect.
            Unavailable: every thread of the volume is stuck; the call was not begun.
        """
        began = time.perf_counter()
        outcome = "error"
        try:
            result = self._call(volume, function, *args, **kwargs)
            outcome = "ok"
        except DeadlineExceeded:
            outcome = "late"
            raise
        except StorageUnavailable:  # the storage answered, with a failure
            raise
        except Unavailable:
            outcome = "busy"
            raise
        finally:
            seconds = time.perf_counter() - began
            metrics.BACKEND_SECONDS.labels(volume, outcome).observe(seconds)
        return result

    def opened(self, volume: str, function: Callable[[], T], close: Callable[[T], object]) -> T:
        """Return what a function opens, as `call` does; what comes too late is closed.

        Raises:
            DeadlineExceeded, Unavailable: as `call`.
        """
        lock = threading.Lock()
        found: list[T] = []
        given_up = False

        def run() -> T:
            result = function()
            with lock:
                found.append(result)
                if given_up:
                    close(result)
            return result

        try:
            return self.call(volume, run)
        except DeadlineExceeded:
            with lock:
                given_up = True
                for late in found:
                    close(late)
            raise

    def _call(self, volume: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        pool = self._pools.get(volume) or self._new_pool(volume)
        context = contextvars.copy_context()
        future = pool.submit(lambda: context.run(function, *args, **kwargs))
        deadline = time.monotonic() + self.seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                return future.result(left if future.running() else min(left, SLOW_SECONDS))  # type: ignore[no-any-return] # the future is of Any, the function of T
            except TimeoutError:
                if future.done():  # just now, or the function itself raised a TimeoutError
                    return future.result()  # type: ignore[no-any-return] # as above
            pool.grow()
            if pool.is_stuck() and future.cancel():
                raise pool.unavailable()
        future.cancel()
        raise DeadlineExceeded(
            f"Volume {volume} did not answer within {self.seconds:g} s; try again later.",
            volume=volume,
        )

    def _new_pool(self, volume: str) -> "_ThreadPool":
        with self._lock:
            return self._pools.setdefault(volume, _ThreadPool(volume, self._threads))


class _ThreadPool:
    """The threads of one volume: started on demand, ended when idle."""

    def __init__(self, volume: str, threads: int) -> None:
        self._volume = volume
        self._threads_max = threads
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._calls = 0
        self._threads = 0
        #: When the call of each busy thread began.
        self._running: dict[int, float] = {}

    def submit(self, function: Callable[[], Any]) -> "Future[Any]":
        """Queue a function for a thread of the volume and return its future.

        Raises:
            Unavailable: all threads are stuck, or too many calls wait already.
        """
        future: Future[Any] = Future()
        stuck = self.is_stuck()
        with self._lock:
            if stuck or self._calls >= CALLS_PER_VOLUME:
                raise self.unavailable()
            self._calls += 1
        self._waiting.put((future, function))
        self.grow()
        return future

    def grow(self) -> None:
        """Start a thread if calls wait and every thread has a slow call."""
        with self._lock:
            began = time.monotonic() - SLOW_SECONDS
            slow = sum(moment < began for moment in list(self._running.values()))
            if self._calls <= self._threads or not slow == self._threads < self._threads_max:
                return
            self._threads += 1
        threading.Thread(target=self._run, name=f"volume {self._volume}", daemon=True).start()

    def is_stuck(self) -> bool:
        """Return whether every thread has been busy with one call for too long."""
        running = list(self._running.values())
        return len(running) >= self._threads_max and (
            max(running) < time.monotonic() - STUCK_SECONDS
        )

    def unavailable(self) -> Unavailable:
        """Return the error for callers of a volume that is stuck."""
        return Unavailable(
            f"Volume {self._volume} does not answer: {self._calls} calls wait for it.",
            volume=self._volume,
        )

    def _run(self) -> None:
        while (item := self._next()) is not None:
            future, function = item
            began = time.monotonic()
            if future.set_running_or_notify_cancel():
                self._finish(future, function)
            else:
                self._release()
            if time.monotonic() - began < SLOW_SECONDS and self._may_end():
                return

    def _may_end(self) -> bool:
        """Return whether this thread may end, because one thread is enough for fast calls."""
        with self._lock:
            if self._threads == 1 or not self._waiting.empty():
                return False
            self._threads -= 1
            return True

    def _release(self) -> None:
        self._running.pop(threading.get_ident(), None)
        with self._lock:
            self._calls -= 1

    def _next(self) -> _Item | None:
        while True:
            try:
                return self._waiting.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if not self._calls:
                        self._threads -= 1
                        return None

    def _finish(self, future: "Future[Any]", function: Callable[[], Any]) -> None:
        self._running[threading.get_ident()] = time.monotonic()
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
            self._release()  # first, so that the caller's next call finds this thread idle
            future.set_exception(error)
        else:
            self._release()
            future.set_result(result)
