"""The examining process from outside: started, read, and killed when a check does not end.

Only that process touches the volume. A storage that hangs can hold it for hours; it is then left
behind, and this process ends all the same.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import msgspec

from api.cli.doctor.results import CheckResult, Order, ProgressLine
from core.process import request_end_with_parent

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


class _Process:
    """The examining process: a fork of this one, which has imported half of the code already."""

    def __init__(self, order: Order) -> None:
        self.pipe, theirs = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _become_examiner(order, theirs)
        os.close(theirs)
        self._ending = os.pidfd_open(self._pid)

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for its end, and return its exit status; None when it still runs."""
        if not select.select([self._ending], [], [], seconds)[0]:
            return None
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def end(self) -> None:
        """Kill it, where it runs; one that the storage holds is left behind."""
        with suppress(ProcessLookupError):  # it was waited for
            signal.pidfd_send_signal(self._ending, signal.SIGKILL)
            self.wait(_KILL_SECONDS)
        os.close(self._ending)
        os.close(self.pipe)


def _become_examiner(order: Order, out: int) -> NoReturn:
    """Carry out the order in this fork, in a session of its own, which Ctrl-C does not reach."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        request_end_with_parent()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):  # what else prints does not spoil the lines
            os.dup2(nowhere, standard)
        from api.cli.doctor.examiner import Examiner  # noqa: PLC0415 - the command needs no backend

        with os.fdopen(out, "wb") as lines:
            Examiner(order, lines).run()
        status = 0
    finally:
        os._exit(status)


@contextmanager
def _running(order: Order) -> Iterator[_Process]:
    process = _Process(order)
    try:
        yield process
    finally:
        process.end()


def _lines(process: _Process, seconds: float) -> Iterator[ProgressLine | None]:
    """Yield the lines of the process until it closes its output; None when none came in time."""
    pipe, rest = process.pipe, b""
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
