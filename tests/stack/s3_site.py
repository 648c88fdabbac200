"""A node whose vfolders are in a bucket, and one of files beside it; what its tests share."""

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from backends.systems.s3 import Bucket, MultipartUpload
from core.names import VFolderId
from core.settings import Settings
from deploy.demo.http import Doors
from tests.support.doors import RunningDoor, running_door, settings_in
from tests.support.node import gone, wait_for
from tests.support.object_storage import (
    ACCESS_KEY,
    SECRET_KEY,
    FaultyStorage,
    ObjectStorage,
)
from tests.support.valkey import Valkey
from tests.support.worker import running_worker

MIB = 1 << 20
PIECE = 4 * MIB + 1
VOLUME = "objects"
#: How long one request waits for the end of a job.
WAIT_SECONDS = 30
#: The run of a killed worker is taken over soon; few processes serve.
BRISK = """
[vfolder.jobs]
lease-seconds = 12.0
ring-again-seconds = 1.0
[vfolder.worker]
concurrency = 2
tree-processes = 1
[vfolder.doors]
processes = 1
"""


@dataclass
class Site:
    """A node's doors and worker, its bucket, and calls of the doors."""

    settings: Settings
    doors: Doors
    bucket: Bucket
    #: Between the node and the storage.
    proxy: FaultyStorage
    #: Above the directories of the volumes.
    top: Path
    opened: ExitStack
    worker: int = 0
    client: RunningDoor | None = None

    def prefix_of(self, vfolder: str, records: str = "records") -> str:
        record = self.top / records / VFolderId.parse(vfolder).directory / "objects"
        return str(json.loads(record.read_text())["prefix"])

    def call(self, method: str, path: str, **body: Any) -> Any:
        return self.doors.call(method, path, volume=VOLUME, **body)

    def refused(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """The problem of a call that the manager door refuses."""
        answer = self.doors._session.request(
            method, self.doors._manager + path, json={"volume": VOLUME, **body}, timeout=60
        )
        assert answer.status_code == 400, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def vfolder(self, volume: str = VOLUME) -> str:
        """A new vfolder."""
        found = f"user:{uuid4()}/{uuid4().hex}"
        self.doors.call("POST", "/folder/create", volume=volume, vfid=found)
        return found

    def names(self, vfolder: str, path: str = ".") -> list[tuple[str, str, int]]:
        items = self.call("POST", "/folder/file/list", vfid=vfolder, relpath=path)["items"]
        return sorted((i["name"], i["type"], i["stat"]["size"]) for i in items)

    def upload(self, vfolder: str, path: str, data: bytes) -> None:
        """Send a file in pieces; the ticket makes an empty one."""
        body = {"vfid": vfolder, "relpath": path, "size": len(data)}
        token = self.call("POST", "/folder/file/upload", **body)["token"]
        for offset in range(0, len(data), PIECE):
            answer = self.doors._users.patch(
                f"{self.doors._client}/upload",
                params={"token": token},
                headers={
                    "Tus-Resumable": "1.0.0",
                    "Upload-Offset": str(offset),
                    "Content-Type": "application/offset+octet-stream",
                },
                data=data[offset : offset + PIECE],
                timeout=60,
            )
            assert answer.status_code == 204, answer.text

    def download(self, vfolder: str, path: str, **options: Any) -> requests.Response:
        token = self.call("POST", "/folder/file/download", vfid=vfolder, relpath=path)["token"]
        method = options.pop("method", "GET")
        query = {"token": token, **options.pop("query", {})}
        return self.doors._users.request(
            method, f"{self.doors._client}/download", params=query, timeout=60, **options
        )

    def job(self, *, volume: str = VOLUME, **body: Any) -> dict[str, Any]:
        """The end of a job."""
        return self.end(self.doors.call("POST", "/v1/jobs", volume=volume, **body)["id"])

    def end(self, job: str) -> dict[str, Any]:
        """The end of a job that was submitted."""

        def ended() -> dict[str, Any]:
            answer = self.doors._session.get(
                f"{self.doors._manager}/v1/jobs/{job}",
                headers={"Prefer": f"wait={WAIT_SECONDS}"},
                timeout=60 + WAIT_SECONDS,
            )
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found if found["ended_at"] else {}

        return wait_for(ended, 120)

    def start_worker(self) -> None:
        self.worker = self.opened.enter_context(running_worker(self.settings, VOLUME))

    def kill_worker(self) -> None:
        """Kill it as the kernel does, and start another one, as the supervisor does."""
        kill([self.worker])
        self.start_worker()

    def start_client_door(self) -> None:
        self.client = self.opened.enter_context(running_door("client", self.settings))

    def unfinished(self, vfolder: str) -> list[MultipartUpload]:
        """The uploads in parts of a vfolder; a worker that was killed may leave one elsewhere."""
        keys = f"volume/{VFolderId.parse(vfolder).directory}"
        return [upload for upload, _ in self.bucket.unfinished(keys)]

    def objects(self) -> int:
        return sum(1 for _ in self.bucket.walk("volume/"))


def kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it ended with its parent
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(pids))


@pytest.fixture(scope="module")
def site(
    object_storage: ObjectStorage, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    top, bucket = tmp_path_factory.mktemp("s3"), object_storage.new_bucket()
    (top / "records").mkdir()
    (top / "redirected").mkdir()
    proxy = FaultyStorage(object_storage)
    more = f"""
[volume.{VOLUME}]
backend = "s3"
path = "{top / "records"}"
[volume.{VOLUME}.options]
endpoint = "{proxy.url}"
bucket = "{bucket.name}"
prefix = "volume"
access_key = "{ACCESS_KEY}"
secret_key = "{SECRET_KEY}"
[volume.redirected]
backend = "s3"
path = "{top / "redirected"}"
[volume.redirected.options]
endpoint = "{proxy.url}"
presigned_endpoint = "{object_storage.url}"
bucket = "{bucket.name}"
prefix = "redirected"
access_key = "{ACCESS_KEY}"
secret_key = "{SECRET_KEY}"
[artifact-registries.hub]
type = "huggingface"
huggingface = {{ endpoint = "http://127.0.0.1:1" }}
"""
    (top / "node").mkdir()
    settings = settings_in(top / "node", valkey.url, BRISK + more)
    with ExitStack() as opened:
        opened.callback(proxy.close)
        made = Site(settings, Doors(settings), bucket, proxy, top, opened)
        made.start_worker()
        made.start_client_door()
        opened.enter_context(running_door("manager", settings))
        yield made
    printed = "".join(path.read_text("utf-8") for path in (top / "node").glob("*.log"))
    assert printed
    assert SECRET_KEY not in printed


def keys_of(vfolder: str) -> str:
    """The begin of the keys of a vfolder, which may not exist yet, as a pattern."""
    return f"{VFolderId.parse(vfolder).directory}[^/]*/"


def mounted(site: Site, vfolder: str) -> Path:
    """The directory of a vfolder of files."""
    path: str = site.doors.call("GET", "/folder/mount", volume="local", vfid=vfolder)["path"]
    return Path(path)


def filled(site: Site) -> tuple[str, Path]:
    """A vfolder of files of every kind, with modes and times."""
    vfolder = site.vfolder("local")
    top = mounted(site, vfolder)
    (top / "a/b").mkdir(parents=True)
    (top / "empty").mkdir()
    for number, size in enumerate([0, 1, 5 * MIB, 5 * MIB + 1, 17 * MIB]):
        path = top / "a" / f"ü {number}.bin"
        path.write_bytes(os.urandom(size))
        path.chmod(0o640 + number)
        os.utime(path, ns=(1, 1_700_000_000_123_456_789 + number))
    (top / "a/b/x.log").write_bytes(b"log")
    (top / "a/b/link").symlink_to("../ü 1.bin")
    (top / "away").symlink_to("/etc/passwd")
    for number, name in enumerate(("a/b", "a", "empty", "")):
        (top / name).chmod(0o750 + number)
        if os.geteuid() == 0:
            os.chown(top / name, 1_234, 4_321 + number)
        os.utime(top / name, ns=(1, 1_600_000_000_123_456_789 + number))
    return vfolder, top


def directories(top: Path) -> dict[str, tuple[int, ...]]:
    """Mode, owner and time of the directory and of each one below it."""
    found = {}
    for path in (top, *(path for path in top.rglob("*") if path.is_dir())):
        status = path.lstat()
        owner = status.st_uid, status.st_gid
        found[str(path.relative_to(top))] = (status.st_mode, *owner, status.st_mtime_ns)
    return found


def beside(vfolder: str) -> str:
    """The id of a vfolder that does not exist yet, in the same scope."""
    return f"{vfolder.partition('/')[0]}/{uuid4().hex}"


def scope_bytes(site: Site, vfolder: str) -> int:
    scope = vfolder.partition("/")[0]
    found: int = site.call("GET", "/quota-scope", qsid=scope)["used_bytes"]
    return found
