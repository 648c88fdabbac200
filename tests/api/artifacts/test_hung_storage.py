"""A storage that hangs: each request ends within the deadline, and nothing stays open."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.brittlefs import BrittleFS, Rule, mounted
from tests.support.doors import RunningDoor, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey

pytestmark = pytest.mark.part("fuse")

#: The deadline of the door, and what a loaded machine may add (seconds).
DEADLINE_SECONDS = 2
PATIENCE_SECONDS = 30
SETTINGS = f"""
[vfolder.doors]
backend-timeout = {DEADLINE_SECONDS}
processes = 1
threads = 8
[artifact-storages.hung]
type = "vfs_storage"
[artifact-storages.hung.vfs-storage]
base-path = "{{}}"
[artifact-storages.silent]
type = "object_storage"
[artifact-storages.silent.object-storage]
endpoint = "http://127.0.0.1:{{}}"
access-key = "key"
secret-key = "secret"
buckets = ["one"]
region = "us-east-1"
"""
#: The requests that one object storage holds, of eight threads.
TURNS = 2


@pytest.fixture(scope="module")
def brittle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrittleFS]:
    with mounted(tmp_path_factory.mktemp("brittle")) as storage:
        yield storage


@pytest.fixture(scope="module")
def silent() -> Iterator[socket.socket]:
    """An endpoint that takes connections and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture(scope="module")
def door(
    brittle: BrittleFS,
    silent: socket.socket,
    tmp_path_factory: pytest.TempPathFactory,
    valkey: Valkey,
) -> Iterator[RunningDoor]:
    directory: Path = tmp_path_factory.mktemp("door")
    more = SETTINGS.format(brittle.path, silent.getsockname()[1])
    settings = settings_in(directory, valkey.url, more)
    with running_door("manager", settings) as door:
        yield door


def open_below(path: Path) -> int:
    """How many files of a directory the doors of this test have open."""
    children = psutil.Process().children(recursive=True)
    return sum(
        str(path) in file.path
        for child in children
        if "api.serve" in child.cmdline()
        for file in child.open_files()
    )


FILE: dict[str, Any] = {"filepath": "file"}
TOP = "/v1/storages/vfs/hung"


@pytest.mark.parametrize(
    ("request_line", "body", "operation"),
    [
        (f"GET {TOP}/meta", FILE, "getattr"),
        (f"GET {TOP}/files", {"directory": "/"}, "readdir"),
        (f"POST {TOP}/download", FILE, "open"),
        (f"DELETE {TOP}", FILE, "rename"),
        (
            "DELETE /v1/storages/s3/hung/buckets/any/object",
            {"key": "file"},
            "rename",
        ),
    ],
)
def test_each_request_ends_in_time(
    door: RunningDoor,
    brittle: BrittleFS,
    request_line: str,
    body: dict[str, Any],
    operation: str,
) -> None:
    method, path = request_line.split()
    (brittle.backing / "file").write_bytes(b"data")
    before = open_below(brittle.path)
    brittle.rules(Rule(operation, hang=True))
    try:
        began = time.monotonic()
        answer = door.call(method, path, body, on_fault=True)
        assert answer.status_code in (503, 504), answer.text
        assert time.monotonic() - began < PATIENCE_SECONDS
    finally:
        brittle.heal()
    wait_for(
        lambda: door.call("GET", f"{TOP}/meta", {"filepath": "/"}, on_fault=True).status_code == 200
    )
    wait_for(lambda: open_below(brittle.path) == before, failure="a file stays open")


@pytest.mark.parametrize("operation", ["create", "write", "fsync"])
def test_an_upload_ends_in_time(door: RunningDoor, brittle: BrittleFS, operation: str) -> None:
    before = open_below(brittle.path)
    brittle.rules(Rule(operation, hang=True))
    try:
        began = time.monotonic()
        answer = door.send(
            "POST", f"{TOP}/upload", data={"filepath": "sent"}, files={"file": ("f", b"data")}
        )
        assert answer.status_code in (503, 504), answer.text
        assert time.monotonic() - began < PATIENCE_SECONDS
    finally:
        brittle.heal()
    wait_for(lambda: open_below(brittle.path) == before, failure="a file stays open")
    uploads = brittle.backing / ".vfolder/uploads"
    wait_for(lambda: not list(uploads.iterdir()), failure="a file is left")


def test_an_object_storage_that_hangs_holds_few_threads(
    door: RunningDoor, silent: socket.socket
) -> None:
    """The next request is refused at once; a file system beside it answers."""
    top = "/v1/storages/s3/silent/buckets/one/object"

    def upload() -> int:
        answer = door.send(
            "POST", f"{top}/upload", data={"key": "a"}, files={"file": ("f", b"data")}
        )
        return answer.status_code

    with ThreadPoolExecutor(TURNS) as pool:
        held = [pool.submit(upload) for _ in range(TURNS)]
        asked = [silent.accept()[0] for _ in range(TURNS)]
        refused = door.call("GET", f"{top}/meta", {"key": "a"}, on_fault=True)
        assert refused.status_code == 503, refused.text
        assert refused.headers["Retry-After"]
        assert "requests wait" in refused.json()["detail"]
        assert door.call("GET", f"{TOP}/meta", {"filepath": "/"}).status_code == 200
        silent.close()  # each further try of the two finds nothing
        for one in asked:
            with closing(one):
                one.shutdown(socket.SHUT_RDWR)
        assert [one.result() for one in held] == [503] * TURNS
    again = door.call("GET", f"{top}/meta", {"key": "a"}, on_fault=True)
    assert "requests wait" not in again.json()["detail"]
