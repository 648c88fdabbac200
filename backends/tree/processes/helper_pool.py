"""A pool of helpers that work on batches while the job's own thread keeps responding.

The job's thread never touches the trees; its helpers do. So a hung mount, a nice value or a umask
never affects that thread, and it calls `control.check()` every `TICK_SECONDS`, whatever the helpers
are doing. Forked processes do long work. Where a pool owns its descriptors, a thread does the first
few batches, and in a pool of one it does all of them (`helper_process` explains the difference).
Helpers die with their parent and may be stopped at any instruction: every engine is written to
survive that.
"""

import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from backends.fs import translate
from backends.tree.processes.channel import Message
from backends.tree.processes.effort import Effort
from backends.tree.processes.helper_process import (
    Helper,
    HelperProcess,
    HelperThread,
    Work,
    threads_fit,
)
from core import errors
from core.errors import BackendFailed, Defect, HelperDied, StorageError
from core.jobs import Control, Counter
from core.redis import json
from core.telemetry import logger

#: How often the parent calls its control, in seconds.
TICK_SECONDS = 0.05
#: How long work must last before the pool starts the next helper, in seconds.
START_INTERVAL_SECONDS = 0.004
#: How long a stopped helper may take to end before it is left behind, in seconds.
REAP_SECONDS = 10.0
#: Most batches that one helper has at a time: one at work, one waiting.
BATCHES_AHEAD = 2


_log = logger(__name__)

#: Every error of ours by its name.
_KINDS: dict[str, type[StorageError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, StorageError)
}


class HelperPool:
    """Up to `size` helpers that all do `work` on batches; started when there is work for them.

    Leaving the `with` block stops and reaps them, whatever they are doing. It also closes
    `own_fds`, the descriptors that `work` uses. Without any, all helpers are processes. Processes
    also keep `keep_fds` open.
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
        self._processes: list[Helper] = []
        self._thread: HelperThread | None = None
        self._poll = select.poll()
        self._next_start = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        helpers = self._helpers()
        for helper in helpers:
            helper.stop()
        deadline = time.monotonic() + REAP_SECONDS
        hanging = [helper for helper in helpers if not helper.wait(deadline)]
        self._processes.clear()
        if self._thread in hanging:
            self._leave_behind(self._thread)
            return
        for fd in self._own:
            os.close(fd)

    def _leave_behind(self, thread: HelperThread) -> None:
        """Let a hanging thread hold the descriptors it works with, and the fence, until it ends."""
        thread.leave_behind([*self._own, *map(os.dup, self._effort.fence)])

    def run(
        self,
        next_batch: Callable[[], Message | None],
        on_reply: Callable[[Message], None],
        until: float | None = None,
    ) -> bool:
        """Send batches to helpers until `next_batch` returns None and all are done.

        Each reply goes to `on_reply`. Both callables may be called at any time between batches, and
        a reply may make `next_batch` return more. Past the monotonic time `until` it stops with
        what is done and returns False.

        Raises:
            Interrupted: the control says stop; leaving the block kills the helpers.
            HelperDied: a helper was killed, or had no memory left.
            StorageError: a helper met a failure that ends the job.
        """
        while True:
            self._control.check()
            self._send_batches(next_batch)
            if not self._busy():
                return True
            if until is not None and time.monotonic() >= until:
                return False
            self._receive(on_reply)

    def run_all(self, messages: Iterator[Message], on_reply: Callable[[Message], None]) -> None:
        """Send all `messages` to helpers and wait until they are done; see `run`."""
        self.run(lambda: next(messages, None), on_reply)

    def _send_batches(self, next_batch: Callable[[], Message | None]) -> None:
        for ahead in range(BATCHES_AHEAD):
            while self._accepts(ahead):
                message = next_batch()
                if message is None:
                    return
                self._pick(ahead).send(message)

    def _accepts(self, ahead: int) -> bool:
        if ahead == 0 and self._may_start():
            return True
        return any(helper.busy <= ahead for helper in self._working())

    def _helpers(self) -> list[Helper]:
        return [*self._processes, *([self._thread] if self._thread else [])]

    def _busy(self) -> int:
        return sum(helper.busy > 0 for helper in self._helpers())

    def _working(self) -> list[Helper]:
        """Return the helpers that may get batches: the thread until there are processes."""
        return self._processes or ([self._thread] if self._thread else [])

    def _may_start(self) -> bool:
        """Return whether the pool may grow by one helper, and the work lasts long enough for it."""
        if not self._working():
            return True
        idle = sum(not helper.busy for helper in self._processes)
        return self._busy() + idle < self._size and time.monotonic() >= self._next_start

    def _pick(self, ahead: int) -> Helper:
        free = (helper for helper in self._working() if helper.busy <= ahead)
        return next(free, None) or self._start()

    def _receive(self, on_reply: Callable[[Message], None]) -> None:
        by_fd = {helper.connection.fileno(): helper for helper in self._helpers()}
        for fd, helper in by_fd.items():
            self._poll.register(fd, helper.poll_events)
        for fd, _ in self._poll.poll(TICK_SECONDS * 1000):
            helper = by_fd[fd]
            helper.push()
            for message in helper.messages():
                self._handle(helper, message, on_reply)

    def _handle(
        self, helper: Helper, message: Message, on_reply: Callable[[Message], None]
    ) -> None:
        kind, *rest = message
        if kind == "done":
            helper.busy -= 1
            on_reply(rest[0])
        elif kind == "reply":
            on_reply(rest[0])
        elif kind == "count":
            for counter, items, size_bytes in rest[0]:
                self._control.count(Counter(counter), items, size_bytes)
            if rest[1]:
                self._control.entry(rest[1])
        elif kind == "wait":
            self._control.wait(rest[0])
        elif kind == "fault":
            self._control.fault(rest[0], rest[1])
        else:
            raise _failure(helper, kind, rest)

    def _start(self) -> Helper:
        helper: Helper
        if self._own and not self._helpers() and self._suits_a_thread():
            helper = self._thread = HelperThread(self._work, self._effort)
        else:
            helper = HelperProcess(self._work, self._effort, self._keep)
            self._processes.append(helper)
        self._next_start = time.monotonic() + START_INTERVAL_SECONDS
        return helper

    def _suits_a_thread(self) -> bool:
        """Return whether a thread may begin: not where it would pause for a limit."""
        throttle = self._effort.throttle
        return not (throttle is not None and any(throttle.limits)) and threads_fit()


def _failure(helper: Helper, kind: str, rest: list[Any]) -> StorageError:
    """Return the error of a helper's last message, as the helper had it."""
    if kind == "storage":
        name, detail, facts = rest
        return _KINDS.get(name, BackendFailed)(detail, **json.loads(facts))
    if kind == "system":
        return translate(OSError(rest[0], os.strerror(rest[0])))
    if kind == "defect":
        _log.error("helper failed by a defect", trace=rest[0])
        return Defect("A helper failed by a defect of the service; the log has it.")
    _log.warning("helper died", pid=helper.pid if isinstance(helper, HelperProcess) else None)
    return HelperDied("A helper process died, perhaps because memory ran out; try again.")
