"""The systemd units are tight, and a node works with all of their limits."""

import hashlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from core.process import end_with_parent
from deploy import procfile
from deploy.demo.http import Doors
from deploy.embedded_store import write_config
from tests.support.confined import UNITS, confined, values
from tests.support.node import ROOT, Node, running_node, wait_for
from tests.support.ports import free_port

#: The most that `systemd-analyze security` may say of a unit, in tenths.
EXPOSURE = {
    "vfolder@.service": 30,
    "vfolder-aside@.service": 30,
    "vfolder-worker@.service": 50,
    "vfolder-store.service": 30,
}
UNIT_OF = {
    "manager": "vfolder@.service",
    "client": "vfolder@.service",
    "internal": "vfolder@.service",
    "worker": "vfolder-worker@.service",
    "beat": "vfolder-aside@.service",
    "flower": "vfolder-aside@.service",
}
STORE_UNIT = "vfolder-store.service"
TUS = {
    "Tus-Resumable": "1.0.0",
    "Upload-Offset": "0",
    "Content-Type": "application/offset+octet-stream",
}
#: What gives a service a view of mounts of its own (systemd.exec(5)), as far as the worker has it.
MOUNT_VIEWS = ("ProtectSystem", "ProtectHome", "PrivateTmp", "ProtectControlGroups")
MORE_VIEWS = ("ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules")
VIEWS = {*MOUNT_VIEWS, *MORE_VIEWS, "ProtectKernelTunables"}

pytestmark = pytest.mark.part("systemd")


@pytest.mark.parametrize("name", EXPOSURE)
def test_a_unit_is_tight(name: str, tmp_path: Path) -> None:
    unit = tmp_path / name
    unit.write_text((UNITS / name).read_text("utf-8"), "utf-8")
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE[name]}"]
    done = subprocess.run([*command, str(unit)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", EXPOSURE)
def test_systemd_knows_every_line(name: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` prints what it ignores; the program is that of this checkout."""
    text = (UNITS / name).read_text("utf-8")
    assert "ExecStart=/opt/vfolder/.venv/bin/python -m " in text
    unit = tmp_path / name.replace("@", "@one")
    unit.write_text(text.replace("/opt/vfolder/.venv/bin/python", sys.executable), "utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_of_the_store_and_the_steps_of_a_cluster_agree() -> None:
    steps = (ROOT / "docs" / "nodes.md").read_text("utf-8")
    (directory,) = re.findall(r"^ *dir (/\S+)$", steps, re.MULTILINE)
    unit = UNITS / STORE_UNIT
    assert values(unit, "ReadWritePaths") == [directory]
    assert values(unit, "ExecStart")[0].split()[-1] == f"{directory}/valkey.conf"


@contextmanager
def confined_store(directory: Path, port: int) -> Iterator[Redis]:
    """A client of a store that runs as its unit says, until it was asked to end."""
    program = shlex.split(values(UNITS / STORE_UNIT, "ExecStart")[0])[1:-1]
    config = write_config(directory, port, "secret")
    command = [*confined(STORE_UNIT), sys.executable, *program, str(config)]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent(),  # noqa: PLW1509 - a prctl only
        )
    retry = Retry(NoBackoff(), 0)
    try:
        with Redis(port=port, password="secret", retry=retry, decode_responses=True) as client:
            wait_for(lambda: answers(client), failure=(directory / "log").read_text)
            assert "Seccomp:\t2\n" in Path(f"/proc/{process.pid}/status").read_text("ascii")
            yield client
            process.terminate()
            assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait(120)


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def test_a_confined_store_keeps_what_it_has(tmp_path: Path) -> None:
    """It writes, runs scripts, forks to shorten its log, and ends with nothing lost."""
    port = free_port()
    with confined_store(tmp_path, port) as client:
        assert client.eval("return redis.call('SET', KEYS[1], ARGV[1])", 1, "key", "1") == "OK"
        client.bgrewriteaof()
        wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        assert client.info("persistence")["aof_last_bgrewrite_status"] == "ok"
        client.incr("key")
    with confined_store(tmp_path, port) as client:
        assert client.get("key") == "2"


def test_mounts_of_the_worker_can_be_seen() -> None:
    """The drop-in ends everything that gives the worker a view of mounts of its own."""
    worker = UNITS / "vfolder-worker@.service"
    views = {key for key in VIEWS if values(worker, key)}
    views |= {key for key in ("PrivateDevices", "ProtectClock") if values(worker, key)}
    off = UNITS / "vfolder-worker-mounts.conf"
    assert {key: values(off, key) for key in views} == {key: ["false"] for key in views}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose processes have the limits of their units."""
    lines = []
    for name, command in procfile.read().items():
        before = confined(UNIT_OF[name]) if name in UNIT_OF else []
        lines.append(f"{name}: {shlex.join([*before, *command])}")
    with running_node(tmp_path_factory.mktemp("confined"), procfile="\n".join(lines)) as started:
        yield started


def test_every_process_is_confined(node: Node) -> None:
    for name in UNIT_OF:
        module = procfile.read()[name][1:]
        status = Path(f"/proc/{node.pid_of(module)}/status").read_text("ascii")
        assert "Seccomp:\t2\n" in status, name


def test_a_confined_node_does_the_main_job(node: Node) -> None:
    doors = Doors(node.settings)
    scope = f"user:{uuid4()}"
    source, target = (f"{scope}/{uuid4().hex}" for _ in range(2))
    doors.call("POST", "/quota-scope", volume="local", qsid=scope)
    doors.call("POST", "/folder/create", volume="local", vfid=source)
    content = b"bytes" * 400_000
    ticket = {"volume": "local", "relpath": "file.bin"}
    token = doors.call("POST", "/folder/file/upload", vfid=source, size=len(content), **ticket)[
        "token"
    ]
    url = f"http://{node.settings.api.client.address}/upload?token={token}"
    assert requests.patch(url, content, headers=TUS, timeout=60).status_code == 204
    state = job(doors, verb="clone", source=source, target=target)
    assert state == "succeeded"
    token = doors.call("POST", "/folder/file/download", vfid=target, **ticket)["token"]
    assert doors.download_digest(token)[0] == hashlib.sha256(content).hexdigest()
    assert job(doors, verb="usage", vfolder=target) == "succeeded"
    assert job(doors, verb="delete", vfolder=source) == "succeeded"
    flower = node.settings.vfolder.flower
    page = f"http://{flower.address}/api/workers"
    assert requests.get(page, auth=(flower.user, flower.password or ""), timeout=60).ok


def job(doors: Doors, **request: str) -> str:
    job_id = doors.call("POST", "/v1/jobs", volume="local", **request)["id"]
    wait_for(lambda: doors.call("GET", f"/v1/jobs/{job_id}")["done"], 120)
    state: str = doors.call("GET", f"/v1/jobs/{job_id}")["state"]
    return state
