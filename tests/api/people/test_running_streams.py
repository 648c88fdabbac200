"""What still runs when its permission is taken away ends within the bound of docs/access.md.

A real door, which looks at what is open every 20 s: so all kinds run at the same time here.
"""

import base64
import http.client
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from core.access.credentials import keys as api_keys
from tests.api.people.conftest import People, Person, grant_to
from tests.support.node import wait_for

#: Of docs/access.md (seconds), and of a test that would else hang.
BOUND_SECONDS, HANG_SECONDS = 60.0, 240.0
#: Longer than what a reader of this speed takes in the bound, and what sockets hold.
SIZE = 16 << 30
READ_BYTES, READ_PAUSE_SECONDS = 256 << 10, 0.05
SENT_MAX_BYTES = 1 << 30
SENT_BYTES, SENT_PAUSE_SECONDS = 16 << 10, 0.2


@dataclass
class Stream:
    """One open stream: whether bytes came, and when and how it ended."""

    begun: threading.Event = field(default_factory=threading.Event)
    ended_at: float = 0.0
    count: int = 0
    status: int = 0
    tail: bytes = b""


def connection(people: People) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(people.door.url).netloc, timeout=HANG_SECONDS)


def reading(people: People, person: Person, path: str) -> Callable[[Stream], None]:
    """A reader that is slow, until the door ends the answer."""

    def run(stream: Stream) -> None:
        line = connection(people)
        line.request("GET", path, headers=person.headers)
        response = line.getresponse()
        stream.status = response.status
        try:
            while data := response.read1(READ_BYTES):
                stream.count += len(data)
                stream.tail = (stream.tail + data)[-200:]
                stream.begun.set()
                time.sleep(READ_PAUSE_SECONDS)
        except (OSError, http.client.HTTPException):
            pass  # the door cut it off
        stream.ended_at = time.monotonic()
        line.close()

    return run


def sending(people: People, person: Person, vfolder: str) -> Callable[[Stream], None]:
    """A sender of a body that does not end, until the door answers or cuts it off."""

    def run(stream: Stream) -> None:
        headers = {
            **person.headers,
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(SENT_MAX_BYTES),
            "Upload-Metadata": f"relativePath {base64.b64encode(b'sent').decode()}",
        }
        line = connection(people)
        line.request("POST", f"/v1/vfolders/{vfolder}/uploads", headers=headers)
        made = line.getresponse()
        made.read()
        assert made.status == 201, made.status
        line.close()
        where = urlsplit(made.headers["Location"]).path
        door = urlsplit(people.door.url)
        with socket.create_connection((door.hostname, door.port), HANG_SECONDS) as sender:
            lines = [
                f"PATCH {where} HTTP/1.1",
                f"Host: {door.netloc}",
                f"Authorization: {person.headers['Authorization']}",
                "Tus-Resumable: 1.0.0",
                "Upload-Offset: 0",
                "Content-Type: application/offset+octet-stream",
                f"Content-Length: {SENT_MAX_BYTES}",
            ]
            sender.sendall("\r\n".join([*lines, "", ""]).encode())
            stream.status = answered(sender, stream)
        stream.ended_at = time.monotonic()

    return run


def answered(sender: socket.socket, stream: Stream) -> int:
    """Send a body piece by piece until the door answers; return the status, 0 for none."""
    sender.settimeout(SENT_PAUSE_SECONDS)
    until = time.monotonic() + HANG_SECONDS
    while time.monotonic() < until:
        try:
            sender.sendall(bytes(SENT_BYTES))
            stream.count += SENT_BYTES
            stream.begun.set()
            head = sender.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return 0
        return int(head.split(b" ", 2)[1]) if head else 0
    raise AssertionError("the door takes the body for ever")


def test_what_runs_ends_within_the_bound(people: People) -> None:
    owner, reader, other = people.person(), people.person(), people.person()
    vfolder = people.vfolder(owner)
    top = people.path(vfolder)
    (top / "directory").mkdir()
    for path in (top / "big", top / "directory" / "big"):
        with path.open("wb") as file:
            file.truncate(SIZE)
    grant = grant_to(reader.word, "rw")
    people.grant(vfolder, grant, grant_to(other.word, "ro"))
    base = f"/v1/vfolders/local:{vfolder.id}"
    wait_for(lambda: people.call(reader, "GET", base).status_code == 200)
    ticket = people.call(
        reader, "POST", f"{base}/tickets", {"act": "download", "path": "big"}
    ).json()
    by_ticket = urlsplit(ticket["url"])
    runs = {
        "download": reading(people, reader, f"{base}/content?path=big"),
        "archive": reading(people, reader, f"{base}/content?path=directory&format=zip"),
        "ticket": reading(people, Person(), f"{by_ticket.path}?{by_ticket.query}"),
        "upload": sending(people, reader, f"local:{vfolder.id}"),
        "events": reading(people, other, "/v1/events?topics=vfolders"),
        # Nothing was taken from the owner: this one goes on.
        "kept": reading(people, owner, f"{base}/content?path=big"),
    }
    streams = {name: Stream() for name in runs}
    pool = ThreadPoolExecutor(len(runs))
    ends = [pool.submit(run, streams[name]) for name, run in runs.items()]
    for name, stream in streams.items():
        assert stream.begun.wait(60), (name, stream, [one for one in ends if one.done()])
    revoked_at = time.monotonic()
    assert people.call(owner, "DELETE", f"{base}/grants/{grant.id}").status_code == 204
    key = api_keys.parsed(other.key).id
    assert people.call(other, "DELETE", f"/v1/keys/{key}").status_code == 204
    taken = [name for name in runs if name != "kept"]
    wait_for(lambda: all(streams[name].ended_at for name in taken), HANG_SECONDS)
    late = {name: streams[name].ended_at - revoked_at for name in taken}
    assert max(late.values()) < BOUND_SECONDS, late
    kept = streams["kept"]
    assert not kept.ended_at
    before = kept.count
    wait_for(lambda: kept.count > before)
    for name in ("download", "archive", "ticket"):
        assert streams[name].status == 200, name
        assert streams[name].count < SIZE, name
    assert streams["events"].tail.endswith(b"event: gone\ndata: {}\n\n")
    assert streams["upload"].status in (0, 401, 403, 404)
    people.revoke(owner)
    wait_for(lambda: kept.ended_at, HANG_SECONDS)
    for one in ends:
        one.result(60)
    pool.shutdown()
