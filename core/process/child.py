"""A child process that cannot outlive the process that started it.

A supervisor, a worker or a test may be killed with -9 at any instruction; nobody is left then to
stop its children. Linux does it: prctl(2), PR_SET_PDEATHSIG. The wish survives execve(2) and is
not inherited by grandchildren: each level asks for itself.
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
    """Give a `preexec_fn` that has the kernel send `number` to the child when its parent dies.

    The parent in this sense is the *thread* that forked: start such children from a thread that
    lives as long as the process does.
    """
    parent = os.getpid()

    def ask() -> None:
        request_end_with_parent(number)
        if os.getppid() != parent:  # it died before the kernel knew of our wish
            os.kill(os.getpid(), number)

    return ask


def request_end_with_parent(number: int = signal.SIGKILL) -> None:
    """Ask the kernel to send `number` to this process when its parent dies.

    Raises:
        OSError: the kernel refused (it does not on Linux).
    """
    if _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextmanager
def parent_death_signal_kept() -> Iterator[None]:
    """Keep this process's wish while it changes its user or group, when the kernel drops it."""
    parent, wish = os.getppid(), ctypes.c_int(0)
    _LIBC.prctl(_PR_GET_PDEATHSIG, ctypes.byref(wish), 0, 0, 0)
    try:
        yield
    finally:
        if wish.value:
            request_end_with_parent(wish.value)
            if os.getppid() != parent:  # it died in between
                os.kill(os.getpid(), wish.value)
