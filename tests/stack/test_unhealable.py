"""A process that its configuration keeps from starting is not started again and again."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.process import MISCONFIGURED
from core.settings import CONFIG_VARIABLE, load
from deploy import listeners
from tests.support import preloaded
from tests.support.doors import settings_in
from tests.support.node import Node, wait_for
from tests.support.valkey import Valkey

STORE = "redis: python -m deploy.embedded_store\n"
MANAGER = "manager: python -m api.serve manager\n"
SLEEPER = "sleeper: sleep 1000\n"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path / "node", STORE + MANAGER + SLEEPER)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()


def test_it_is_said_once_and_healed_by_a_right_file(node: Node) -> None:
    node.start()
    node.wait_until_it_says("The node runs.")
    right = node.config.read_text()
    node.config.write_text(right.replace("[volume.local]", "[volume.local]\ncolour = 1"))
    sleeper = node.pid_of(["sleep"])
    subprocess.run(["kill", "-KILL", str(node.pid_of(["api.serve"]))], check=True)
    node.wait_until_it_says("manager does not start: Unknown key `colour` in [volume.local].")
    assert f"before {node.config} changes" in node.output
    subprocess.run(["kill", "-KILL", str(sleeper)], check=True)
    node.wait_until_it_says("sleeper ended (killed by SIGKILL)")
    wait_for(lambda: node.pid_of(["sleep"]) != sleeper)
    assert node.output.count("does not start") == 1, "the others are started again, this one is not"
    assert not [line for line in node.children().values() if "api.serve" in line]
    node.config.write_text(right)
    assert node.pid_of(["api.serve"])
    assert node.stop() == 0


def test_the_greeting_does_not_wait_for_it(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", STORE + 'manager: sh -c "echo It is absent.; exit 78"\n')
    node.start()
    try:
        node.wait_until_it_says("not answering yet: manager door", seconds=50)
        assert "manager does not start: It is absent." in node.output
    finally:
        node.stop()


def test_a_store_that_cannot_start_ends_the_start(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", STORE + SLEEPER)
    (node.directory / "store").write_text("no directory")
    node.start()
    assert node.wait(50) == 1
    assert f"Cannot write below {node.directory}/store: File exists." in node.output
    assert "the store does not start" in node.output


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("VFOLDER__API__MANAGER__SECRET_FILE", "{}/absent", "No such file or directory"),
        ("VFOLDER__API__MANAGER__SECRET_FILE", "{}", "Is a directory"),
        ("VFOLDER__API__MANAGER__SECRET_FILE", "{}/binary", "is not UTF-8 text"),
        ("VFOLDER__API__MANAGER__SECRET__DEEP", "1", "`secret` is a value"),
        ("VFOLDER__VFOLDER__STATE_DIR", "{}/binary", "binary"),
        ("VFOLDER_CONFIG", "{}/absent", "No such file or directory"),
        ("VFOLDER_CONFIG", "{}/binary", "is not UTF-8 text"),
        ("VFOLDER_CONFIG", "{}", "Is a directory"),
    ],
)
@pytest.mark.parametrize(
    "process", ["api.serve manager", "workers.serve worker", "deploy.embedded_store"]
)
def test_one_sentence_names_the_cause(
    tmp_path: Path, process: str, variable: str, value: str, words: str
) -> None:
    settings = settings_in(tmp_path)
    text = Path(settings.origin).read_text()
    Path(settings.origin).write_text(text.replace("url =", 'password = "p"\n#'))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    done = started(process, {CONFIG_VARIABLE: settings.origin, variable: value.format(tmp_path)})
    assert done.returncode == MISCONFIGURED
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def started(process: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return preloaded.run(process.split(), {"PATH": path, **environment}, 120)


def test_flower_without_a_password_is_such_a_process(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    done = started("workers.serve flower", {CONFIG_VARIABLE: settings.origin})
    assert done.returncode == MISCONFIGURED
    assert "[vfolder.flower] password" in done.stderr


def test_a_mount_may_come_so_another_start_may_help(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, more="[vfolder.mounts]\nrequire-mount = true\n")
    done = started("api.serve manager", {CONFIG_VARIABLE: settings.origin})
    assert done.returncode == 1
    assert "is no mount point" in done.stderr


def test_every_interface_is_taken_where_one_is(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = Path(settings_in(tmp_path).origin)
        door = f'[api.client]\nservice-addr = "0.0.0.0:{port}"\n'
        path.write_text(re.sub(r"\[api\.client\]\nservice-addr.*\n", door, path.read_text()))
        with pytest.raises(ConfigurationError, match=rf"0\.0\.0\.0:{port} of the client door"):
            listeners.check_free(load(path))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://127.0.0.1:1", "does not answer: Connection refused"),
        ("redis://nowhere.invalid:6379", "does not answer: "),
        ("redis://:wrong@{address}", "refuses the password"),
        ("redis://{address}", "wants a password, and none is set"),
        ("redis://poor:poor@{address}", "refuses: "),
    ],
)
def test_what_keeps_the_store_away_is_named(
    tmp_path: Path, valkey: Valkey, url: str, words: str
) -> None:
    with valkey.client() as client:
        client.execute_command("ACL", "SETUSER", "poor", "on", ">poor", "-@all")
    settings = settings_in(tmp_path, url.format(address=f"127.0.0.1:{valkey.port}"))
    try:
        said = listeners.store_problem(settings)
    except ConfigurationError as error:
        said = error.detail
    assert said
    assert words in said
    assert "wrong" not in said, "the password is not shown"
