"""Uploads at every power failure: what an answer called complete is there, the rest continues."""

import io
import tarfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import client_door
from backends.uploads import staging
from core.access import tickets
from core.jobs import State
from core.redis import Database
from core.uploads import Upload, UploadStore
from tests.durability.site import VOLUME, Crash, Site
from tests.support.doors import TICKET_SECRET, closing

pytestmark = pytest.mark.part("fuse")

TUS = {"Tus-Resumable": "1.0.0"}
BODY = {"Content-Type": "application/offset+octet-stream"} | TUS
DATA = bytes(range(256)) * 40
PIECE = len(DATA) // 4
ID = "an-upload"
#: `ahead` shows a length before its data. ext4 (data=ordered), XFS and btrfs never do that to a
#: file that grows by writes, and the offset of an upload relies on it (docs/jobs-faults.md).
NOT_BY_WRITES = ("ahead", "all but", "data")


class Client:
    """One client of the client door, with a ticket for one directory of a vfolder."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.vfolder = site.filled(1, 1)
        self.app = client_door(site.settings)
        self.http: FlaskClient = self.app.test_client()
        self.top = site.path(self.vfolder)

    def begin(self, length: int, path: str = "new/place/file", **more: Any) -> None:
        """Open an upload as the manager door does."""
        upload = Upload(
            id=ID,
            volume=VOLUME,
            vfolder=str(self.vfolder),
            path=path,
            session=ID,
            length=length,
            limit=length,
            **more,
        )
        staging.begin(self.site.backend, self.uploads, upload)

    @property
    def uploads(self) -> UploadStore:
        return UploadStore(self.site.valkey.client(int(Database.UPLOADS)), "node1")

    def url(self, path: str = "new/place/file", *, tree: bool = False) -> str:
        ticket = tickets.UploadTicket(
            volume=VOLUME,
            vfid=str(self.vfolder),
            relpath=path,
            size=len(DATA),
            session=ID,
            tree=tree,
            exp=tickets.expiry(600),
        )
        return f"/upload?token={tickets.issue(ticket, TICKET_SECRET)}"

    def patch(self, url: str, offset: int, data: bytes) -> TestResponse:
        headers = BODY | {"Upload-Offset": str(offset)}
        return self.http.patch(url, data=data, headers=headers)

    def sent(self, url: str) -> None:
        """Send all of it, in pieces."""
        for offset in range(0, len(DATA), PIECE):
            answer = self.patch(url, offset, DATA[offset : offset + PIECE])
            assert answer.status_code == 204, answer.text
        self.site.volume.mark("complete")

    def continued(self, url: str, restart: Callable[[], None]) -> None:
        """Do as a client does after a failure: ask for the offset, and go on from there."""
        found = self.http.head(url, headers=TUS)
        if found.status_code == 404:
            restart()
            offset = 0
        else:
            assert found.status_code == 200, found.text
            offset = int(found.headers["Upload-Offset"])
        if offset < len(DATA):
            answer = self.patch(url, offset, DATA[offset:])
            assert answer.status_code == 204, answer.text


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    made = Client(site)
    with closing(made.app):
        yield made


def is_ordered(crash: Crash) -> bool:
    return not crash.name.startswith(NOT_BY_WRITES)


@pytest.mark.parametrize("before", [None, b"an older file"])
def test_an_upload_in_pieces(client: Client, before: bytes | None) -> None:
    target = client.top / "new/place/file"
    if before is not None:
        target.parent.mkdir(parents=True)
        target.write_bytes(before)
    url = client.url()

    def act() -> None:
        client.begin(len(DATA))
        client.sent(url)

    def restart() -> None:
        client.uploads.forget(ID)
        client.begin(len(DATA))

    def right(crash: Crash) -> None:
        if not is_ordered(crash):
            return
        found = target.read_bytes() if target.exists() else None
        assert found in (before, DATA)
        if "complete" in crash.cut.promised:
            assert found == DATA
        elif found != DATA:
            client.continued(url, restart)
        assert target.read_bytes() == DATA
        assert target.stat().st_mode & 0o777 == 0o644

    offset = (int(Database.UPLOADS), f"tus.upload.offset:{ID}", "")
    client.site.crash(act, right, [offset])


def test_an_empty_upload_is_there_without_a_request(client: Client) -> None:
    target = client.top / "empty"

    def act() -> None:
        client.begin(0, path="empty")
        client.site.volume.mark("complete")

    def right(crash: Crash) -> None:
        if "complete" in crash.cut.promised:
            assert target.read_bytes() == b""

    client.site.crash(act, right, [])


def metadata(**values: str) -> dict[str, str]:
    pairs = (f"{name} {b64encode(value.encode()).decode()}" for name, value in values.items())
    return {"Upload-Metadata": ",".join(pairs)}


@pytest.mark.parametrize("data", [b"", b"small"])
def test_an_upload_in_one_request(client: Client, data: bytes) -> None:
    target = client.top / "of/tree/small"
    url = client.url("of", tree=True)
    headers = BODY | metadata(relativePath="tree/small") | {"Upload-Length": str(len(data))}

    def act() -> None:
        answer = client.http.post(url, data=data, headers=headers)
        assert answer.status_code == 201, answer.text
        client.site.volume.mark("complete")

    def right(crash: Crash) -> None:
        assert not target.exists() or target.read_bytes() == data
        if "complete" in crash.cut.promised:
            assert target.exists()

    client.site.crash(act, right, [])


def test_an_archive_that_is_uploaded_to_be_unpacked(client: Client, tmp_path: Path) -> None:
    """The bytes are the job's once the answer has named it, and the job ends well."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("inside")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"bytes"))
    data = path.read_bytes()
    url = client.url("of", tree=True)
    headers = BODY | metadata(relativePath="dir", extract="tar")
    headers |= {"Upload-Length": str(len(data))}
    target = client.top / "of/dir/inside"

    def act() -> None:
        answer = client.http.post(url, data=data, headers=headers)
        assert answer.status_code == 201, answer.text
        client.site.volume.mark(answer.headers["Upload-Job"])

    def right(_: Crash) -> None:
        for job in client.site.jobs():  # also before the answer: the job was accepted
            ended = client.site.resumed(job)
            assert ended.state is State.SUCCEEDED
            assert target.read_bytes() == b"bytes"

    client.site.crash(act, right, [])
