"""One deadline for everything that a call does: requests, pauses, jobs of the array."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic, sleep

from core.errors import DeadlineExceeded

_end: ContextVar[float | None] = ContextVar("end", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Set a deadline for the block, in seconds from now; an earlier outer deadline stays."""
    outer, end = _end.get(), monotonic() + seconds
    token = _end.set(end if outer is None else min(end, outer))
    try:
        yield
    finally:
        _end.reset(token)


def left() -> float:
    """Return the seconds until the deadline, always more than zero.

    Raises:
        DeadlineExceeded: the deadline has passed.
    """
    end = _end.get()
    if end is None:
        raise LookupError("no deadline was set")
    rest = end - monotonic()
    if rest <= 0:
        raise DeadlineExceeded("The storage system did not answer in time.")
    return rest


def rest(seconds: float) -> None:
    """Sleep, but never past the deadline.

    Raises:
        DeadlineExceeded: the pause would end after the deadline.
    """
    if left() <= seconds:
        raise DeadlineExceeded("The storage system did not answer in time.")
    sleep(seconds)
