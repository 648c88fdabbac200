"""One link under siege by many streams and files: its limits hold, and a revocation ends all.

The door has one process. It answers others meanwhile, and holds nothing afterwards.
"""

import base64
import http.client
import json
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from core.names import VFolderId
from core.redis import Database, connect
from tests.api.people.conftest import People, Person
from tests.support.node import wait_for
from tests.support.thoroughness import times

#: By one link. Half of the visitors are more than the link takes.
STREAMS = times(100, 1_000)
FILES = times(300, 10_000)
#: Files that visitors have begun when the link is revoked.
BEGUN, BEGUN_BY_ONE = times(20, 200), 10
SENDERS = 16
#: Of docs/access.md, for what runs (seconds).
RUNNING_SECONDS = 60.0
#: Much longer than what sockets hold.
STREAM_BYTES = 1 << 30
READ_BYTES = 1 << 20
FILE_BYTES = 7
TUS = {"Tus-Resumable": "1.0.0"}
WHOLE = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    """As many descriptors as this process may have."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


class Visitor:
    """A visit of its own, on a connection of its own."""

    def __init__(self, people: People, link: str) -> None:
        self.link = link
        self.line = http.client.HTTPConnection(urlsplit(people.door.url).netloc, timeout=120)
        body, kind = json.dumps({}), {"Content-Type": "application/json"}
        self.headers: dict[str, str] = {}
        answer = self.ask("POST", link, body, kind)
        assert answer.status == 204, answer.status
        self.headers["Cookie"] = answer.headers["Set-Cookie"].partition(";")[0]

    def ask(
        self, method: str, path: str, body: Any = None, more: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """One request, whose answer is read to its end."""
        self.line.request(method, path, body, {**self.headers, **(more or {})})
        answer = self.line.getresponse()
        answer.read()
        return answer

    def send(self, name: str, data: bytes) -> int:
        """Send a file in one request."""
        more = {**WHOLE, "Upload-Length": str(len(data)), "Upload-Metadata": named(name)}
        return self.ask("POST", f"{self.link}/uploads", data, more).status

    def begin(self, name: str, size: int) -> str:
        """Open an upload and return its path."""
        self.line.close()  # the door closes what was idle for long
        more = {**TUS, "Upload-Length": str(size), "Upload-Metadata": named(name)}
        answer = self.ask("POST", f"{self.link}/uploads", None, more)
        assert answer.status == 201, answer.status
        return urlsplit(answer.headers["Location"]).path

    def stream(self, path: str) -> http.client.HTTPResponse:
        """Begin a download, of which nothing is read but the head."""
        self.line.close()  # the door closes what was idle for long
        self.line.request("GET", f"{self.link}/content?path={path}", headers=self.headers)
        return self.line.getresponse()

    def close(self) -> None:
        self.line.close()


def named(name: str) -> str:
    return f"filename {base64.b64encode(name.encode()).decode()}"


def linked(people: People, owner: Person, vfolder: VFolderId, **more: Any) -> dict[str, Any]:
    answer = people.call(owner, "POST", f"/v1/vfolders/{vfolder.id}/links", more)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    found["path"] = urlsplit(found["url"]).path
    wait_for(lambda: people.call(None, "GET", found["path"]).status_code == 200)
    return found


def use_of(people: People, owner: Person, vfolder: VFolderId, link: str) -> dict[str, Any]:
    rows = people.call(owner, "GET", f"/v1/vfolders/{vfolder.id}/links").json()["links"]
    return next(row for row in rows if row["id"] == link)


def held(people: People) -> list[str]:
    """The files of the volume that the processes of the door have open."""
    door = psutil.Process(people.door.process.pid)
    top = str(people.settings.directory / "local")
    found = [one for each in (door, *door.children(recursive=True)) for one in each.open_files()]
    return [one.path for one in found if one.path.startswith(top)]


def rest_of(answer: http.client.HTTPResponse) -> int:
    """Read what is left of an answer that was cut off; return its bytes."""
    count = 0
    try:
        while data := answer.read1(READ_BYTES):
            count += len(data)
    except (OSError, http.client.HTTPException):
        pass  # it was cut off
    return count


def test_many_streams_end_with_the_link(people: People) -> None:
    owner, most = people.person(), STREAMS // 2
    vfolder = people.vfolder(owner)
    with (people.path(vfolder) / "big").open("wb") as file:
        file.truncate(STREAM_BYTES)
    link = linked(people, owner, vfolder, max_downloads=most)
    with ExitStack() as stack:
        visitors = [Visitor(people, link["path"]) for _ in range(STREAMS)]
        for one in visitors:
            stack.callback(one.close)
        with ThreadPoolExecutor(SENDERS) as pool:
            answers = list(pool.map(lambda one: one.stream("big"), visitors))
        statuses = [one.status for one in answers]
        assert {status: statuses.count(status) for status in set(statuses)} == {
            200: most,
            404: STREAMS - most,
        }
        # Visitors that read nothing delay no other request.
        for _ in range(10):
            assert people.call(owner, "GET", f"/v1/vfolders/{vfolder.id}").status_code == 200
        assert use_of(people, owner, vfolder, link["id"])["downloads"] == most
        assert len(held(people)) == most
        assert people.call(owner, "DELETE", f"/v1/links/{link['id']}").status_code == 204
        revoked_at = time.monotonic()
        wait_for(lambda: people.call(None, "GET", link["path"]).status_code == 404)
        for visitor, answer in zip(visitors, answers, strict=True):
            if answer.status != 200:
                visitor.close()
        # A reader that reads nothing gets no end: the door has closed the connection all the same.
        left = RUNNING_SECONDS - (time.monotonic() - revoked_at)
        wait_for(lambda: not held(people), left, "streams are open")
        rests = [rest_of(one) for one in answers if one.status == 200]
    assert max(rests) < STREAM_BYTES, "none was whole"
    assert use_of(people, owner, vfolder, link["id"])["downloads"] == most


def test_many_files_within_the_limits_of_the_link(people: People) -> None:
    owner, most = people.person(), FILES - FILES // 10
    vfolder = people.vfolder(owner)
    top = people.path(vfolder)
    limits = {"max_bytes": most * FILE_BYTES, "max_file_bytes": FILE_BYTES}
    link = linked(people, owner, vfolder, kind="drop", **limits)
    visitors = [Visitor(people, link["path"]) for _ in range(SENDERS)]
    texts = [str(number).zfill(FILE_BYTES).encode() for number in range(FILES)]

    def sent(place: int) -> list[int]:
        """Every second name is that of another visitor's file, too."""
        return [
            visitors[place].send(f"n{number // 2}.bin", texts[number])
            for number in range(place, FILES, SENDERS)
        ]

    with ThreadPoolExecutor(SENDERS) as pool:
        statuses = [status for some in pool.map(sent, range(SENDERS)) for status in some]
    assert {status: statuses.count(status) for status in set(statuses)} == {
        201: most,
        422: FILES - most,
    }
    assert visitors[0].send("big", b"x" * (FILE_BYTES + 1)) == 413
    found = [path.read_bytes() for path in top.iterdir()]
    assert len(found) == len(set(found)) == most
    assert set(found) <= set(texts)
    assert use_of(people, owner, vfolder, link["id"])["sent_bytes"] == most * FILE_BYTES
    for one in visitors:
        one.close()
    wait_for(lambda: not held(people))
    assert open_uploads(people, vfolder) == 0


def test_files_that_were_begun_end_with_the_link(people: People) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner)
    link = linked(people, owner, vfolder, kind="drop")
    visitors = [Visitor(people, link["path"]) for _ in range(BEGUN // BEGUN_BY_ONE)]
    begun = [(one, one.begin("n", FILE_BYTES)) for one in visitors for _ in range(BEGUN_BY_ONE)]
    assert open_uploads(people, vfolder) == BEGUN
    piece = {**WHOLE, "Upload-Offset": "0"}
    first, path = begun[0]
    for one in visitors:
        one.line.close()
    assert first.ask("PATCH", path, b"x" * FILE_BYTES, piece).status == 204
    assert people.call(owner, "DELETE", f"/v1/links/{link['id']}").status_code == 204
    wait_for(lambda: people.call(None, "GET", link["path"]).status_code == 404)
    for visitor, path in begun[1:]:
        assert visitor.ask("PATCH", path, b"x" * FILE_BYTES, piece).status == 404
        assert visitor.ask("HEAD", path, None, TUS).status == 404
    assert first.send("late", b"x") == 404
    for one in visitors:
        one.close()
    assert [path.name for path in people.path(vfolder).iterdir()] == ["n"]


def open_uploads(people: People, vfolder: VFolderId) -> int:
    """How many open uploads of a vfolder the store has."""
    with connect(people.settings, Database.UPLOADS) as client:
        count: Any = client.zcard(f"tus.upload.open.vfolder:local:{vfolder}")
    return int(count)
