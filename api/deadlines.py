"""Calls to backends, each with a deadline, and no volume in another's way.

A storage system may hang for hours. Each volume has threads of its own, so a hung one keeps at most
its own; the callers get `DeadlineExceeded` (504), and once all its threads hang, `Unavailable`
(503) at once. A call that was given up may still run and may still take effect, as with any
storage that answers late.
"""

import contextvars
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from core import metrics
from core.errors import DeadlineExceeded, Unavailable

#: Calls to one volume that may be under way at once in one process.
THREADS_PER_VOLUME = 16
#: A thread that had nothing to do for this long ends.
IDLE_SECONDS = 60.0

P = ParamSpec("P")
T = TypeVar("T")
_Item = tuple["Future[Any]", Callable[[], Any]]


class Deadlines:
    """Runs calls on the threads of their volume."""

    def __init__(self, timeout_seconds: float, threads: int = THREADS_PER_VOLUME) -> None:
        self._timeout = timeout_seconds
        self._threads = threads
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}

    def call(self, volume: str, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `act` on a thread of the volume and return or raise what it does.

        Raises:
            DeadlineExceeded: no answer in time.
            Unavailable: every thread of the volume is taken.
        """
        began = time.perf_counter()
        outcome = "error"
        try:
            result = self._call(volume, act, *args, **kwargs)
            outcome = "ok"
        except DeadlineExceeded:
            outcome = "late"
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
        try:
            return future.result(self._timeout)  # type: ignore[no-any-return] # the future is of Any, the act of T
        except TimeoutError as error:
            if future.done():  # just now, or the act's own error of the same type
                return future.result()  # type: ignore[no-any-return] # as above
            future.cancel()
            raise DeadlineExceeded(
                f"Volume {volume} did not answer within {self._timeout:g} s; try again later.",
                volume=volume,
            ) from error

    def _new_lane(self, volume: str) -> "_Lane":
        with self._lock:
            return self._lanes.setdefault(volume, _Lane(volume, self._threads))


class _Lane:
    """The threads of one volume: started on demand, ended when idle."""

    def __init__(self, volume: str, limit: int) -> None:
        self._volume = volume
        self._limit = limit
        self._lock = threading.Lock()
        self._todo: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._busy = 0
        self._threads = 0

    def submit(self, act: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        with self._lock:
            if self._busy >= self._limit:
                raise Unavailable(
                    f"Volume {self._volume} is busy: {self._limit} calls wait for its answer.",
                    volume=self._volume,
                )
            self._busy += 1
            grow = self._busy > self._threads
            self._threads += grow
        self._todo.put((future, act))
        if grow:
            threading.Thread(target=self._run, name=f"volume {self._volume}", daemon=True).start()
        return future

    def _run(self) -> None:
        while (item := self._next()) is not None:
            future, act = item
            if future.set_running_or_notify_cancel():
                self._finish(future, act)
            else:
                self._free()

    def _free(self) -> None:
        with self._lock:
            self._busy -= 1

    def _next(self) -> _Item | None:
        while True:
            try:
                return self._todo.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._threads > self._busy:
                        self._threads -= 1
                        return None

    def _finish(self, future: "Future[Any]", act: Callable[[], Any]) -> None:
        try:
            result = act()
        except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
            self._free()  # first, so that the caller's next call finds this thread free
            future.set_exception(error)
        else:
            self._free()
            future.set_result(result)
