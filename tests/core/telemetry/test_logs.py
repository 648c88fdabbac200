"""Logs: one event a line, what it is about in every line, no secrets."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from core.names import VFolderId
from tests.support.doors import SECRET, TICKET_SECRET, running_door, settings_in
from tests.support.node import ROOT, wait_for
from tests.support.terminal import terminal
from tests.support.valkey import Valkey
from tests.support.worker import running_worker

PRIVATE = "my-private-name"
CONFIG = ROOT / "deploy" / "logs" / "config.alloy"


AGAIN = """
from core.telemetry import logs
logs.configure("worker")
known = logs.logger("known")
known.info("first")
logs.configure("manager", "WARNING")
known.info("dropped")
known.warning("second")
"""
FAILING = """
from core.telemetry import logs
logs.configure("worker")
def fail(value):
    raise ValueError("no place")
try:
    fail(chr(115) + "wordfish")
except ValueError:
    logs.logger("one").exception("job failed")
"""


COMMAND = """
from core.telemetry import logger
logger("one").warning("etcd not read", reason=None, lost=0)
print("value")
"""


def lines(path: Path) -> list[dict[str, Any]]:
    """Every line is one JSON object."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def labels() -> set[str]:
    """What the example sends along as labels and as structured metadata."""
    blocks = re.findall(r"values = \{([^}]*)\}", CONFIG.read_text("utf-8"))
    return {name for block in blocks for name in re.findall(r"(\w+) = \"\"", block)}


def test_lines_say_what_they_are_about(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    source, target = (f"user:{uuid4()}/{uuid4().hex}" for _ in range(2))
    place = {"volume": "local", "vfid": source}
    with (
        running_worker(settings),
        running_door("manager", settings) as manager,
        running_door("client", settings) as client,
    ):
        manager.call("POST", "/folder/create", place)
        root = tmp_path / "local" / VFolderId.parse(source).directory
        (root / PRIVATE).write_text("x")
        manager.call("POST", "/folder/file/list", {**place, "relpath": PRIVATE})
        order = {**place, "relpath": PRIVATE}
        token = manager.call("POST", "/folder/file/download", order).json()["token"]
        assert client.send("GET", f"/download?token={token}").text == "x"
        body = {"verb": "clone", "volume": "local", "source": source, "target": target}
        job = manager.call("POST", "/v1/jobs", body).json()["id"]
        wait_for(lambda: manager.call("GET", f"/v1/jobs/{job}").json()["done"])

    asked = {
        line["operation"]: line for line in lines(tmp_path / "manager.log") if "operation" in line
    }
    sent = [line for line in lines(tmp_path / "client.log") if line.get("operation") == "download"]
    done = [line for line in lines(tmp_path / "worker.log") if line.get("job_id") == job]
    about = {"volume": "local", "backend": "vfs", "vfolder_id": source}
    assert about.items() <= asked["list_directory"].items()
    assert asked["list_directory"]["request_id"]
    assert about.items() <= sent[0].items()
    assert {line["event"] for line in done} >= {"job started", "job ended"}
    facts = {**about, "vfolder_id": target, "operation": "clone", "attempt": "1"}
    assert all(facts.items() <= line.items() for line in done if line["event"].startswith("job "))
    everything = [*asked.values(), *sent, *done]
    assert labels() <= {key for line in everything for key in line}
    for name in ("manager", "client", "worker"):
        text = (tmp_path / f"{name}.log").read_text()
        for hidden in (PRIVATE, SECRET, TICKET_SECRET, token, valkey.password):
            assert hidden not in text, name


def test_loggers_follow_a_second_configuration() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", AGAIN], cwd=ROOT, capture_output=True, text=True, check=True
    )
    said = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [(line["event"], line["component"]) for line in said] == [
        ("first", "worker"),
        ("second", "manager"),
    ]


def test_a_traceback_on_a_terminal_shows_no_values() -> None:
    with terminal() as shown:
        command = [sys.executable, "-c", FAILING]
        subprocess.run(command, cwd=ROOT, stderr=shown.descriptor, check=True)
    assert "job failed" in shown.text
    assert "ValueError: no place" in shown.text
    assert "swordfish" not in shown.text


def test_a_command_logs_to_standard_error_in_the_format_of_all() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "value\n"
    line = json.loads(ended.stderr)
    assert (line["event"], line["component"]) == ("etcd not read", "command")
    assert line["reason"] is None


def test_a_terminal_shows_no_null() -> None:
    with terminal() as shown:
        command = [sys.executable, "-c", COMMAND]
        subprocess.run(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=shown.descriptor, check=True
        )
    assert "lost=0" in shown.text
    assert "reason" not in shown.text


def test_logs_load_no_rich_and_leave_it_to_those_who_draw() -> None:
    program = (
        "import sys\n"
        "from core.telemetry import logs\n"
        "assert not {'rich', 'pygments', 'attr'} & set(sys.modules)\n"
        "import rich.console\n"
        "rich.console.Console().print('drawn')\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "drawn\n"
