"""The node of a demonstration: a running one, or a temporary one."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigurationError
from core.process import end_with_parent
from core.settings import CONFIG_NAME, CONFIG_VARIABLE, OVERRIDE_PREFIX, Settings, load
from deploy import first_run
from deploy.demo.http import Doors
from deploy.demo.show import DemoFailed, Show

START_SECONDS = 60.0
STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1
_LINES_SHOWN = 30
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class DemoNode:
    """A node that answers, and the volume to use."""

    settings: Settings
    doors: Doors
    volume: str
    #: It ends with the demonstration.
    is_temporary: bool = False


@contextmanager
def demo_node(config: Path | None, show: Show) -> Iterator[DemoNode]:
    """Yield the configured node if it runs; else start a temporary one and stop it at the end.

    Raises:
        DemoFailed: the temporary node does not start.
    """
    if node := _running(config):
        show.say(f"using the node that runs at {node.settings.api.manager.address}")
        yield node
        return
    with tempfile.TemporaryDirectory(prefix="vfolder-demo-") as directory:
        file = Path(directory) / CONFIG_NAME
        first_run.ensure(file, first_run.Ports.free())
        with _supervised(file, show) as node:
            yield node


def _running(config: Path | None) -> DemoNode | None:
    try:
        settings = load(config.absolute() if config else None, ask_etcd=False)
    except ConfigurationError:
        if config is not None:  # a named file must be valid
            raise
        return None
    doors = Doors(settings)
    return _node(settings, doors) if doors.are_open() else None


def _node(settings: Settings, doors: Doors, *, is_temporary: bool = False) -> DemoNode:
    volumes = doors.call("GET", "/volumes")["volumes"]
    names = [volume["name"] for volume in volumes]
    if not names:
        raise DemoFailed("The node has no volume.")
    return DemoNode(settings, doors, "local" if "local" in names else names[0], is_temporary)


@contextmanager
def _supervised(file: Path, show: Show) -> Iterator[DemoNode]:
    settings = load(file, {})
    show.say(f"no node runs: starting one at {settings.api.manager.address} (its own directory)")
    log = file.with_name("output")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.supervisor", "--config", str(file)],
            cwd=_ROOT,
            env=_environment(file),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # only this process gets Ctrl-C; the node is drained at the end
            preexec_fn=end_with_parent(signal.SIGTERM),  # noqa: PLW1509 - a prctl only
        )
        try:
            doors = Doors(settings)
            _wait(doors, process, log)
            yield _node(settings, doors, is_temporary=True)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=STOP_SECONDS)


def _environment(file: Path) -> dict[str, str]:
    # Overrides for the user's node must not change this one.
    kept = {name: text for name, text in os.environ.items() if not name.startswith(OVERRIDE_PREFIX)}
    return kept | {CONFIG_VARIABLE: str(file)}


def _wait(doors: Doors, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not doors.are_open():
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text("utf-8", "replace").splitlines()[-_LINES_SHOWN:]
            raise DemoFailed("The node did not start:\n" + "\n".join(last))
        time.sleep(_POLL_SECONDS)
