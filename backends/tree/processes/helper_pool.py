"""Helpers that work on batches while the job's own thread stays answerable.

The job's thread never touches the trees itself: its helpers do, so a hung mount, a nice value or
a umask never reach it, and it asks `control.check()` every `TICK_SECONDS` whatever they are doing.
What lasts is done by forked processes; where a crew owns its descriptors, the first few batches
are done by a thread, and all of them in a crew of one (`hands` tells how the two differ). Helpers
die with their parent and may be stopped at any instruction: every engine is written to survive
that.
"""

import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from backends.tree.processes.channel import Message
from backends.tree.processes.effort import Effort
from backends.tree.processes.helper_process import Helper, Process, Thread, Work, threads_fit
from core.errors import BackendFailed, Defect, NoSpace, QuotaExceeded, ReadOnly, StorageError
from core.jobs import Control, Counter

#: How often the parent asks its control, in seconds.
TICK_SECONDS = 0.05
#: How long work must last before the next helper is made for it, in seconds.
HIRE_SECONDS = 0.004
#: How long a stopped helper may take to go before it is left behind, in seconds.
REAP_SECONDS = 10.0
#: Batches handed to one helper at a time: one at work, one waiting.
BATCHES_AHEAD = 2


class Crew:
    """Up to `size` helpers that all do `work` on batches; made when there is work for them.

    Leaving the `with` block stops and reaps them, whatever they are doing, and closes `own_fds`:
    the descriptors that `work` goes by. Without any, all helpers are processes.
    """

    def __init__(
        self,
        work: Work,
        control: Control,
        *,
        effort: Effort,
        size: int,
        own_fds: Sequence[int] = (),
        keep_fds: Sequence[int] = (),
    ) -> None:
        self._work = work
        self._control = control
        self._effort = effort
        self._size = size
        self._own = own_fds
        self._keep = [*own_fds, *keep_fds, *effort.descriptors()]
        self._helpers: list[Helper] = []
        self._thread: Thread | None = None
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
        everyone = [*self._helpers, *([self._thread] if self._thread else [])]
        for helper in everyone:
            helper.stop()
        deadline = time.monotonic() + REAP_SECONDS
        left = [helper for helper in everyone if not helper.wait(deadline)]
        self._helpers.clear()
        if self._thread in left:
            self._leave_behind(self._thread)
            return
        for fd in self._own:
            os.close(fd)

    def _leave_behind(self, thread: Thread) -> None:
        """Let a thread that hangs hold what it works with, and the fence, until it ends."""
        thread.leave_behind([*self._own, *map(os.dup, self._effort.fence)])

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
            if not self._busy():
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
        return any(helper.busy <= ahead for helper in self._open_to_work())

    def _busy(self) -> int:
        thread = [self._thread] if self._thread else []
        return sum(helper.busy > 0 for helper in [*self._helpers, *thread])

    def _open_to_work(self) -> list[Helper]:
        """Give those that may get batches: the thread, until there are processes."""
        return self._helpers or ([self._thread] if self._thread else [])

    def _may_hire(self) -> bool:
        """Tell whether there is room for a helper more, and work that lasts for it."""
        if not self._open_to_work():
            return True
        idle = sum(not helper.busy for helper in self._helpers)
        return self._busy() + idle < self._size and time.monotonic() >= self._hire_at

    def _place(self, ahead: int) -> Helper:
        free = (helper for helper in self._open_to_work() if helper.busy <= ahead)
        return next(free, None) or self._hire()

    def _listen(self, settle: Callable[[Message], None]) -> None:
        thread = [self._thread] if self._thread else []
        by_fd: dict[int, Helper] = {h.channel.fileno(): h for h in [*self._helpers, *thread]}
        for fd, helper in by_fd.items():
            self._poll.register(fd, helper.wanted)
        for fd, _ in self._poll.poll(TICK_SECONDS * 1000):
            helper = by_fd[fd]
            helper.push()
            for message in helper.messages():
                self._hear(helper, message, settle)

    def _hear(self, helper: Helper, message: Message, settle: Callable[[Message], None]) -> None:
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

    def _hire(self) -> Helper:
        helper: Helper
        if self._own and not self._thread and not self._helpers and self._suits_a_thread():
            helper = self._thread = Thread(self._work, self._effort)
        else:
            helper = Process(self._work, self._effort, self._keep)
            self._helpers.append(helper)
        self._hire_at = time.monotonic() + HIRE_SECONDS
        return helper

    def _suits_a_thread(self) -> bool:
        """Tell whether a thread may begin: not where it would pause for a limit."""
        throttle = self._effort.throttle
        return not (throttle is not None and any(throttle.limits)) and threads_fit()


_FAILURES: dict[str, type[StorageError]] = {
    kind.__name__: kind for kind in (NoSpace, QuotaExceeded, ReadOnly, BackendFailed)
}


def _failure(helper: Helper, kind: str, rest: list[str]) -> StorageError:
    if kind == "storage":
        return _FAILURES.get(rest[0], BackendFailed)(rest[1])
    if kind == "defect":
        return Defect(f"A helper failed: {rest[0]}")
    named = f" {helper.pid}" if isinstance(helper, Process) else ""
    return BackendFailed(f"The helper process{named} died; the job may be run again.")


def giving(messages: Iterator[Message]) -> Callable[[], Message | None]:
    """Hand out messages to a crew until there are no more."""
    return lambda: next(messages, None)
