"""The clock of a file system: nodes and servers may each have another time."""

import os
import time

#: A clock that stands still for this long (seconds) has coarse times: do not wait for its next.
PATIENCE_SECONDS = 0.05
_PAUSE_SECONDS = 0.001


def ticked_ns(directory: int) -> int:
    """Return a moment of a file system's clock that is later than all changes before the call.

    In nanoseconds. Sets the times of the open directory, again and again until the clock moves:
    some milliseconds. Where it stands still longer, changes of the present tick count as later.

    Raises:
        OSError: the directory's times cannot be set.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    first = _touched(directory)
    while (now := _touched(directory)) == first and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    return now


def _touched(directory: int) -> int:
    os.utime(directory)
    return os.fstat(directory).st_ctime_ns
