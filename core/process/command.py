"""Commands of the system: run until an end, with a deadline, and ended with all that they started.

A command of a storage system may hang in the kernel, where no signal ends it. The caller then goes
on without it: nothing here waits for a killed command without an end.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

#: How long a killed command is awaited (seconds).
KILLED_SECONDS = 2.0
#: Seconds between two calls of `look`.
LOOK_SECONDS = 0.5


def tool_environment() -> Mapping[str, str]:
    """Return the environment of a tool of the system: found by PATH, in English, no secret."""
    return {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C"}


def run_command(
    line: Sequence[str],
    seconds: float | None,
    *,
    look: Callable[[], None] | None = None,
    grace_seconds: float = 0.0,
    **options: Any,  # noqa: ANN401 - as `subprocess.Popen` has them
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end; return its status and what it printed, as text.

    It gets no input, a session of its own and `tool_environment`, unless `options` say otherwise.

    Args:
        line: the program, by its path or by PATH, and its arguments.
        seconds: how long it may run; None is without a limit.
        look: called before it is awaited and twice a second; the command is ended when it raises.
        grace_seconds: the time between SIGTERM and SIGKILL; 0 kills at once.
        options: further arguments of `subprocess.Popen`.

    Raises:
        subprocess.TimeoutExpired: it did not end in time. It and all that it started were killed,
            where this process may do that.
        OSError: it cannot be started: FileNotFoundError, PermissionError.
    """
    given: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "start_new_session": True,
        "env": tool_environment(),
        **options,
    }
    process = subprocess.Popen(line, encoding="utf-8", errors="replace", **given)
    try:
        output, words = _ended(process, seconds, look)
    except BaseException:
        _kill(process, grace_seconds)
        raise
    return subprocess.CompletedProcess(line, process.returncode, output, words)


def _ended(
    process: "subprocess.Popen[str]", seconds: float | None, look: Callable[[], None] | None
) -> tuple[str, str]:
    """Wait for the end of a command; return both of its outputs."""
    if look is None:
        return process.communicate(timeout=seconds)
    end = None if seconds is None else monotonic() + seconds
    while True:
        look()
        try:
            return process.communicate(timeout=LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if end is not None and monotonic() >= end:
                raise


def _kill(process: "subprocess.Popen[str]", grace_seconds: float) -> None:
    """End a command and all that it started: its children hold the pipes open."""
    if grace_seconds:
        _signal(process, signal.SIGTERM, grace_seconds)
    _signal(process, signal.SIGKILL, KILLED_SECONDS)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.poll()  # it may have ended while a child of it holds the pipes


def _signal(process: "subprocess.Popen[str]", number: int, seconds: float) -> None:
    # All of them have ended, or they run as another user (sudo(8)), which may not be signalled.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=seconds)
