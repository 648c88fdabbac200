"""One process of a node: started, its output printed, started again when it ends by itself."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from core.process import MISCONFIGURED, end_with_parent
from core.settings import CONFIG_VARIABLE
from deploy.printing import LINE_BYTES, LinePrinter
from deploy.procfile import STORE

#: The pause before a process is started again: doubled each time …
FIRST_PAUSE_SECONDS = 0.5
#: … up to this: people and the manager wait for a door, and each start costs a second of a core …
LONGEST_PAUSE_SECONDS = 5.0
#: … and back to the first one after it lived this long, which is more than a start takes.
STEADY_SECONDS = 10.0
#: How often the configuration is looked at while a process waits for its correction.
LOOK_SECONDS = 1.0
#: Longest wait for the last lines of an ended process.
_LAST_LINES_SECONDS = 1.0


class Child:
    """Runs one command until `stop`; its output goes to `lines` under its name.

    A process that its configuration keeps from starting is not started again before the file of the
    configuration changes.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], environment: dict[str, str], lines: LinePrinter
    ) -> None:
        self.name = name
        self._arguments = arguments
        self._environment = environment
        self._lines = lines
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._pause = FIRST_PAUSE_SECONDS
        self._last_line = ""
        #: Set while the configuration keeps the process from starting.
        self.misconfigured = asyncio.Event()

    @property
    def running(self) -> bool:
        """Return whether the process runs now."""
        return self._process is not None and self._process.returncode is None

    async def run(self) -> None:
        """Start the process, and again when it ends, until `stop` or `kill` is called."""
        while not self._stopping.is_set():
            started = asyncio.get_running_loop().time()
            configured = _changed_at(self._environment[CONFIG_VARIABLE])
            status = await self._live_once()
            lived = asyncio.get_running_loop().time() - started
            if self._stopping.is_set():
                break
            if status == MISCONFIGURED:
                await self._await_correction(configured)
            else:
                await self._rest(status, lived)

    async def _live_once(self) -> int:
        # The process ends with the supervisor, also after its crash. The store syncs first.
        death_signal = signal.SIGTERM if self.name == STORE else signal.SIGKILL
        # A pipe of our own: with asyncio's, `wait` would also wait for grandchildren that hold it.
        ours, theirs = os.pipe()
        reading = asyncio.create_task(self._read(ours))
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._arguments,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,  # only we get Ctrl-C of the terminal; we drain in order
                preexec_fn=end_with_parent(death_signal),
            )
        finally:
            os.close(theirs)
        status = await self._process.wait()
        self._signal_group(signal.SIGKILL)  # children that it left behind hold ports and pipes
        await asyncio.wait([reading], timeout=_LAST_LINES_SECONDS)
        reading.cancel()
        return status

    async def _read(self, descriptor: int) -> None:
        stream = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(stream)
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
        try:
            await self._show_all(stream)
        finally:
            transport.close()

    async def _show_all(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await stream.read(LINE_BYTES):
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE_BYTES:
                whole, rest = [*whole, rest], b""
            for line in whole:
                self._show(line)
        if rest:
            self._show(rest)

    def _show(self, line: bytes) -> None:
        self._last_line = line.decode("utf-8", "replace").strip() or self._last_line
        self._lines.show(self.name, line)

    async def _await_correction(self, before: int) -> None:
        """Say once why the process does not start and what to do, and wait for a new file."""
        file = self._environment[CONFIG_VARIABLE]
        self._lines.say(
            f"{self.name} does not start: {self._last_line} It is not started again before {file} "
            "changes: correct what is wrong, then save (or touch) that file."
        )
        self.misconfigured.set()
        while not self._stopping.is_set() and _changed_at(file) == before:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), LOOK_SECONDS)
        self.misconfigured.clear()
        self._pause = FIRST_PAUSE_SECONDS

    async def _rest(self, status: int, lived: float) -> None:
        if lived >= STEADY_SECONDS:
            self._pause = FIRST_PAUSE_SECONDS
        self._lines.say(
            f"{self.name} ended ({describe(status)}) after {lived:.1f} s; "
            f"starting it again in {self._pause:g} s"
        )
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)

    def stop(self) -> None:
        """Ask the process to end: SIGTERM to itself only, because it ends its own children."""
        self._stopping.set()
        if self._process is not None and self.running:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        """Kill the process and its children."""
        self._stopping.set()
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def _changed_at(file: str) -> int:
    """Return when a file was changed last; 0 while it is absent, as in the middle of a save."""
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0


def describe(status: int) -> str:
    """Return for people how a process ended."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
