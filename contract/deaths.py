"""Functions that are killed before each of their system calls in turn (injection of strace)."""

import os
import re
import signal
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeVar

from contract.waiting import eventually

T = TypeVar("T")
_CALL = re.compile(r"^(\w+)\(.*", re.MULTILINE)
_ENDS = frozenset({"exit_group", "exit"})


@dataclass(frozen=True)
class Part:
    """Each `every`-th point of death, beginning with the `first`."""

    every: int = 1
    first: int = 1

    def of(self, number: int) -> range:
        """Return the turns of a call that is made so often."""
        return range(self.first, number + 1, self.every)


ALL = Part()


def child(act: Callable[[], None]) -> int:
    """A process that stops itself, and then calls the function."""
    number = os.fork()
    if number:
        os.waitpid(number, os.WUNTRACED)
        return number
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        act()
    except BaseException:  # noqa: BLE001 - a child never comes back
        os._exit(1)
    os._exit(0)


def traced(act: Callable[[], None], *options: str) -> int:
    """Call the function in a process under strace; return its status of waitpid(2)."""
    number = child(act)
    with subprocess.Popen(["strace", "-qq", "-p", f"{number}", *options]) as tracer:
        status = Path(f"/proc/{number}/status")
        eventually(lambda: "TracerPid:\t0\n" not in status.read_text())
        os.kill(number, signal.SIGCONT)
        _, ended = os.waitpid(number, 0)
        tracer.wait()
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0
    return ended


def calls_of(act: Callable[[], None]) -> dict[str, list[str]]:
    """Return the system calls of a function: for each kind the lines of strace, in their order."""
    found = defaultdict(list)
    with NamedTemporaryFile() as file:
        traced(act, "-o", file.name)
        for call in _CALL.finditer(Path(file.name).read_text("utf-8", "replace")):
            found[call[1]].append(call[0])
    return {name: found[name] for name in sorted(found.keys() - _ENDS)}


def deaths(
    act: Callable[[T], None],
    made: Callable[[], T],
    calls: Sequence[str] = (),
    part: Part = ALL,
    *,
    idle: str = "",
) -> Iterator[T]:
    """Yield what a function worked on, for each point at which it was killed.

    It is killed before the first, the second … of each kind of system call in turn. Without
    `calls`, these are all kinds that the function makes. One run without a death counts them.

    A call whose line of strace has a match of the regular expression `idle` changes nothing: a
    death before it equals one before the next call, and is left out.
    """
    first = made()
    found = calls_of(lambda: act(first))
    for call in calls or found:
        lines = found.get(call, [])
        for turn in part.of(len(lines)):
            if idle and re.search(idle, lines[turn - 1]):
                continue
            worked_on = made()
            inject = f"inject={call}:signal=KILL:when={turn}"
            options = ("-o", "/dev/null", "-e", f"trace={call}", "-e", inject)
            ended = traced(partial(act, worked_on), *options)
            if not os.WIFSIGNALED(ended):
                break
            yield worked_on
