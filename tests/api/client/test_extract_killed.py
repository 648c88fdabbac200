"""A worker dies while it unpacks an upload: the next worker unpacks it completely."""

import contextlib
import io
import signal
import tarfile
from pathlib import Path

import psutil
import pytest

from core.settings import load
from tests.api.client.conftest import ClientDoor, make_door
from tests.api.client.test_extract import ended, left, send
from tests.support.node import wait_for
from tests.support.valkey import Valkey
from tests.support.worker import running_worker

MANY = 3_000
JOBS = """
[vfolder.jobs]
lease-seconds = 4
ring-again-seconds = 1.0
"""


@pytest.mark.slow
def test_a_worker_killed_in_the_middle(valkey: Valkey, tmp_path: Path) -> None:
    door = make_door(tmp_path, valkey, JOBS)
    with contextlib.ExitStack() as after:
        after.callback(door.store._client.close)
        after.callback(door.stop)
        door.start()
        _unpacked_after_a_kill(door, tmp_path)


def _unpacked_after_a_kill(door: ClientDoor, tmp_path: Path) -> None:
    folder = door.vfolder()
    path = tmp_path / "many.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(MANY):
            info = tarfile.TarInfo(f"{number % 50}/{number}")
            info.size = 20_000
            archive.addfile(info, io.BytesIO(bytes([number % 256]) * 20_000))
    url = send(folder, path.read_bytes(), filename="dir", extract="tar")
    target = folder.path / "base/dir"
    settings = load(door.directory / "storage-proxy.toml", {})
    with running_worker(settings) as pid:
        wait_for(lambda: any(entry.is_dir() for entry in left(folder)) or target.exists(), 60)
        main = psutil.Process(pid)
        main.suspend()  # else it would replace the killed processes
        for process in [*main.children(recursive=True), main]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
    with running_worker(settings):
        assert ended(url) == "succeeded"
    files = [path for path in target.rglob("*") if path.is_file()]
    assert len(files) == MANY
    assert all(file.read_bytes() == bytes([int(file.name) % 256]) * 20_000 for file in files)
    assert left(folder) == []
