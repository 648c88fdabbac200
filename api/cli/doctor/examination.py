"""The examining process from outside: started, read, and killed when a check does not end.

Only that process touches the volume. A storage that hangs can hold it for hours; it is then left
behind, and this process ends all the same.
"""

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from api.cli.doctor.results import CheckResult, Order, ProgressLine, encoded

#: A killed process whose call to the storage hangs is not waited for longer (seconds).
_KILL_SECONDS = 2.0
#: Before its first check the process imports and reads files (seconds).
_START_SECONDS = 60.0
_CHUNK = 1 << 16
_decoder = msgspec.json.Decoder(ProgressLine)


class Hung(Exception):
    """A check did not end in time; `check` names it."""

    def __init__(self, check: str) -> None:
        super().__init__(check)
        self.check = check


class Died(Exception):
    """The process ended amid a check, or before the first one."""

    def __init__(self, check: str, status: int | None) -> None:
        super().__init__(check)
        self.check, self.status = check, status


def examine(order: Order, seconds: float, begins: Callable[[str], None]) -> Iterator[CheckResult]:
    """Start the process; yield each result as it comes.

    Args:
        order: what to do.
        seconds: how long one check may take.
        begins: called with the name of each check that begins.

    Raises:
        Hung: a check takes longer; the process was killed.
        Died: the process ended before its time.
    """
    current = ""
    with _running(order) as process:
        for line in _lines(process, seconds):
            if line is None:
                raise Hung(current)
            current = line.check if line.result is None else ""
            if line.result is None:
                begins(line.check)
            else:
                yield line.result
        status = process.wait()
    if status:
        raise Died(current, status)


@contextmanager
def _running(order: Order) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the process in a session of its own, so that Ctrl-C reaches this process only."""
    command = [sys.executable, "-m", "api.cli.doctor.examiner", encoded(order).decode()]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_SECONDS)
        if process.stdout is not None:
            process.stdout.close()


def _lines(process: "subprocess.Popen[bytes]", seconds: float) -> Iterator[ProgressLine | None]:
    """Yield the lines of the process until it closes its output; None when none came in time."""
    assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
    pipe, rest = process.stdout.fileno(), b""
    deadline = time.monotonic() + max(seconds, _START_SECONDS)
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            yield None
            return
        chunk = os.read(pipe, _CHUNK)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield _decoder.decode(line)
        deadline = time.monotonic() + seconds
