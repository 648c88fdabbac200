"""The two kinds of helper: a forked process, and a thread of the job's own process.

A process can be killed at any instruction. It has its own nice value and umask, and holds only the
descriptors that it needs.

A thread costs a tenth of a millisecond to start, a process one and a half. That difference is most
of a job of a few entries. So a thread does the first batches, until a second helper is worth a
fork. In a pool of one it does all of them: there is no second helper, and a fork gains nothing.

A thread shares as little with the rest of its process as a forked helper does. Its umask is its own
(unshare(2), CLONE_FS), and so are its nice value and I/O class. It works on descriptors that are
closed only when it has ended. While the storage hangs it holds up no other thread. It cannot be
killed: it stops at the next entry. When the storage hangs, it is left behind and holds the fence
until it ends.
"""

import _thread
import errno
import gc
import os
import select
import signal
import socket
import threading
import time
import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import NoReturn

from backends.fs import linux
from backends.tree.processes.channel import (
    RECEIVE_BYTES,
    HelperChannel,
    Message,
    Stopped,
    pack,
    receive,
    unpack,
)
from backends.tree.processes.effort import Effort
from core.errors import StorageError, Unavailable
from core.process import request_end_with_parent
from core.redis import json

#: Container allocations between two collections in a helper.
GC_THRESHOLD = 50_000
#: Pause between two looks whether a killed helper has ended, in seconds.
REAP_PAUSE_SECONDS = 0.001
#: How long a stopped thread may take for its current entry before it counts as hanging, in seconds.
PATIENCE_SECONDS = 2.0

#: What a helper does with one batch; the result is its reply.
Work = Callable[[Message, HelperChannel], Message]


class Helper(ABC):
    """The parent's end of a helper; `busy` counts the batches it has not finished."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)  # noqa: FBT003 - the library's own signature
        self.connection = connection
        self.busy = 0
        self._outgoing = bytearray()
        self._incoming = bytearray()

    @property
    def poll_events(self) -> int:
        """The events for which to poll the connection."""
        return select.POLLIN | (select.POLLOUT if self._outgoing else 0)

    def send(self, message: Message) -> None:
        """Send a batch."""
        self._outgoing += pack(message)
        self.busy += 1
        self.push()

    def push(self) -> None:
        """Write as much of the unsent bytes as the connection accepts now."""
        try:
            while self._outgoing:
                del self._outgoing[: self.connection.send(self._outgoing)]
        except BlockingIOError:
            return
        except ConnectionError:
            self._outgoing.clear()  # the helper has ended; its last messages are still to be read

    def messages(self) -> list[Message]:
        """Return the messages that have arrived; `("gone",)` is the end of the stream."""
        try:
            chunk = self.connection.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return []
        except ConnectionError:
            chunk = b""
        if not chunk:
            return [("gone",)]
        self._incoming += chunk
        return unpack(self._incoming)

    @abstractmethod
    def stop(self) -> None:
        """Make it end, whatever it is doing, without waiting for it."""

    @abstractmethod
    def wait(self, deadline: float) -> bool:
        """Wait until it has ended; return False when `deadline` (`time.monotonic`) came first."""


class HelperProcess(Helper):
    """A forked child (a Celery prefork child may not use `multiprocessing`)."""

    def __init__(self, work: Work, effort: Effort, keep: Sequence[int]) -> None:
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads: a helper takes no lock that another thread could hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _run_child(work, effort, parent, theirs, keep)
        theirs.close()
        super().__init__(ours)

    def stop(self) -> None:
        """See `Helper.stop`."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, deadline: float) -> bool:
        """See `Helper.wait`. After that the kernel alone ends a killed child that hangs in it."""
        self.connection.close()
        with suppress(ChildProcessError):  # other code of this process waits for every child
            while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                if time.monotonic() >= deadline:
                    return False
                time.sleep(REAP_PAUSE_SECONDS)
        return True


def _run_child(
    work: Work, effort: Effort, parent: int, connection: socket.socket, keep: Sequence[int]
) -> NoReturn:
    """Run in the child: never return, and run none of the parent's clean-up."""
    status = 1
    try:
        _become_helper(parent, [connection.fileno(), *keep], effort)
        _serve(HelperChannel(connection, effort.throttle), work)
        status = 0
    finally:
        os._exit(status)


def _become_helper(parent: int, keep: Sequence[int], effort: Effort) -> None:
    """Make this new process a helper: die with the parent, close descriptors, clear the umask."""
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    request_end_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _close_others(keep)
    os.umask(0)
    _lower_priority(effort)


def _lower_priority(effort: Effort) -> None:
    """Set nice value and I/O class of this thread (on Linux both belong to a thread)."""
    if effort.nice:
        os.nice(effort.nice)
    if effort.idle_io:
        with suppress(OSError):
            linux.use_idle_io()


def _close_others(keep: Sequence[int]) -> None:
    """Close every descriptor except the standard ones and `keep`."""
    low = 3
    for fd in sorted({fd for fd in keep if fd >= low}):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


class HelperThread(Helper):
    """A thread of this process; when it ends, it closes what `leave_behind` passed to it."""

    def __init__(self, work: Work, effort: Effort) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(ours)
        self._stop_flag = bytearray(1)
        self._leaving = _thread.allocate_lock()
        self._running = _thread.allocate_lock()
        self._running.acquire()
        self._to_close: list[int] = []
        self._effort = effort
        channel = HelperChannel(theirs, effort.throttle, self._stop_flag)
        # `threading` would wait until it has begun, which takes as long as a small job.
        _thread.start_new_thread(self._run, (channel, work))

    def _run(self, channel: HelperChannel, work: Work) -> None:
        try:
            with channel.connection:
                detached = _detach()
                _lower_priority(self._effort)
                _serve(channel, work if detached else _refuse)
        finally:
            with self._leaving:
                self._running.release()
            _close(self._to_close)

    def stop(self) -> None:
        """See `Helper.stop`."""
        self._stop_flag[0] = 1
        with suppress(OSError):  # it has closed its end
            self.connection.shutdown(socket.SHUT_RDWR)

    def wait(self, deadline: float) -> bool:
        """See `Helper.wait`; waits at most `PATIENCE_SECONDS`."""
        patience = min(PATIENCE_SECONDS, deadline - time.monotonic())
        ended = self._running.acquire(timeout=max(0.0, patience))
        if ended:
            self._running.release()
        self.connection.close()
        return ended

    def leave_behind(self, descriptors: Sequence[int]) -> None:
        """Let the thread close these when it ends; close them at once when it has ended."""
        with self._leaving:
            if self._running.locked():
                self._to_close += descriptors
                return
        _close(descriptors)


def _refuse(_: Message, __: HelperChannel) -> Message:
    raise Unavailable("This process may not give a thread a umask of its own now; try again.")


def _close(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def _detach() -> bool:
    """Give this thread a umask of its own and clear it; return False where that is forbidden."""
    try:
        linux.detach_umask()
    except OSError:
        return False
    os.umask(0)
    return True


@cache
def threads_fit() -> bool:
    """Return whether a thread may be a helper here; found out once, by starting a thread."""
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(_detach()), daemon=True)
    thread.start()
    thread.join()
    return answers == [True]


def _serve(channel: HelperChannel, work: Work) -> None:
    """Serve until the parent closes its end, or until no memory is left: the helper has died."""
    with suppress(BrokenPipeError, ConnectionResetError, Stopped, MemoryError):
        _process_batches(channel, work)


def _process_batches(channel: HelperChannel, work: Work) -> None:
    try:
        while (message := receive(channel.connection)) is not None:
            result = work(message, channel)
            channel.flush()
            channel.send(("done", result))
    except (BrokenPipeError, ConnectionResetError, MemoryError):
        raise
    except StorageError as error:
        channel.send(("storage", type(error).__name__, error.detail, json.dumps(error.facts)))
    except OSError as error:
        channel.send(("system", error.errno or errno.EIO))
    except Exception:  # noqa: BLE001 - reported to the parent, which logs it and raises a Defect
        channel.send(("defect", traceback.format_exc()))
