"""The demonstration, on a running node and on a temporary one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from core.process import end_with_parent
from deploy.demo.http import Doors
from deploy.demo.show import Show
from tests.support import preloaded
from tests.support.doors import running_door, settings_in
from tests.support.node import Node, wait_for
from tests.support.valkey import Valkey

#: A healthy process answers sooner than this.
BUSY_SECONDS = 3.0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "small"
    (top / "a" / "b" / "c").mkdir(parents=True)
    for number in range(50):
        (top / "a" / "b" / f"{number}.py").write_bytes(os.urandom(number * 1000))
    (top / "a" / "link").symlink_to("b")
    return top


def demo(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = ["api.cli", "demo", *map(str, arguments)]
    return preloaded.run(words, os.environ | environment, 500)


def test_it_uses_the_node_that_runs(stack: Node, tree: Path) -> None:
    result = demo("--config", stack.config, "--tree", tree)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "using the node that runs" in result.stdout
    assert "equal: content, modes, owners, times (ns), symlinks, hard links" in result.stdout
    assert "All checks passed." in result.stdout


def test_a_node_that_is_busy_is_there_all_the_same(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    with (
        running_door("manager", settings) as door,
        running_door("client", settings),
        ThreadPoolExecutor(1) as pool,
    ):
        main = psutil.Process(door.process.pid)
        main.suspend()
        family = [main, *main.children(recursive=True)]
        for process in family:
            process.suspend()
        asked = pool.submit(Doors(settings).are_open)
        time.sleep(BUSY_SECONDS)
        for process in family:
            process.resume()
        assert asked.result(120)


@pytest.mark.slow
def test_without_a_node_it_starts_one_and_leaves_nothing(tmp_path: Path, tree: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    missing = tmp_path / "none.toml"
    result = demo("--tree", tree, TMPDIR=str(room), VFOLDER_CONFIG=str(missing))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no node runs: starting one" in result.stdout
    assert list(room.iterdir()) == []
    assert not any(str(room).encode() in line for line in command_lines())


@pytest.mark.slow
def test_a_signal_to_the_demonstration_leaves_nothing(tmp_path: Path, tree: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "api.cli", "demo", "--tree", str(tree)],
        env=os.environ | {"TMPDIR": str(room), "VFOLDER_CONFIG": str(tmp_path / "none.toml")},
        stdout=subprocess.DEVNULL,
        preexec_fn=end_with_parent(signal.SIGTERM),  # noqa: PLW1509 - a prctl only
    )
    wait_for(lambda: list(room.glob("vfolder-demo-*/output")))
    process.terminate()
    assert process.wait(timeout=120) == 128 + signal.SIGTERM
    assert list(room.iterdir()) == []
    assert not any(str(room).encode() in line for line in command_lines())


def test_an_end_that_was_lost_comes_at_the_next_step() -> None:
    """What a signal's handler raises within a finalizer, the interpreter only reports."""
    show = Show()
    with suppress(SystemExit):  # as the interpreter does it there
        show.end_early(143)
    with pytest.raises(SystemExit) as ended, show.step("next"):
        pytest.fail("The step began.")
    assert ended.value.code == 143


def command_lines() -> Iterator[bytes]:
    """The arguments of all processes of the machine; a process may end meanwhile."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            yield path.read_bytes().replace(b"\0", b" ")


def test_a_named_configuration_must_be_right(tmp_path: Path) -> None:
    file = tmp_path / "storage-proxy.toml"
    file.write_text("[nonsense]\n", "utf-8")
    result = demo("--config", file)
    assert result.returncode == 1
    assert "nonsense" in result.stdout
    assert "Traceback" not in result.stderr
