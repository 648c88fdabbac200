"""Wait for the asynchronous jobs of an array."""

import random
from collections.abc import Callable

from backends.mounted.rest import deadline

#: The first pause, by how much each is longer than the one before, and the longest.
FIRST_SECONDS = 0.2
GROWTH = 1.6
LONGEST_SECONDS = 5.0


def wait(finished: Callable[[], bool], longest: float = LONGEST_SECONDS) -> None:
    """Poll with growing pauses until the job has ended; unknown states count as running.

    Raises:
        DeadlineExceeded: the job has not ended in time; it continues on the array.
    """
    pause = FIRST_SECONDS
    while not finished():
        deadline.rest(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads requests, no secret
        pause = min(pause * GROWTH, longest)
