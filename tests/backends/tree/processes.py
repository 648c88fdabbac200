"""Run code of a test in a forked child: as another user, or with descriptors of its own."""

import os
import pickle
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def in_child(function: Callable[[], T]) -> T:
    """Return what `function` returns in a forked child, which has no other threads.

    An exception in the child fails the test with the child's traceback.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = (True, function())
        except BaseException:  # noqa: BLE001 - reported to the test
            answer = (False, traceback.format_exc())
        with open(theirs, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        done, result = pickle.load(pipe)  # noqa: S301 - written by our own child
    os.waitpid(pid, 0)
    assert done, result
    return result


def open_files() -> dict[int, str]:
    """Return the target of each open descriptor of this process."""
    files = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # closed since: by another thread, or the listing's own
            files[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return files
