"""The supervisor of one node's processes: `python -m deploy.supervisor`, started by `vfolder up`.

It starts the store and waits until it is ready, then starts all others. A process that ends is
started again, with growing pauses and one line in the output; a plain Procfile runner would stop
everything. SIGINT, SIGTERM and SIGHUP drain: all processes but the store are asked to end, then the
store; a second signal kills. When this process dies, its children die too: see
`core.process.child`.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError
from core.process import loading
from core.settings import CONFIG_VARIABLE, Settings
from deploy import listeners, procfile
from deploy.child import Child
from deploy.greeting import greeting, sign_in_link
from deploy.printing import LinePrinter
from deploy.start import prepare

#: Doors and the worker are killed this long after the end of their own grace time.
DRAIN_MARGIN_SECONDS = 10.0
STORE_STOP_SECONDS = 10.0
#: One Ctrl-C may arrive twice (from the terminal and from make): only a later one counts as second.
HURRY_AFTER_SECONDS = 0.5
#: A store with a long append-only file needs time to read it.
STORE_START_SECONDS = 60.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """All processes of one node, from the first start to the last end."""

    def __init__(
        self, settings: Settings, commands: dict[str, list[str]], *, is_first: bool = False
    ) -> None:
        self._settings = settings
        self._is_first = is_first
        if not settings.store_is_embedded:
            commands = {name: line for name, line in commands.items() if name != procfile.STORE}
        self._lines = LinePrinter(list(commands))
        environment = _environment(settings)
        children = {
            name: Child(name, line, environment, self._lines) for name, line in commands.items()
        }
        self._store = children.pop(procfile.STORE, None)
        self._others = list(children.values())
        self._stop = asyncio.Event()
        self._stop_time = 0.0
        self._hurry = asyncio.Event()

    async def run(self) -> int:
        """Run until a signal requests the end; return the exit status."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            # Not handlers of the loop: they end with the loop, and a late Ctrl-C would raise.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._on_signal))
        running = {child: asyncio.create_task(child.run()) for child in self._first()}
        problem = await self._store_ready()
        if problem is None:
            running |= {child: asyncio.create_task(child.run()) for child in self._others}
            greeter = asyncio.create_task(self._greet())
            await self._stop.wait()
            greeter.cancel()
        await self._drain(running)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if problem and not self._stop.is_set():
            self._lines.say(problem)
            return 1
        self._lines.say("all processes ended")
        return 0

    def _first(self) -> Iterable[Child]:
        return [self._store] if self._store else []

    def _on_signal(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self._stop.is_set():
            self._lines.say("draining; press Ctrl-C again to hurry")
            self._stop_time = now
            self._stop.set()
        elif now > self._stop_time + HURRY_AFTER_SECONDS:
            self._hurry.set()

    async def _store_ready(self) -> str | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STORE_START_SECONDS
        while not self._stop.is_set():
            try:
                problem = await asyncio.to_thread(listeners.store_problem, self._settings)
            except ConfigurationError as error:
                return error.detail
            if self._store and self._store.misconfigured.is_set():
                return "the store does not start; its own line above says why"
            if problem is None or loop.time() > deadline:
                return problem
            await asyncio.sleep(listeners.POLL_SECONDS)
        return "stopped before the store was ready"

    async def _greet(self) -> None:
        deadline = asyncio.get_running_loop().time() + listeners.START_SECONDS
        known = {child.name: child for child in self._others}
        late = [
            one.title
            for one in listeners.of(self._settings)
            if one.process in known and not await self._answers(one, known[one.process], deadline)
        ]
        # Later starts name the command: a link in the log of a service is of no use.
        link = await asyncio.to_thread(sign_in_link, self._settings) if self._is_first else ""
        self._lines.greet(await asyncio.to_thread(greeting, self._settings, link))
        if late:
            self._lines.say(f"not answering yet: {', '.join(late)}; see the lines above")

    async def _answers(self, one: listeners.Listener, child: Child, deadline: float) -> bool:
        answer = asyncio.create_task(listeners.answers(one, deadline))
        stuck = asyncio.create_task(child.misconfigured.wait())
        try:
            await asyncio.wait({answer, stuck}, return_when=asyncio.FIRST_COMPLETED)
            return answer.done() and answer.result()
        finally:
            answer.cancel()
            stuck.cancel()

    async def _drain(self, running: dict[Child, "asyncio.Task[None]"]) -> None:
        others = {child: task for child, task in running.items() if child is not self._store}
        hurried = asyncio.create_task(self._hurry.wait())
        bound = self._settings.vfolder.doors.grace_seconds + DRAIN_MARGIN_SECONDS
        await self._end(others, bound, hurried)
        store = {child: task for child, task in running.items() if child is self._store}
        await self._end(store, STORE_STOP_SECONDS)
        hurried.cancel()

    async def _end(
        self,
        running: dict[Child, "asyncio.Task[None]"],
        bound: float,
        hurried: "asyncio.Task[bool] | None" = None,
    ) -> None:
        if not running:
            return
        for child in running:
            child.stop()
        ended = asyncio.gather(*running.values())
        waited: list[asyncio.Future[Any]] = [ended, hurried] if hurried else [ended]
        await asyncio.wait(waited, timeout=bound, return_when=asyncio.FIRST_COMPLETED)
        for child in running:
            if child.running:
                self._lines.say(f"{child.name} has not ended; killing it")
                child.kill()
        await ended


def _environment(settings: Settings) -> dict[str, str]:
    own = Path(sys.executable).parent
    return os.environ | {
        CONFIG_VARIABLE: settings.origin,
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{own}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }


def main() -> None:
    """Prepare the node and run it; exit with status 2 and a message on a configuration error."""
    try:
        start = prepare(sys.argv[1:])
    except ConfigurationError as error:
        sys.stderr.write(f"{error.detail}\n")
        sys.exit(2)
    with loading():
        supervisor = Supervisor(start.settings, start.commands, is_first=start.is_first)
    sys.exit(asyncio.run(supervisor.run()))


if __name__ == "__main__":
    main()
