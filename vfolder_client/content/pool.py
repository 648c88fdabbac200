"""Work that several threads share, which ends as one."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from vfolder_client.errors import TransferBroken

T = TypeVar("T")
#: Pieces of work that wait, for each thread: a tree of any size needs no more memory.
_WAITING_EACH = 4


class Stop:
    """Says to all threads of a piece of work that it has ended."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """End the work."""
        self._event.set()

    def check(self) -> None:
        """Raise when the work has ended.

        Raises:
            TransferBroken: another part of it failed.
        """
        if self._event.is_set():
            raise TransferBroken("Another part of the transfer failed.")


def for_each(items: Iterable[T], work: Callable[[T, Stop], object], parallel: int) -> None:
    """Do the work for each item, in `parallel` threads.

    The first error ends all of it: no thread is left when this returns or raises.
    """
    stop = Stop()
    waiting: set[Future[object]] = set()
    with ThreadPoolExecutor(max(1, parallel), "vfolder-transfer") as pool:
        try:
            for item in items:
                waiting.add(pool.submit(work, item, stop))
                while len(waiting) >= parallel * _WAITING_EACH:
                    waiting = _some_ended(waiting)
            while waiting:
                waiting = _some_ended(waiting)
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _some_ended(waiting: set[Future[object]]) -> set[Future[object]]:
    ended, rest = wait(waiting, return_when=FIRST_COMPLETED)
    for future in ended:
        future.result()
    return rest
