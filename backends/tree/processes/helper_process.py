"""The hands of a crew: each helper is a forked process, or a thread of the job's own process.

A process can be killed at any instruction, has its own nice value and umask, and holds only the
descriptors it needs. A thread costs a tenth of a millisecond instead of one and a half, which is
most of a job of a few entries: it does what comes first, until another helper is worth forking (a
crew of one has no other, and a fork gains it nothing). It shares
nothing with the rest of the process that a process would not, either: its umask is its own
(unshare(2), CLONE_FS), so are its nice value and I/O class, it works on descriptors that are closed
only when it has ended, and while the storage hangs it holds up nobody. It cannot be killed; told to
stop it does so at the next entry, or, when the storage hangs, is left behind with the fence
still held.
"""

import _thread
import gc
import os
import select
import signal
import socket
import threading
import time
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
from core.errors import BackendFailed, StorageError
from core.process import request_end_with_parent

#: Container allocations between two collections in a helper.
GC_THRESHOLD = 50_000

REAP_PAUSE_SECONDS = 0.001
#: How long a stopped thread may take for the entry at hand before it counts as hanging, in seconds.
PATIENCE_SECONDS = 2.0

Work = Callable[[Message, HelperChannel], Message]


class Helper(ABC):
    """The crew's end: sends batches, hears what comes; `busy` counts the batches in its hands."""

    def __init__(self, channel: socket.socket) -> None:
        channel.setblocking(False)  # noqa: FBT003 - the library's own signature
        self.channel = channel
        self.busy = 0
        self._outgoing = bytearray()
        self._incoming = bytearray()

    @property
    def wanted(self) -> int:
        """What to poll its channel for."""
        return select.POLLIN | (select.POLLOUT if self._outgoing else 0)

    def send(self, message: Message) -> None:
        """Hand it a batch."""
        self._outgoing += pack(message)
        self.busy += 1
        self.push()

    def push(self) -> None:
        """Write what the channel takes of what is still to be sent."""
        try:
            while self._outgoing:
                del self._outgoing[: self.channel.send(self._outgoing)]
        except BlockingIOError:
            return
        except ConnectionError:
            self._outgoing.clear()  # it is gone; what it said last is still to be read

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
        self._incoming += chunk
        return unpack(self._incoming)

    @abstractmethod
    def stop(self) -> None:
        """Let it end, whatever it is doing; does not wait."""

    @abstractmethod
    def wait(self, deadline: float) -> bool:
        """Wait until it has ended; False when it had not at `deadline`, of `time.monotonic`."""


class Process(Helper):
    """A forked child (a Celery prefork child may not use `multiprocessing`)."""

    def __init__(self, work: Work, effort: Effort, keep: Sequence[int]) -> None:
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads: a helper takes no lock that another thread could hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _live(work, effort, parent, theirs, keep)
        theirs.close()
        super().__init__(ours)

    def stop(self) -> None:
        """See `Helper.stop`."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, deadline: float) -> bool:
        """See `Helper.wait`; a killed child that hangs in the kernel is left to it."""
        self.channel.close()
        with suppress(ChildProcessError):  # somebody else in this process waits for every child
            while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                if time.monotonic() >= deadline:
                    return False
                time.sleep(REAP_PAUSE_SECONDS)
        return True


def _live(
    work: Work, effort: Effort, parent: int, channel: socket.socket, keep: Sequence[int]
) -> NoReturn:
    """Run in the child; never returns, and runs none of the parent's clean-up."""
    status = 1
    try:
        settle_in(parent, [channel.fileno(), *keep], effort)
        _serve(HelperChannel(channel, effort.throttle), work)
        status = 0
    finally:
        os._exit(status)


class Thread(Helper):
    """A thread of this process. What `leave_behind` gives it, it closes when it ends."""

    def __init__(self, work: Work, effort: Effort) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(ours)
        self._flag = bytearray(1)
        self._leaving = _thread.allocate_lock()
        self._running = _thread.allocate_lock()
        self._running.acquire()
        self._to_close: list[int] = []
        self._effort = effort
        voice = HelperChannel(theirs, effort.throttle, self._flag)
        # `threading` would wait until it has begun, which takes as long as a small job.
        _thread.start_new_thread(self._run, (voice, work))

    def _run(self, voice: HelperChannel, work: Work) -> None:
        try:
            with voice.channel:
                fits = _detach()
                give_way(self._effort)
                _serve(voice, work if fits else _misfit)
        finally:
            with self._leaving:
                self._running.release()
            _close(self._to_close)

    def stop(self) -> None:
        """See `Helper.stop`."""
        self._flag[0] = 1
        with suppress(OSError):  # it has closed its end
            self.channel.shutdown(socket.SHUT_RDWR)

    def wait(self, deadline: float) -> bool:
        """See `Helper.wait`; one that does not hear of its end soon is not waited for."""
        patience = min(PATIENCE_SECONDS, deadline - time.monotonic())
        ended = self._running.acquire(timeout=max(0.0, patience))
        if ended:
            self._running.release()
        self.channel.close()
        return ended

    def leave_behind(self, descriptors: Sequence[int]) -> None:
        """Let it close these when it ends; at once when it just has."""
        with self._leaving:
            if self._running.locked():
                self._to_close += descriptors
                return
        _close(descriptors)


def _misfit(_: Message, __: HelperChannel) -> Message:
    raise BackendFailed("A thread may no longer have a umask of its own; the job may be run again.")


def _close(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def _detach() -> bool:
    """Give this thread a umask of its own, and clear it; False where that is forbidden."""
    try:
        linux.detach_umask()
    except OSError:
        return False
    os.umask(0)
    return True


@cache
def threads_fit() -> bool:
    """Tell whether a thread may be a helper here; asked once, of a thread."""
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(_detach()), daemon=True)
    thread.start()
    thread.join()
    return answers == [True]


def _serve(voice: HelperChannel, work: Work) -> None:
    with suppress(BrokenPipeError, ConnectionResetError, Stopped):  # nobody listens any more
        _work_off(voice, work)


def _work_off(voice: HelperChannel, work: Work) -> None:
    try:
        while (message := receive(voice.channel)) is not None:
            result = work(message, voice)
            voice.flush()
            voice.send(("done", result))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except StorageError as error:
        voice.send(("storage", type(error).__name__, error.detail))
    except Exception as error:  # noqa: BLE001 - told to the parent, which raises it as a Defect
        voice.send(("defect", f"{type(error).__name__}: {error}"))


def settle_in(parent: int, keep: Sequence[int], effort: Effort) -> None:
    """Make this new process a helper: dies with its parent, holds only what it needs, new umask."""
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
    give_way(effort)


def give_way(effort: Effort) -> None:
    """Lower this thread's claim to processor and disk as told (both belong to threads on Linux)."""
    if effort.nice:
        os.nice(effort.nice)
    if effort.idle_io:
        with suppress(OSError):
            linux.use_idle_io()


def _close_others(keep: Sequence[int]) -> None:
    """Close every descriptor but the standard ones and `keep`."""
    low = 3
    for fd in sorted({fd for fd in keep if fd >= low}):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
