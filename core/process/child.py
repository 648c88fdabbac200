"""Child processes that end with their parent.

A supervisor, a worker or a test may be killed with -9 at any instruction; it cannot stop its
children then. Linux does that: prctl(2), PR_SET_PDEATHSIG. The setting survives execve(2). It is
not inherited by grandchildren: each level sets it for itself.
"""

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2
#: Loaded before any fork: between fork and exec a child must not import or allocate much.
_LIBC = ctypes.CDLL(None, use_errno=True)


def end_with_parent(number: int = signal.SIGKILL) -> Callable[[], None]:
    """Return a `preexec_fn`: the kernel then sends `number` to the child when its parent dies.

    For the kernel the parent is the *thread* that forked. Start such children from a thread that
    lives as long as the process.
    """
    parent = os.getpid()

    def set_signal() -> None:
        request_end_with_parent(number)
        if os.getppid() != parent:  # it died before the kernel had the setting
            os.kill(os.getpid(), number)

    return set_signal


def request_end_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send `number` to this process when its parent dies.

    Raises:
        OSError: prctl(2) failed.
    """
    if _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextmanager
def parent_death_signal_kept() -> Iterator[None]:
    """Keep the setting while this process changes its user or group: the kernel drops it then."""
    parent, number = os.getppid(), ctypes.c_int(0)
    _LIBC.prctl(_PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)
    try:
        yield
    finally:
        if number.value:
            request_end_with_parent(number.value)
            if os.getppid() != parent:  # it died meanwhile
                os.kill(os.getpid(), number.value)
