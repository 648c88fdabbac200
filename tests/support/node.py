"""A node under its real supervisor, in its own directory, on free ports."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from backends.systems.s3 import Bucket
from core.process import end_with_parent
from core.settings import CONFIG_NAME, Settings, load
from deploy import first_run
from deploy.demo.http import Doors
from deploy.procfile import PROCFILE, STORE
from tests.support.hub import StandInHub
from tests.support.ports import free_port
from tests.support.remote_manager import StandInManager

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.05
#: A long wait looks less often, for each look costs the processor that it waits for: each pause is
#: so much longer than the one before …
POLL_GROWTH = 1.2
#: … up to this.
POLL_MAX_SECONDS = 0.25
T = TypeVar("T")


def wait_for(
    what: Callable[[], T], seconds: float = 60.0, failure: str | Callable[[], str] = ""
) -> T:
    """Poll until `what` returns a true value and return it; `failure` explains when it does not."""
    deadline = time.monotonic() + seconds
    pause = POLL_SECONDS
    while True:
        if result := what():
            return result
        if time.monotonic() > deadline:
            text = failure() if callable(failure) else failure
            raise AssertionError(text or f"{what} did not come true within {seconds} s")
        time.sleep(pause)
        pause = min(pause * POLL_GROWTH, POLL_MAX_SECONDS)


class Node:
    """One supervisor and its processes; `output` is everything they printed."""

    def __init__(
        self, directory: Path, procfile: str | None = None, before: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self._before = before
        self.ports = first_run.Ports(*(free_port() for _ in first_run.Ports.__slots__))
        self.config = directory / CONFIG_NAME
        first_run.ensure(self.config, self.ports)
        # Most nodes of tests know the manager alone; those with people write the table.
        text = self.config.read_text("utf-8")
        self.config.write_text(text.replace("\n[vfolder.access]\n", "\n"), "utf-8")
        self._procfile = procfile
        self._log = directory / "output"
        self.process: subprocess.Popen[bytes] | None = None
        #: The stand-ins that its registries name, where it has any.
        self.hub: StandInHub | None = None
        self.remote: StandInManager | None = None
        #: The bucket of its object storage, where there is a server.
        self.bucket: Bucket | None = None

    @property
    def settings(self) -> Settings:
        """The configuration it runs with."""
        return load(self.config, {})

    @property
    def output(self) -> str:
        """What the supervisor printed so far."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self.process is not None
        return self.process.pid

    def start(
        self,
        *arguments: str,
        environment: dict[str, str] | None = None,
        output: int | None = None,
    ) -> None:
        """Start the supervisor with a fresh output, or to a terminal; waits for nothing."""
        own = [sys.executable, "-m", "deploy.supervisor", "--config", str(self.config)]
        command = [*self._before, *own]
        if self._procfile is not None:
            file = self.directory / "Procfile"
            file.write_text(self._procfile, "utf-8")
            command += ["--procfile", str(file)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *arguments],
                cwd=ROOT,
                env=os.environ | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - a prctl only
            )

    def wait_until_it_says(self, text: str, seconds: float = 120.0) -> None:
        """Wait for a text in the output; fails when the supervisor ends before."""

        def said() -> bool:
            assert self.process is not None
            ended = self.process.poll() is not None
            if text in self.output:
                return True
            assert not ended, f"ended before it said {text!r}:\n{self.output}"
            return False

        wait_for(said, seconds, lambda: f"it never said {text!r}:\n{self.output}")

    def lines(self) -> list[dict[str, Any]]:
        """The lines of JSON that were printed so far."""
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]

    def greeting(self) -> list[str]:
        """The lines of the greeting."""
        return next((line["greeting"] for line in self.lines() if "greeting" in line), [])

    def has_worker(self) -> bool:
        """Whether a worker said that it is ready."""
        return any(
            line["component"] == "worker" and line["event"].endswith(" ready.")
            for line in self.lines()
        )

    def signal(self, number: int) -> None:
        """Send a signal to the supervisor."""
        assert self.process is not None
        self.process.send_signal(number)

    def hurry(self) -> int | None:
        """Press Ctrl-C once more; the exit status when it has ended."""
        self.signal(signal.SIGINT)
        assert self.process is not None
        return self.process.poll()

    def wait(self, seconds: float = 120.0) -> int:
        """Wait until the supervisor has ended."""
        assert self.process is not None
        return self.process.wait(timeout=seconds)

    def stop(self) -> int:
        """Drain as by Ctrl-C, and return the exit status."""
        if self.process is None or self.process.poll() is not None:
            return 0
        self.signal(signal.SIGINT)
        return self.wait()

    def children(self) -> dict[int, list[str]]:
        """All processes below the supervisor: argument lists by process id."""
        found = {}
        for process in psutil.Process(self.pid).children(recursive=True):
            try:
                found[process.pid] = process.cmdline()
            except psutil.NoSuchProcess:
                continue
        return found

    def pid_of(self, words: Sequence[str]) -> int:
        """The first direct child whose arguments contain all words, waiting for it."""

        def look() -> int:
            for process in psutil.Process(self.pid).children():
                with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                    line = process.cmdline()
                    if all(word in line for word in words):
                        return process.pid
            return 0

        return wait_for(look, failure=lambda: f"no process with {words}:\n{self.output}")


def processes(*names: str) -> str:
    """A Procfile with the store and some processes of the project's."""
    lines = PROCFILE.read_text("utf-8").splitlines()
    return "".join(f"{line}\n" for line in lines if line.partition(":")[0] in (STORE, *names))


@contextmanager
def running_node(directory: Path, more: str = "", procfile: str | None = None) -> Iterator[Node]:
    """All processes of the project's Procfile, or of another, up and ready; drained at the end.

    `more` is further TOML.
    """
    node = Node(directory, procfile or PROCFILE.read_text("utf-8"))
    with node.config.open("a", encoding="utf-8") as text:
        text.write(more)
    node.start()
    try:
        node.wait_until_it_says("The node runs.")
        wait_for(Doors(node.settings).are_open)  # its greeting does not wait for late doors
        wait_for(node.has_worker, 120, "no worker is ready")
        yield node
    finally:
        node.stop()


def gone(pids: Sequence[int]) -> bool:
    """Whether none of the processes is there any more (zombies of others count as gone)."""
    alive = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.append(pid)
        except psutil.NoSuchProcess:
            continue
    return not alive
