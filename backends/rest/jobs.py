"""Waiting for what an array does later: its own jobs."""

import random
from collections.abc import Callable

from backends.rest import deadline

#: The first pause, by how much each is longer than the one before, and the longest.
FIRST_SECONDS = 0.2
GROWTH = 1.6
LONGEST_SECONDS = 5.0


def wait(finished: Callable[[], bool], longest: float = LONGEST_SECONDS) -> None:
    """Ask with growing pauses until it is finished; what an array says that we do not know is not.

    Raises:
        DeadlineExceeded: it is not finished in time; the array goes on by itself.
    """
    pause = FIRST_SECONDS
    while not finished():
        deadline.rest(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads requests, no secret
        pause = min(pause * GROWTH, longest)
