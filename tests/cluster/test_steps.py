"""The steps of docs/nodes.md, run as they stand: from one node with an embedded store to two."""

import os
import re
import shlex
import signal
import socket
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
import requests

from core.process import end_with_parent
from core.settings import load
from tests.support.hosts import Host, hosts
from tests.support.node import ROOT, wait_for

pytestmark = [
    pytest.mark.part("network-namespaces"),
    pytest.mark.part("root"),
    pytest.mark.slow,
]
DOCUMENT = (ROOT / "docs" / "nodes.md").read_text("utf-8")
BLOCK = re.compile(
    r"^ *```sh\n( *# on (alpha|beta)(, after Ctrl-C)?\n.*?)^ *```", re.MULTILINE | re.DOTALL
)
ADDRESSES = ("192.0.2.", "198.18.0.")
#: Commands that run until Ctrl-C, and what they print when they are up.
LASTING = {"vfolder up": "The node runs.", "vfolder store": ""}
STORE_PORT = 6379


class Machine:
    """One namespace with a `/srv/vfolder` of its own, and the file system that both mount."""

    def __init__(self, name: str, host: Host, directory: Path, tools: Path) -> None:
        self.host = host
        self.home = directory / name
        self.home.mkdir()
        self._shared, self._tools = directory / "shared", tools
        self._shared.mkdir(exist_ok=True)
        self.running: list[subprocess.Popen[bytes]] = []

    def _command(self, script: str) -> list[str]:
        """The script in a view of mounts of its own, which `ip netns exec` makes."""
        mounts = []
        for top, name, source in (("/srv", "vfolder", self.home), ("/mnt", "shared", self._shared)):
            mounts += [f"mount -t tmpfs tmpfs {top}", f"mkdir {top}/{name}"]
            mounts += [f"mount --bind {shlex.quote(str(source))} {top}/{name}"]
        return self.host.command("bash", "-euc", "\n".join([*mounts, script]))

    @property
    def _environment(self) -> dict[str, str]:
        ours = {name: text for name, text in os.environ.items() if "VFOLDER" not in name}
        path = f"{self._tools}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
        return ours | {"PATH": path, "OTHER": str(self.home.parent)}

    def run(self, script: str) -> str:
        done = subprocess.run(
            self._command(script),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, script: str, ready: str) -> None:
        """Run a script whose last line lasts, until it is up."""
        *before, last = script.strip().splitlines()
        output = self.home / f"output{len(self.running)}"
        with output.open("wb") as log:
            process = subprocess.Popen(
                self._command("\n".join([*before, f"exec {last.strip()}"])),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - a prctl only
            )
        self.running.append(process)

        def up() -> bool:
            assert process.poll() is None, output.read_text()
            return ready in output.read_text() if ready else self.host.run(self._store_answers)

        wait_for(up, 180, output.read_text)

    def _store_answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.host.address, STORE_PORT)) == 0

    def press_ctrl_c(self) -> None:
        for process in reversed(self.running):
            process.send_signal(signal.SIGINT)
            process.wait(timeout=120)
        self.running.clear()

    def call(self, address: str, method: str, path: str, body: Any = None) -> Any:
        """Call a manager door from this machine."""
        secret = load(self.home / "var" / "storage-proxy.toml", {}).api.manager.secret
        headers = {"X-BackendAI-Storage-Auth-Token": secret}

        def send() -> requests.Response:
            url = f"http://{address}:6022{path}"
            return requests.request(method, url, headers=headers, json=body, timeout=60)

        answer = self.host.run(send)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def counted(self, address: str, volume: str) -> str:
        """Make a vfolder, let a job count it, and return the job's id when it has ended."""
        scope = f"user:{uuid4()}"
        vfolder = f"{scope}/{uuid4().hex}"
        self.call(address, "POST", "/quota-scope", {"volume": volume, "qsid": scope})
        self.call(address, "POST", "/folder/create", {"volume": volume, "vfid": vfolder})
        request = {"verb": "usage", "volume": volume, "vfolder": vfolder}
        job: str = self.call(address, "POST", "/v1/jobs", request)["id"]
        wait_for(lambda: self.call(address, "GET", f"/v1/jobs/{job}")["done"], 120)
        assert self.call(address, "GET", f"/v1/jobs/{job}")["state"] == "succeeded"
        return job

    def programs(self) -> list[str]:
        """The last word of each process that the node runs, as `manager` and `worker`."""
        nodes = [psutil.Process(process.pid) for process in self.running]
        return [child.cmdline()[-1] for node in nodes for child in node.children()]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, Machine]]:
    tools = tmp_path / "tools"
    tools.mkdir()
    copy = 'name=${2%%:*}; path=${2#*:/srv/vfolder/}; exec cp "$1" "$OTHER/$name/$path"'
    (tools / "scp").write_text(f"#!/bin/sh\n{copy}\n")
    (tools / "scp").chmod(0o755)
    with hosts(2) as found:
        names = zip(("alpha", "beta"), found.nodes, strict=True)
        both = {name: Machine(name, host, tmp_path, tools) for name, host in names}
        try:
            yield both
        finally:
            for machine in reversed(both.values()):
                machine.press_ctrl_c()


def blocks() -> list[tuple[str, bool, str]]:
    """Each block: its machine, whether Ctrl-C is pressed before, its commands."""
    found = BLOCK.findall(DOCUMENT)
    assert found
    return [
        (name, bool(after), textwrap.dedent(text).replace(*ADDRESSES))
        for text, name, after in found
    ]


def check_the_copy_is_not_repeated(machine: Machine, text: str) -> None:
    """The block that copies the data of the embedded store leaves newer ones as they are."""

    def data() -> dict[str, tuple[int, int]]:
        files = (machine.home / "store" / "appendonlydir").iterdir()
        return {file.name: (file.stat().st_ino, file.stat().st_ctime_ns) for file in files}

    before = data()
    assert before
    assert (machine.home / "store").stat().st_mode & 0o777 == 0o700
    assert "nothing is copied" in machine.run(text)
    assert data() == before


def test_the_steps_lead_to_a_cluster(machines: dict[str, Machine]) -> None:
    alpha, beta = machines["alpha"], machines["beta"]
    first = ""
    outputs = []
    for name, after_ctrl_c, text in blocks():
        machine = machines[name]
        if after_ctrl_c:
            first = alpha.counted("127.0.0.1", "local")
            machine.press_ctrl_c()
        last = text.strip().splitlines()[-1]
        lasting = [ready for words, ready in LASTING.items() if last.startswith(words)]
        if lasting:
            machine.start(text, lasting[0])
        else:
            outputs.append(machine.run(text))
            if after_ctrl_c:
                check_the_copy_is_not_repeated(machine, text)
    assert re.search(r"^alpha\talive\t", outputs[-1], re.MULTILINE), outputs[-1]
    assert re.search(r"^beta\talive\t", outputs[-1], re.MULTILINE), outputs[-1]
    assert re.search(r"^shared\tvfs\trun\talpha, beta\t", outputs[-1], re.MULTILINE), outputs[-1]
    assert (alpha.programs().count("beat"), alpha.programs().count("flower")) == (1, 1)
    assert {"beat", "flower"}.isdisjoint(beta.programs())
    known = beta.call(beta.host.address, "GET", f"/v1/jobs/{first}")
    assert known["state"] == "succeeded", "the jobs of the embedded store are there"
    for address in (alpha.host.address, beta.host.address):
        beta.counted(address, "shared")
        beta.counted(address, "local")
