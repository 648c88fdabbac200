"""One run of XCP as a child process that ends with its parent and holds the job's fence.

Standard output and standard error are read together, whatever their size. A stop ends the whole
process group. A grandchild that keeps the pipe open after the end is killed with the group. In a
container the child process is only the client of the engine. So the container gets a name, and is
killed by that name too.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import PurePosixPath

from core.jobs import Control
from core.process import end_with_parent, run_command

#: Interval at which the job's control is checked (seconds).
TICK_SECONDS = 0.1
#: Time between SIGTERM and SIGKILL (seconds).
GRACE_SECONDS = 1.5
#: How long the rest of the output is awaited after the process has ended (seconds).
DRAIN_SECONDS = 1.0
#: Longest time that stopping a container may take (seconds).
CONTAINER_SECONDS = 10.0
_CHUNK_BYTES = 1 << 16
_LINE_MAX_BYTES = 1 << 16
_ENGINES = frozenset({"docker", "podman", "nerdctl"})


class XcpProcess:
    """A started command; `run` reads its output until it ends."""

    def __init__(self, command: Sequence[str], name: str, keep_fds: Sequence[int] = ()) -> None:
        """Start the command; `name` is the name of its container, if it runs in one.

        Raises:
            OSError: the command cannot be started.
        """
        self._engine, words = _named(command, name)
        self._name = name
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"LC_ALL": "C"},
            pass_fds=keep_fds,
            start_new_session=True,
            preexec_fn=end_with_parent(),  # noqa: PLW1509 - a prctl between fork and exec
        )
        assert self._process.stdout is not None  # noqa: S101 - PIPE was asked for
        self._pipe = self._process.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._rest = b""

    def run(self, control: Control, hear: Callable[[str], None]) -> int:
        """Read lines until the end; return the exit status, negative for a signal.

        Raises:
            Interrupted: the control says stop. The whole process group has ended by then.
        """
        try:
            with selectors.DefaultSelector() as waiting:
                waiting.register(self._pipe, selectors.EVENT_READ)
                self._listen(waiting, control, hear)
            return self._process.wait()
        finally:
            self._end()
            if self._process.stdout is not None:
                self._process.stdout.close()

    def _listen(
        self, waiting: selectors.BaseSelector, control: Control, hear: Callable[[str], None]
    ) -> None:
        until: float | None = None
        while until is None or time.monotonic() < until:
            control.check()
            if waiting.select(TICK_SECONDS) and not self._read(hear):
                return
            if until is None and self._process.poll() is not None:
                until = time.monotonic() + DRAIN_SECONDS

    def _read(self, hear: Callable[[str], None]) -> bool:
        """Read what has arrived; False at the end of both outputs."""
        try:
            chunk = os.read(self._pipe, _CHUNK_BYTES)
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + chunk).replace(b"\r", b"\n").split(b"\n")
        if (not chunk and self._rest) or len(self._rest) > _LINE_MAX_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            if line:
                hear(line.decode("utf-8", "backslashreplace"))
        return bool(chunk)

    def _end(self) -> None:
        """End every process of the group: SIGTERM first, then SIGKILL."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_SECONDS)
            self._kill_container()
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _kill_container(self) -> None:
        if self._engine is None:
            return
        with suppress(OSError, subprocess.TimeoutExpired):
            run_command([*self._engine, "kill", self._name], CONTAINER_SECONDS, env=None)


def _named(command: Sequence[str], name: str) -> tuple[list[str] | None, list[str]]:
    """Return the engine's words, and the command with a name for its container."""
    words = list(command)
    for at, word in enumerate(words[:-1]):
        if PurePosixPath(word).name in _ENGINES and words[at + 1] == "run":
            return words[: at + 1], [*words[: at + 2], "--name", name, *words[at + 2 :]]
    return None, words
