"""A volume that is read-only, full or failing: each route of both doors and each job answers alike.

The read-only volume is a bind mount, the full one a small ext4, the failing one a FUSE mount.
"""

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from core.access import tickets
from core.names import VFolderId
from tests.support import brittlefs, loops
from tests.support.doors import TICKET_SECRET, RunningDoor, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey
from tests.support.worker import running_worker

pytestmark = [pytest.mark.part("root"), pytest.mark.part("fuse")]

#: Small enough to be filled at once; it holds as many inodes as the test's files need.
FULL_BYTES = 2 * 1024**2
INODES = 64
UPLOAD_BYTES = 4
_VOLUMES = ("read-only", "full", "failing")
_MORE = "".join(
    f'[volume.{name}]\nbackend = "vfs"\npath = "{{{index}}}"\n'
    for index, name in enumerate(_VOLUMES)
)
TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The answer of a volume: the same at every route and in every job."""

    status: int
    code: str
    retriable: bool
    errno: int


EXPECTED = {
    "read-only": Expected(status=409, code="vfolder_update_conflict", retriable=False, errno=30),
    "full": Expected(status=507, code="storage_create_unavailable", retriable=False, errno=28),
    "failing": Expected(
        status=503, code="storage-proxy_request_unreachable", retriable=True, errno=5
    ),
}


@dataclass
class Site:
    """Both doors over three volumes; a vfolder and an open upload on each."""

    manager: RunningDoor
    client: RunningDoor
    directory: Path
    vfids: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, str] = field(default_factory=dict)
    failing: brittlefs.BrittleFS | None = None
    #: The rules that are in force between tests.
    rules: tuple[brittlefs.Rule, ...] = ()

    def call(self, method: str, path: str, body: dict[str, Any]) -> requests.Response:
        return self.manager.call(method, path, body, on_fault=True)

    def download(self, volume: str) -> requests.Response:
        return self._with_ticket(
            "/download",
            tickets.DownloadTicket(
                volume=volume, vfid=self.vfids[volume], relpath="a.txt", exp=tickets.expiry(600)
            ),
        )

    def archive(self, volume: str) -> requests.Response:
        return self._with_ticket(
            "/download-archive",
            tickets.ArchiveTicket(
                volume=volume,
                virtual_folder_id=self.vfids[volume],
                files=["a.txt"],
                exp=tickets.expiry(600),
            ),
        )

    def _with_ticket(self, path: str, ticket: tickets.Ticket) -> requests.Response:
        token = tickets.issue(ticket, TICKET_SECRET)
        return self.client.send("GET", f"{path}?token={token}")

    def create_upload(self, volume: str) -> requests.Response:
        """Create an upload as a tus client does, by a ticket for a whole directory."""
        ticket = tickets.UploadTicket(
            volume=volume,
            vfid=self.vfids[volume],
            relpath="",
            size=10,
            session=uuid4().hex,
            exp=tickets.expiry(600),
            tree=True,
        )
        token = tickets.issue(ticket, TICKET_SECRET)
        headers = {**TUS, "Upload-Length": "4", "Upload-Metadata": "filename bmV3"}
        return self.client.send("POST", f"/upload?token={token}", headers=headers)

    def append(self, volume: str) -> requests.Response:
        headers = {**TUS, "Upload-Offset": "0"}
        return self.client.send("PATCH", self.uploads[volume], data=b"data", headers=headers)


@contextmanager
def read_only(path: Path) -> Iterator[Callable[[], str]]:
    """A bind mount over a directory; the call makes it read-only."""
    path.mkdir()
    loops.run("mount", "--bind", path, path)
    try:
        yield lambda: loops.run("mount", "-o", "remount,ro,bind", path)
    finally:
        loops.run("umount", "--lazy", path)


def fill(path: Path) -> None:
    """Take the last block and the last inode of a file system."""
    with (path / "filler").open("wb", buffering=0) as file:
        for size in (65536, 1024, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    try:
        for number in range(10 * INODES):
            (path / f"inode{number}").touch()
    except OSError:
        return


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("errors")
    with ExitStack() as stack:
        make_read_only = stack.enter_context(read_only(directory / "ro"))
        make = ["mkfs.ext4", "-q", "-m", "0", "-N", str(INODES), "-O", "^has_journal"]
        full = stack.enter_context(loops.mounted(directory / "full", make, size_bytes=FULL_BYTES))
        failing = stack.enter_context(brittlefs.mounted(directory))
        settings = settings_in(
            directory, valkey.url, _MORE.format(directory / "ro", full, failing.path)
        )
        manager = stack.enter_context(running_door("manager", settings))
        client = stack.enter_context(running_door("client", settings))
        stack.enter_context(running_worker(settings))
        made = Site(manager, client, directory)
        for volume, top in zip(_VOLUMES, (directory / "ro", full, failing.path), strict=True):
            prepare(made, volume, top)
        make_read_only()
        fill(full)
        scope = made.vfids["failing"].partition("/")[0].partition(":")[2].replace("-", "")
        made.failing = failing
        made.rules = (
            brittlefs.Rule("*", f"/{scope}*", error="EIO"),
            brittlefs.Rule("mkdir", error="EIO"),
        )
        failing.rules(*made.rules)
        yield made
        failing.heal()


def prepare(site: Site, volume: str, top: Path) -> None:
    """Make a vfolder with a file, and open an upload, while the volume is healthy."""
    vfid = site.vfids[volume] = f"user:{uuid4()}/{uuid4().hex}"
    body = {"volume": volume, "vfid": vfid}
    assert site.call("POST", "/folder/create", body).status_code == 204
    (top / VFolderId.parse(vfid).directory / "a.txt").write_text("alpha")
    order = {**body, "relpath": "upload", "size": UPLOAD_BYTES}
    token = site.call("POST", "/folder/file/upload", order).json()["token"]
    site.uploads[volume] = f"/upload?token={token}"


Request = Callable[[Site, str], requests.Response]


def route(method: str, path: str, **body: Any) -> Request:
    """A request at the manager door; `vfid` and `qsid` are those of the volume."""

    def send(site: Site, volume: str) -> requests.Response:
        vfid = site.vfids[volume]
        known = {"vfid": vfid, "qsid": vfid.partition("/")[0]}
        new = {"new": f"{known['qsid']}/{uuid4().hex}"}
        filled = {
            key: {**known, **new}.get(value, value) if isinstance(value, str) else value
            for key, value in body.items()
        }
        return site.call(method, path, {"volume": volume, **filled})

    return send


READS: dict[str, Request] = {
    "list": route("POST", "/folder/file/list", vfid="vfid", relpath="."),
    "fetch": route("POST", "/folder/file/fetch", vfid="vfid", relpath="a.txt"),
    "mount": route("GET", "/folder/mount", vfid="vfid"),
    "usage": route("GET", "/folder/usage", vfid="vfid"),
    "used-bytes": route("GET", "/folder/used-bytes", vfid="vfid"),
    "metadata": route("GET", "/folder/metadata", vfid="vfid"),
    "quota-scope": route("GET", "/quota-scope", qsid="qsid"),
    "download": Site.download,
    "archive": Site.archive,
}
#: These need no free space.
CHANGES: dict[str, Request] = {
    "rename": route("POST", "/folder/file/rename", vfid="vfid", relpath="a.txt", new_name="b"),
    "move": route("POST", "/folder/file/move", vfid="vfid", src_relpath="a.txt", dst_relpath="b"),
    "delete": route("POST", "/folder/file/delete", vfid="vfid", relpaths=["a.txt"]),
}
MAKES: dict[str, Request] = {
    "create": route("POST", "/folder/create", vfid="new"),
    "create-scope": route("POST", "/quota-scope", qsid=f"project:{uuid4()}"),
    "limit": route("PATCH", "/quota-scope", qsid="qsid", options={"limit_bytes": 10**9}),
    "store-metadata": route("POST", "/folder/metadata", vfid="vfid", payload="aGVsbG8="),
    "upload-ticket": route("POST", "/folder/file/upload", vfid="vfid", relpath="x", size=1),
    "tus-create": Site.create_upload,
    "tus-append": Site.append,
}
CASES = [
    *(("failing", name) for name in (*READS, *CHANGES, *MAKES)),
    *(("read-only", name) for name in (*CHANGES, *MAKES)),
    *(("full", name) for name in MAKES),
]


@pytest.mark.parametrize(("volume", "name"), CASES)
def test_every_route_answers_by_the_one_table(site: Site, volume: str, name: str) -> None:
    response = {**READS, **CHANGES, **MAKES}[name](site, volume)
    expected = EXPECTED[volume]
    assert response.status_code == expected.status, response.text
    problem = response.json()
    assert problem["error_code"] == expected.code
    assert problem["retriable"] is expected.retriable
    assert str(site.directory) not in response.text
    assert ("Retry-After" in response.headers) is expected.retriable


@pytest.mark.parametrize("volume", ["read-only", "full"])
def test_mkdir_says_so_of_each_path(site: Site, volume: str) -> None:
    vfid = site.vfids[volume]
    body = {"volume": volume, "vfid": vfid, "relpath": ["x", "y"]}
    response = site.call("POST", "/folder/file/mkdir", body)
    assert response.status_code == 422
    texts = {entry["msg"] for entry in response.json()["results"]["failed"]}
    create = MAKES["create"](site, volume)
    assert texts == {create.json()["detail"]}


JOBS: dict[str, dict[str, Any]] = {
    "clone": {"verb": "clone", "source": "vfid", "target": "new"},
    "delete": {"verb": "delete", "vfolder": "vfid"},
    "delete-files": {"verb": "delete-files", "vfolder": "vfid", "paths": ["a.txt"]},
}


@pytest.mark.parametrize(
    ("volume", "verb"),
    [*((volume, verb) for volume in ("read-only", "failing") for verb in JOBS), ("full", "clone")],
)
def test_every_job_ends_by_the_one_table(site: Site, volume: str, verb: str) -> None:
    vfid = site.vfids[volume]
    names = {"vfid": vfid, "new": f"{vfid.partition('/')[0]}/{uuid4().hex}"}
    body = {
        key: names.get(value, value) if isinstance(value, str) else value
        for key, value in JOBS[verb].items()
    }
    response = site.call("POST", "/v1/jobs", {"volume": volume, **body})
    expected = EXPECTED[volume]
    if response.status_code == 202:
        job = response.json()["id"]
        ended = wait_for(lambda: ended_job(site, job))
        problem = ended["error"]
        assert problem["errno"] == expected.errno
    else:
        problem = response.json()
        assert response.status_code == expected.status
    assert problem["error_code"] == expected.code
    assert problem["retriable"] is expected.retriable


@pytest.mark.parametrize("error", ["EIO", "EBUSY", "EPERM"])
def test_a_report_has_the_words_of_the_errno(site: Site, error: str) -> None:
    vfid = site.vfids["failing"]
    assert site.failing is not None
    site.failing.rules(brittlefs.Rule("unlink", "*/a.txt", error=error))
    body = {"verb": "delete-files", "volume": "failing", "vfolder": vfid, "paths": ["a.txt"]}
    job = site.call("POST", "/v1/jobs", body).json()["id"]
    ended = wait_for(lambda: ended_job(site, job))
    report = site.manager.call("GET", f"/v1/jobs/{job}/report").text
    site.failing.rules(*site.rules)
    assert ended is not None
    assert ended["state"] == "partial"
    line = json.loads(report.splitlines()[0])
    assert (line["path"], line["reason"]) == ("a.txt", os.strerror(getattr(errno, error)))


def ended_job(site: Site, job: str) -> dict[str, Any] | None:
    found: dict[str, Any] = site.manager.call("GET", f"/v1/jobs/{job}").json()
    return found if found["state"] in {"succeeded", "partial", "failed", "cancelled"} else None
