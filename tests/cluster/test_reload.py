"""SIGHUP: processes take over new volumes, bandwidth and the log level; no transfer ends."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import requests

from core.cluster import NodeStore
from core.names import VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.support.doors import RunningDoor, mark, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey
from tests.support.worker import running_worker

BIG = 48 * 1024 * 1024
DOORS = "[vfolder.doors]\nprocesses = 2\n"
#: With this bandwidth a job of 8 MiB takes half a minute; heartbeats come every 2 s.
SLOW = f"{DOORS}[vfolder.jobs]\nlease-seconds = 10\n[vfolder.bandwidth]\nlocal = '256k'"
TAKEN = "configuration taken over"


def change(settings: Settings, more: str, level: str = "") -> None:
    """Add a second volume and further TOML to the configuration file."""
    second = settings.directory / "second"
    second.mkdir(exist_ok=True)
    mark(settings, {"second": second})
    path = Path(settings.origin)
    text = path.read_text()
    if level:
        text += f'\n[logging]\nlevel = "{level}"\n'
    path.write_text(f'{text}\n[volume.second]\nbackend = "vfs"\npath = "second"\n{more}\n')


def names(manager: RunningDoor) -> set[str]:
    """Return the volumes that one process of the door lists; a new connection may reach another."""
    answer = manager.send("GET", "/volumes", headers={"Connection": "close"})
    return {one["name"] for one in answer.json()["volumes"]}


def pids(door: RunningDoor) -> set[int]:
    return {child.pid for child in psutil.Process(door.process.pid).children()}


def hup(*doors: RunningDoor) -> None:
    """Send SIGHUP to the doors once each of their processes catches it (proc(5))."""
    for door in doors:
        wait_for(lambda door=door: len(pids(door)) == 2 and all(map(catches_hup, pids(door))))  # type: ignore[misc] # bound now
        door.process.send_signal(signal.SIGHUP)


def catches_hup(pid: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) & 1 << signal.SIGHUP - 1)
    return False


def half_read(url: str) -> socket.socket:
    """Start a download and read only the beginning of the answer."""
    host, _, rest = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    found = socket.create_connection((name, int(port)), timeout=60)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    found.sendall(f"GET /{rest} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert found.recv(12) == b"HTTP/1.1 200"
    return found


def rest_of(download: socket.socket) -> int:
    """Read the rest of an answer; return its length in bytes, with some of the headers."""
    got = 0
    with download:
        while piece := download.recv(1 << 20):
            got += len(piece)
    return got


def made(manager: RunningDoor, settings: Settings) -> tuple[str, Path]:
    vfid = f"user:{uuid4()}/{uuid4().hex}"
    assert manager.call("POST", "/folder/create", {"volume": "local", "vfid": vfid}).ok
    return vfid, settings.directory / "local" / VFolderId.parse(vfid).directory


def test_doors_take_over_new_volumes_and_cut_nothing(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url, DOORS)
    with (
        running_door("manager", settings) as manager,
        running_door("client", settings) as client,
    ):
        vfid, root = made(manager, settings)
        (root / "big").write_bytes(os.urandom(BIG))
        order = {"volume": "local", "vfid": vfid, "relpath": "big"}
        ticket = manager.call("POST", "/folder/file/download", order).json()["token"]
        download = half_read(f"{client.url}/download?token={ticket}")
        order = {"volume": "local", "vfid": vfid, "relpath": "up", "size": str(2 * 65536)}
        upload = manager.call("POST", "/folder/file/upload", order).json()["token"]

        change(settings, "", level="WARNING")
        before = pids(manager), pids(client)

        def body() -> Iterator[bytes]:
            """Give half of the body before the signal, half after the doors took over the file."""
            yield b"a" * 65536
            hup(manager, client)
            for _ in range(8):
                wait_for(lambda: all(names(manager) == {"local", "second"} for _ in range(8)))
            yield b"b" * 65536

        headers = {"Upload-Offset": "0", "Tus-Resumable": "1.0.0"}
        headers["Content-Type"] = "application/offset+octet-stream"
        url = f"{client.url}/upload?token={upload}"
        sent = requests.patch(url, data=body(), headers=headers, timeout=180)
        assert sent.status_code == 204, sent.text
        assert (root / "up").read_bytes() == b"a" * 65536 + b"b" * 65536
        assert rest_of(download) >= BIG
        assert (pids(manager), pids(client)) == before, "the same processes"
        log = tmp_path / "manager.log"
        wait_for(lambda: log.read_text().count(TAKEN) == 2)
        length_before = len(log.read_text())
        assert all(names(manager) == {"local", "second"} for _ in range(8))
        after = log.read_text()[length_before:]
        assert "request answered" not in after, "the level is WARNING now"


def test_a_wrong_file_changes_nothing(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url, DOORS)
    with running_door("manager", settings) as manager:
        change(settings, "pathh = 1")
        hup(manager)
        log = tmp_path / "manager.log"
        wait_for(lambda: log.read_text().count("configuration not taken over") == 2)
        assert "did you mean `path`" in log.read_text()
        assert names(manager) == {"local"}


def test_a_worker_takes_over_volumes_and_bandwidth_and_its_job_goes_on(
    tmp_path: Path, valkey: Valkey
) -> None:
    settings = settings_in(tmp_path, valkey.url, SLOW)
    with (
        running_worker(settings) as worker,
        running_door("manager", settings) as manager,
        connect(settings, Database.JOBS) as client,
    ):
        assert wait_for(lambda: client.hget("vf:bandwidth", "local")) == str(256 << 10)
        vfid, root = made(manager, settings)
        for number in range(8):
            (root / f"file-{number}").write_bytes(os.urandom(1 << 20))
        body = {"verb": "clone", "volume": "local", "source": vfid}
        job = manager.call("POST", "/v1/jobs", {**body, "target": f"user:{uuid4()}/{uuid4().hex}"})
        url = f"/v1/jobs/{job.json()['id']}"
        wait_for(lambda: manager.call("GET", url).json()["state"] == "running")
        children = {child.pid for child in psutil.Process(worker).children()}

        text = Path(settings.origin).read_text()
        Path(settings.origin).write_text(text.replace("'256k'", "'900m'"))
        change(settings, "")
        os.kill(worker, signal.SIGHUP)
        wait_for(lambda: NodeStore(client).serving("second"))
        wait_for(lambda: client.hget("vf:bandwidth", "local") == str(900 << 20))
        wait_for(lambda: manager.call("GET", url).json()["done"])
        done = manager.call("GET", url).json()
        assert (done["state"], done["attempt"]) == ("succeeded", 1)
        assert {child.pid for child in psutil.Process(worker).children()} == children
        (tmp_path / "second" / VFolderId.parse(vfid).directory).mkdir(parents=True)
        # Its children know the volume, too.
        hup(manager)
        usage = {"verb": "usage", "volume": "second", "vfolder": vfid}
        wait_for(lambda: (tmp_path / "manager.log").read_text().count(TAKEN) == 2)
        url = f"/v1/jobs/{manager.call('POST', '/v1/jobs', usage).json()['id']}"
        wait_for(lambda: manager.call("GET", url).json()["state"] == "succeeded")


def test_a_child_without_an_earlier_job_knows_the_new_volume(
    tmp_path: Path, valkey: Valkey
) -> None:
    settings = settings_in(tmp_path, valkey.url)
    with running_worker(settings) as worker, connect(settings, Database.JOBS) as client:
        wait_for(lambda: NodeStore(client).serving("local"))
        change(settings, "")
        os.kill(worker, signal.SIGHUP)
        wait_for(lambda: NodeStore(client).serving("second"))
        vfolder = VFolderId.parse(f"user:{uuid4()}/{uuid4().hex}")
        (tmp_path / "second" / vfolder.directory).mkdir(parents=True)
        with running_door("manager", settings) as manager:  # it starts with both volumes
            usage = {"verb": "usage", "volume": "second", "vfolder": str(vfolder)}
            url = f"/v1/jobs/{manager.call('POST', '/v1/jobs', usage).json()['id']}"
            wait_for(lambda: manager.call("GET", url).json()["done"])
            assert manager.call("GET", url).json()["state"] == "succeeded"
