"""The supervisor with simple real processes and the real store."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis

from tests.support.node import ROOT, Node, gone, wait_for
from tests.support.terminal import terminal
from tests.support.valkey import Valkey

STORE = "redis: python -m deploy.embedded_store\n"
SLEEPER = "sleeper: sleep 1000\n"
STUBBORN = """stubborn: sh -c "trap '' TERM; echo ready; while :; do sleep 1; done"\n"""
PARENT = 'parent: sh -c "sleep 1001 & sleep 1002"\n'


@pytest.fixture
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    made = Node(tmp_path / "node", getattr(request, "param", STORE + SLEEPER))
    yield made
    if made.process is not None and made.process.poll() is None:
        wait_for(lambda: made.hurry() is not None)


FLOWER = "flower: python -m workers.serve flower\n"


@pytest.mark.parametrize("node", [STORE + SLEEPER + FLOWER], indirect=True)
def test_flower_without_a_password_is_left_out(node: Node) -> None:
    text = node.config.read_text("utf-8")
    password = f'password = "{node.settings.vfolder.flower.password}"'
    node.config.write_text(text.replace(password, ""), "utf-8")
    node.start()
    node.wait_until_it_says("The node runs.")
    assert "off; [vfolder.flower] password turns it on" in node.output
    assert not [line for line in node.children().values() if "flower" in line]
    assert node.stop() == 0


def test_an_embedded_store_without_a_password_does_not_start(node: Node) -> None:
    text = node.config.read_text("utf-8")
    password = f'password = "{node.settings.vfolder.redis.password}"'
    assert password in text
    node.config.write_text(text.replace(password, ""), "utf-8")
    node.start()
    assert node.wait() == 2
    assert "[vfolder.redis] password is missing" in node.output
    assert f"in {node.config}" in node.output
    alone = subprocess.run(
        [sys.executable, "-m", "deploy.embedded_store"],
        env=os.environ | {"VFOLDER_CONFIG": str(node.config)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert alone.returncode != 0
    assert "[vfolder.redis] password is missing" in alone.stderr


def test_the_umask_of_the_shell_does_not_close_the_state_directory(tmp_path: Path) -> None:
    """Doors with another user enter it."""
    node = Node(tmp_path / "node", STORE, ("sh", "-c", 'umask 077; exec "$@"', "sh"))
    with node.config.open("a", encoding="utf-8") as text:
        text.write('[vfolder]\nstate-dir = "state"\n')
    node.start()
    try:
        node.wait_until_it_says("The node runs.")
        assert (node.directory / "state").stat().st_mode & 0o777 == 0o755
        assert (node.directory / "state" / "store").stat().st_mode & 0o777 == 0o700
    finally:
        assert node.stop() == 0


def test_ctrl_c_ends_everyone_and_the_store_last(node: Node) -> None:
    node.start()
    node.wait_until_it_says("The node runs.")
    pids = list(node.children())
    assert len(pids) == 2
    assert node.stop() == 0
    assert gone(pids)
    assert node.output.index("draining") < node.output.index("ready to exit")
    assert "all processes ended" in node.output


def test_a_killed_process_is_started_again_with_a_line_that_says_so(node: Node) -> None:
    node.start()
    first = node.pid_of(["sleep", "1000"])
    os.kill(first, signal.SIGKILL)
    node.wait_until_it_says("sleeper ended (killed by SIGKILL)")
    node.wait_until_it_says("starting it again in 0.5 s")
    assert node.pid_of(["sleep", "1000"]) != first


@pytest.mark.parametrize("node", [STORE + 'brief: sh -c "exit 7"\n'], indirect=True)
def test_the_pauses_grow(node: Node) -> None:
    node.start()
    node.wait_until_it_says("brief ended (exit status 7)")
    node.wait_until_it_says("starting it again in 1 s")
    node.wait_until_it_says("starting it again in 2 s")
    node.wait_until_it_says("starting it again in 5 s")  # no longer: people wait for a door


@pytest.mark.parametrize("node", [STORE + PARENT], indirect=True)
def test_what_a_dead_process_left_behind_is_ended_too(node: Node) -> None:
    node.start()
    shell = node.pid_of(["sh"])
    orphan = wait_for(lambda: [p for p, line in node.children().items() if "1001" in line])
    os.kill(shell, signal.SIGKILL)
    wait_for(lambda: gone(orphan))


@pytest.mark.parametrize("node", [STORE + SLEEPER + PARENT], indirect=True)
def test_nothing_survives_a_killed_supervisor_but_what_only_its_child_knew(node: Node) -> None:
    node.start()
    node.wait_until_it_says("The node runs.")
    direct = [node.pid_of(["sleep", "1000"]), node.pid_of(["sh"]), _store_of(node)]
    rest = [pid for pid in node.children() if pid not in direct]
    node.signal(signal.SIGKILL)
    node.wait()
    wait_for(lambda: gone(direct))
    for pid in rest:  # shell children do not end with their parent; ours do (core.process.child)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _store_of(node: Node) -> int:
    return next(pid for pid, line in node.children().items() if "valkey-server" in line[0])


@pytest.mark.parametrize("node", [STORE + STUBBORN], indirect=True)
def test_a_second_ctrl_c_hurries(node: Node) -> None:
    node.start()
    node.wait_until_it_says('"event":"ready"')
    node.wait_until_it_says("The node runs.")
    pids = list(node.children())
    node.signal(signal.SIGINT)
    node.wait_until_it_says("draining")
    wait_for(lambda: node.hurry() is not None)
    assert node.wait() == 0
    assert "stubborn has not ended; killing it" in node.output
    assert gone(pids)


def test_a_taken_port_is_named_with_the_setting_that_moves_it(node: Node) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", node.ports.manager))
        taken.listen()
        node.start()
        assert node.wait() == 2
    assert f"127.0.0.1:{node.ports.manager} of the manager door is taken" in node.output
    assert "[api.manager] service-addr" in node.output
    variable = f"VFOLDER__API__MANAGER__SERVICE_ADDR=127.0.0.1:{node.ports.manager + 100}"
    assert variable in node.output


def test_the_variable_it_names_moves_the_port(node: Node) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", node.ports.store))
        taken.listen()
        other = str(Valkey(node.directory).port)
        node.start(environment={"VFOLDER__VFOLDER__REDIS__PORT": other})
        node.wait_until_it_says("The node runs.")
    assert f"127.0.0.1:{other}" in node.output


def test_a_second_start_finds_everything_as_it_was(node: Node) -> None:
    before = node.config.read_bytes()
    url = f"{node.settings.redis_url}/0"
    node.start()
    node.wait_until_it_says("The node runs.")
    with Redis.from_url(url) as client:
        client.set("kept", "yes")
    assert node.stop() == 0
    node.start()
    node.wait_until_it_says("The node runs.")
    with Redis.from_url(url) as client:
        assert client.get("kept") == b"yes"
    assert node.config.read_bytes() == before


def test_a_node_runs_once(node: Node) -> None:
    node.start()
    node.wait_until_it_says("The node runs.")
    second = subprocess.run(
        [sys.executable, "-m", "deploy.supervisor", "--config", node.config],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert f"already runs (process {node.pid})" in second.stderr


def test_an_outside_store_is_used_and_none_is_started(node: Node, valkey: Valkey) -> None:
    node.start(environment={"VFOLDER__VFOLDER__REDIS__URL": valkey.url})
    node.wait_until_it_says("The node runs.")
    assert [line for line in node.children().values() if "valkey-server" in line[0]] == []
    assert valkey.password not in node.output


def test_a_store_that_cannot_be_reached_stops_the_start(node: Node, valkey: Valkey) -> None:
    wrong = f"redis://:wrong@127.0.0.1:{valkey.port}"
    node.start(environment={"VFOLDER__VFOLDER__REDIS__URL": wrong})
    assert node.wait() == 1
    assert "refuses the password ([vfolder.redis])" in node.output
    assert "wrong" not in node.output


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("[vfolder.redis]\nportt = 1", "did you mean `port`?"),
        ("[volume.x]\nbackend = 1", "at `volume"),
        ("[[[", "not valid TOML"),
    ],
)
def test_a_wrong_configuration_is_one_clear_sentence(node: Node, line: str, sentence: str) -> None:
    text = node.config.read_text("utf-8")
    if "vfolder.redis" in line:
        text = text.replace("[vfolder.redis]", line)
    else:
        text += line
    node.config.write_text(text, "utf-8")
    node.start()
    assert node.wait() == 2
    assert sentence in node.output
    assert len(node.output.strip().splitlines()) == 1
    assert "Traceback" not in node.output


def test_output_that_nobody_reads_does_not_stop_the_node(node: Node) -> None:
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.supervisor", "--config", node.config],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.STDOUT,
    )
    os.close(writer)
    os.close(reader)
    wait_for(lambda: _answers(f"{node.settings.redis_url}/0"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 0


def _answers(url: str) -> bool:
    with Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except OSError:
            return False
        except Exception:  # noqa: BLE001 - not up yet, in any of redis-py's ways
            return False


EVENT = {
    "event": "job ended",
    "level": "warning",
    "timestamp": "2026-11-29T08:00:00Z",
    "component": "talker",
    "lost": None,
    "ok": True,
}
_QUOTED = json.dumps(EVENT).replace('"', '\\"')
TALKER = f"talker: sh -c \"echo plain; echo '{_QUOTED}'; sleep 1000\"\n"


@pytest.mark.parametrize("node", [STORE + TALKER], indirect=True)
def test_piped_output_is_one_event_of_json_per_line(node: Node) -> None:
    node.start()
    node.wait_until_it_says("The node runs.")
    node.wait_until_it_says("job ended")
    lines = [json.loads(line) for line in node.output.splitlines()]
    for line in lines:
        assert {"timestamp", "component", "level", "event"} <= line.keys()
    talker = [line for line in lines if line["component"] == "talker"]
    assert [line["event"] for line in talker] == ["plain", "job ended"]
    assert talker[1]["timestamp"] == "2026-11-29T08:00:00Z"
    assert any("config check" in line for line in node.greeting())
    assert node.stop() == 0


def test_the_commands_of_the_greeting_find_the_file_that_was_named(node: Node) -> None:
    node.start()
    node.wait_until_it_says("The node runs.")
    wait_for(node.greeting)
    check = next(line for line in node.greeting() if "config check" in line)
    secret = re.search(r"\$\((.*)\)", "\n".join(node.greeting()))
    assert secret
    own = {name: text for name, text in os.environ.items() if name != "VFOLDER_CONFIG"}
    for line, printed in ((check, str(node.config)), (secret[1], node.settings.api.manager.secret)):
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=ROOT,
            env=own,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert printed in done.stdout
    demo = next(line for line in node.greeting() if "vfolder demo" in line)
    assert demo.endswith(f"--config {node.config}")
    assert node.stop() == 0


@pytest.mark.parametrize("node", [STORE + TALKER], indirect=True)
def test_a_terminal_gets_one_coloured_line_for_people(node: Node) -> None:
    with terminal() as made:
        node.start(output=made.descriptor)
        made.hang_up()
        said = [b"The node runs.", b"job ended"]
        wait_for(lambda: all(words in made.seen for words in said), 120, lambda: str(made.seen))
        assert node.stop() == 0
    plain = made.text
    assert plain != made.seen.decode().replace("\r\n", "\n")
    line = next(line for line in plain.splitlines() if "job ended" in line)
    assert re.fullmatch(r"\d\d:\d\d:\d\d talker +\| job ended  ok=yes", line)
    assert line.count("talker") == 1
    assert '{"' not in plain
