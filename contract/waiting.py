"""Waits for results that storage reports late."""

from collections.abc import Callable
from time import monotonic, sleep

PATIENCE_SECONDS = 120
POLL_SECONDS = 0.02


def eventually(holds: Callable[[], bool]) -> None:
    """Poll until the condition is true."""
    end = monotonic() + PATIENCE_SECONDS
    while not holds():
        assert monotonic() < end, "it never held"
        sleep(POLL_SECONDS)
