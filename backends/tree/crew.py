"""Forked helper processes that work on batches while the parent stays answerable.

A job's process never touches the storage itself: its helpers do, so a hung mount, a nice value or
a umask never reach it, and it asks `control.check()` every `TICK_SECONDS` whatever they are doing.
Helpers are children made by fork(2) (a Celery prefork child may not use `multiprocessing`), hold
only the descriptors they need, die with their parent (PR_SET_PDEATHSIG) and may be killed at any
instruction: every engine is written to survive that.
"""

import os
import select
import signal
import socket
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from backends.tree.channel import RECEIVE_BYTES, Message, Voice, pack, receive, unpack
from backends.tree.effort import Effort, settle_in
from core.control import Control, Counter
from core.errors import BackendFailed, Defect, NoSpace, QuotaExceeded, StorageError

#: How often the parent asks its control, in seconds.
TICK_SECONDS = 0.05
#: How long work must last before the next helper is made for it, in seconds.
HIRE_SECONDS = 0.004
#: How long a killed helper may take to go before it is left to the kernel, in seconds.
REAP_SECONDS = 10.0
REAP_PAUSE_SECONDS = 0.001
#: Batches handed to one helper at a time: one at work, one waiting.
BATCHES_AHEAD = 2


Work = Callable[[Message, Voice], Message]


@dataclass(slots=True)
class _Helper:
    pid: int
    channel: socket.socket
    busy: int = 0
    outgoing: bytearray = field(default_factory=bytearray)
    incoming: bytearray = field(default_factory=bytearray)

    def send(self, message: Message) -> None:
        self.outgoing += pack(message)
        self.busy += 1
        self.push()

    def push(self) -> None:
        try:
            while self.outgoing:
                del self.outgoing[: self.channel.send(self.outgoing)]
        except BlockingIOError:
            return
        except ConnectionError:
            self.outgoing.clear()  # it is gone; what it said last is still to be read

    def messages(self) -> list[Message]:
        """Read what has come; EOF is told as the message `("gone",)`."""
        try:
            chunk = self.channel.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return []
        except ConnectionError:
            chunk = b""
        if not chunk:
            return [("gone",)]
        self.incoming += chunk
        return unpack(self.incoming)


class Crew:
    """Up to `size` helpers that all do `work` on batches; made when there is work for them.

    Leaving the `with` block kills and reaps them, whatever they are doing.
    """

    def __init__(
        self,
        work: Work,
        control: Control,
        *,
        effort: Effort,
        size: int,
        keep_fds: Sequence[int] = (),
    ) -> None:
        self._work = work
        self._control = control
        self._effort = effort
        self._size = size
        self._keep = [*keep_fds, *effort.descriptors()]
        self._helpers: list[_Helper] = []
        self._poll = select.poll()
        self._hire_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for helper in self._helpers:
            os.kill(helper.pid, signal.SIGKILL)
        deadline = time.monotonic() + REAP_SECONDS
        for helper in self._helpers:
            helper.channel.close()
            _reap(helper.pid, deadline)
        self._helpers.clear()

    def run(
        self,
        take: Callable[[], Message | None],
        settle: Callable[[Message], None],
        until: float | None = None,
    ) -> bool:
        """Hand out what `take` gives until it gives None and all is done; replies go to `settle`.

        Both may be called at any time between batches; `settle` may make `take` give more.
        Past the monotonic time `until` it stops with what is done and returns False.

        Raises:
            Interrupted: the control says stop; the helpers are killed on leaving the block.
            StorageError: a helper met a failure that ends the job, or died.
        """
        while True:
            self._control.check()
            self._hand_out(take)
            if not any(helper.busy for helper in self._helpers):
                return True
            if until is not None and time.monotonic() >= until:
                return False
            self._listen(settle)

    def _hand_out(self, take: Callable[[], Message | None]) -> None:
        for ahead in range(BATCHES_AHEAD):
            while self._has_place(ahead):
                message = take()
                if message is None:
                    return
                self._place(ahead).send(message)

    def _has_place(self, ahead: int) -> bool:
        if ahead == 0 and self._may_hire():
            return True
        return any(helper.busy <= ahead for helper in self._helpers)

    def _may_hire(self) -> bool:
        """Tell whether there is room for a helper more, and work that lasts for it."""
        if not self._helpers:
            return True
        return len(self._helpers) < self._size and time.monotonic() >= self._hire_at

    def _place(self, ahead: int) -> _Helper:
        free = (helper for helper in self._helpers if helper.busy <= ahead)
        return next(free, None) or self._hire()

    def _listen(self, settle: Callable[[Message], None]) -> None:
        by_fd = {helper.channel.fileno(): helper for helper in self._helpers}
        for fd, helper in by_fd.items():
            wanted = select.POLLIN | (select.POLLOUT if helper.outgoing else 0)
            self._poll.register(fd, wanted)
        for fd, _ in self._poll.poll(TICK_SECONDS * 1000):
            helper = by_fd[fd]
            helper.push()
            for message in helper.messages():
                self._hear(helper, message, settle)

    def _hear(self, helper: _Helper, message: Message, settle: Callable[[Message], None]) -> None:
        kind, *rest = message
        if kind == "done":
            helper.busy -= 1
            settle(rest[0])
        elif kind == "reply":
            settle(rest[0])
        elif kind == "count":
            for counter, items, size_bytes in rest[0]:
                self._control.count(Counter(counter), items, size_bytes)
            if rest[1]:
                self._control.entry(rest[1])
        elif kind == "fault":
            self._control.fault(rest[0], rest[1])
        else:
            raise _failure(helper, kind, rest)

    def _hire(self) -> _Helper:
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads: a helper takes no lock that another thread could hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            self._become_helper(theirs, parent)
        theirs.close()
        ours.setblocking(False)  # noqa: FBT003 - the library's own signature
        helper = _Helper(pid, ours)
        self._hire_at = time.monotonic() + HIRE_SECONDS
        self._helpers.append(helper)
        return helper

    def _become_helper(self, channel: socket.socket, parent: int) -> None:
        """Run in the child; never returns, and runs none of the parent's clean-up."""
        status = 1
        try:
            settle_in(parent, [channel.fileno(), *self._keep], self._effort)
            _serve(Voice(channel, self._effort.throttle), self._work)
            status = 0
        finally:
            os._exit(status)


def _serve(voice: Voice, work: Work) -> None:
    try:
        while (message := receive(voice.channel)) is not None:
            result = work(message, voice)
            voice.flush()
            voice.send(("done", result))
    except (BrokenPipeError, ConnectionResetError):
        return  # the parent is gone or has enough
    except StorageError as error:
        voice.send(("storage", type(error).__name__, error.detail))
    except Exception as error:  # noqa: BLE001 - told to the parent, which raises it as a Defect
        voice.send(("defect", f"{type(error).__name__}: {error}"))


_FAILURES: dict[str, type[StorageError]] = {
    kind.__name__: kind for kind in (NoSpace, QuotaExceeded, BackendFailed)
}


def _failure(helper: _Helper, kind: str, rest: list[str]) -> StorageError:
    if kind == "storage":
        return _FAILURES.get(rest[0], BackendFailed)(rest[1])
    if kind == "defect":
        return Defect(f"A helper process failed: {rest[0]}")
    return BackendFailed(f"The helper process {helper.pid} died; the job may be run again.")


def _reap(pid: int, deadline: float) -> None:
    """Wait for a killed child; one that hangs in the kernel is left to it after the deadline."""
    with suppress(ChildProcessError):  # somebody else in this process waits for every child
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(REAP_PAUSE_SECONDS)
