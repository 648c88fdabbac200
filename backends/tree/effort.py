"""How hard helpers work, and what a forked process does to become one."""

import gc
import os
import platform
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from backends.tree.anchor import libc
from backends.tree.fast import DEFAULT_LOOPS, Loops
from backends.tree.throttle import Throttle

#: Most helpers chosen without being told.
HELPERS_MAX = 4
#: Container allocations between two collections in a helper.
GC_THRESHOLD = 50_000

PR_SET_PDEATHSIG = 1
IOPRIO_WHO_PROCESS = 1
IOPRIO_CLASS_IDLE = 3 << 13
_SYS_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}


@dataclass(frozen=True, slots=True)
class Effort:
    """How to work: helper processes (None: by cores), nice value, idle I/O class, limits, loops.

    Helpers keep the descriptors of `fence` open: a lock on one of them is held until the last
    helper has ended, however it ends.
    """

    helpers: int | None = None
    nice: int = 0
    idle_io: bool = False
    throttle: Throttle | None = None
    loops: Loops = DEFAULT_LOOPS
    fence: tuple[int, ...] = ()

    def descriptors(self) -> list[int]:
        """What helpers must keep open for it."""
        return [*self.fence, *([self.throttle.fd] if self.throttle else [])]

    def count(self) -> int:
        """Tell how many helpers to use."""
        return max(1, self.helpers or min(HELPERS_MAX, len(os.sched_getaffinity(0))))


DEFAULT_EFFORT = Effort()


def settle_in(parent: int, keep: Sequence[int], effort: Effort) -> None:
    """Make this new process a helper: dies with its parent, holds only what it needs, new umask."""
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _close_others(keep)
    os.umask(0)
    give_way(effort)


def give_way(effort: Effort) -> None:
    """Lower this thread's claim to processor and disk as told (both belong to threads on Linux)."""
    if effort.nice:
        os.nice(effort.nice)
    number_of_call = _SYS_IOPRIO_SET.get(platform.machine())
    if effort.idle_io and number_of_call is not None:
        libc.syscall(number_of_call, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_IDLE)


def _close_others(keep: Sequence[int]) -> None:
    """Close every descriptor but the standard ones and `keep`."""
    low = 3
    for fd in sorted({fd for fd in keep if fd >= low}):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
