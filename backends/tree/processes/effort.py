"""How hard helpers work: their number, their priority, and limits that can change meanwhile."""

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backends.tree.fast import DEFAULT_LOOPS, Loops

#: Most helpers used when the caller sets no number.
HELPERS_MAX = 4

#: How far work may run ahead of the limit before it pauses, in seconds.
AHEAD_SECONDS = 0.1
#: Longest pause before a helper reads the limits again, in seconds.
PAUSE_SECONDS = 0.1

_LIMITS = struct.Struct("dd")
#: Two points in time, and the limits at which the work before them was priced.
_DUE = struct.Struct("dddd")


class Throttle:
    """Limits on bytes and operations per second that a parent and all its helpers share.

    0 means no limit. A throttle must exist before the helpers start. Its state is two rates and two
    points in time at which all work granted so far is paid for (the generic cell rate algorithm).
    What is not paid when a limit changes costs the new price. The state is in memory that fork(2)
    shares.
    """

    def __init__(self, bytes_per_second: float = 0, operations_per_second: float = 0) -> None:
        self._memory = mmap.mmap(-1, _LIMITS.size + _DUE.size)
        self.fd = os.memfd_create("throttle")
        self.set(bytes_per_second, operations_per_second)

    def set(self, bytes_per_second: float = 0, operations_per_second: float = 0) -> None:
        """Change the limits; helpers follow within `PAUSE_SECONDS`."""
        _LIMITS.pack_into(self._memory, 0, bytes_per_second, operations_per_second)

    @property
    def limits(self) -> tuple[float, float]:
        """Bytes and operations per second; 0 means no limit."""
        size_bytes, operations = _LIMITS.unpack_from(self._memory, 0)
        return size_bytes, operations

    def pace(self, operations: int, size_bytes: int, stop: bytearray) -> None:
        """Charge work just done, and pause for as long as it was too fast.

        Returns sooner once `stop` is set.
        """
        limits = self.limits
        if not any(limits):
            return
        due = self._charge(limits, (size_bytes, operations))
        while (wait := due - AHEAD_SECONDS - time.monotonic()) > 0 and self.limits == limits:
            if stop[0]:
                return
            time.sleep(min(wait, PAUSE_SECONDS))

    def at_once(self, most: int) -> int:
        """Return how many operations may be done before a pause: 1 to `most`."""
        limit = self.limits[1]
        return max(1, min(most, int(limit * AHEAD_SECONDS))) if limit else most

    def close(self) -> None:
        """Free the shared memory."""
        self._memory.close()
        os.close(self.fd)

    def _charge(self, limits: tuple[float, float], amounts: tuple[int, int]) -> float:
        """Add the price of some work in seconds and return the time when all is paid."""
        now = time.monotonic()
        with self._locked():
            *paid, former_bytes, former_operations = _DUE.unpack_from(self._memory, _LIMITS.size)
            former = former_bytes, former_operations
            due = [
                now + max(0.0, at - now) * price / limit + amount / limit if limit else 0.0
                for at, price, amount, limit in zip(paid, former, amounts, limits, strict=True)
            ]
            _DUE.pack_into(self._memory, _LIMITS.size, *due, *limits)
        return max(due)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude the other processes (POSIX record locks belong to processes, not to files)."""
        fcntl.lockf(self.fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)


@dataclass(frozen=True, slots=True)
class Effort:
    """How to work: number of helpers (None: by cores), nice value, idle I/O class, limits, loops.

    Helpers keep the descriptors of `fence` open. A lock on one of them is held until the last
    helper has ended, however it ends.
    """

    helpers: int | None = None
    nice: int = 0
    idle_io: bool = False
    throttle: Throttle | None = None
    loops: Loops = DEFAULT_LOOPS
    fence: tuple[int, ...] = ()

    def descriptors(self) -> list[int]:
        """Return the descriptors that helpers must keep open for it."""
        return [*self.fence, *([self.throttle.fd] if self.throttle else [])]

    def count(self) -> int:
        """Return how many helpers to use."""
        return max(1, self.helpers or min(HELPERS_MAX, len(os.sched_getaffinity(0))))


DEFAULT_EFFORT = Effort()
