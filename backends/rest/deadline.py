"""One end for everything a call does: requests, pauses, waiting for the array's own jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic, sleep

from core.errors import DeadlineExceeded

_end: ContextVar[float | None] = ContextVar("end", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Everything in the block ends within so many seconds; an outer, earlier end stays."""
    outer, end = _end.get(), monotonic() + seconds
    token = _end.set(end if outer is None else min(end, outer))
    try:
        yield
    finally:
        _end.reset(token)


def left() -> float:
    """Seconds until the end; never none.

    Raises:
        DeadlineExceeded: the end has come.
    """
    end = _end.get()
    if end is None:
        raise LookupError("no deadline was set")
    rest = end - monotonic()
    if rest <= 0:
        raise DeadlineExceeded("The storage system did not answer in time.")
    return rest


def rest(seconds: float) -> None:
    """Pause, but never past the end.

    Raises:
        DeadlineExceeded: the pause would.
    """
    if left() <= seconds:
        raise DeadlineExceeded("The storage system did not answer in time.")
    sleep(seconds)
