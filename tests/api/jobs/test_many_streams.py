"""A thousand open event streams hold no thread: a door with four threads answers beside them."""

import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from core.redis import Database, connect
from tests.api.jobs.conftest import Site
from tests.support.doors import AUTH, RunningDoor, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey

STREAMS = 1000
#: Fewer than any share of the streams: a stream that held one would stop the door.
THREADS = 4
MORE = f"""
[vfolder.doors]
processes = 1
threads = {THREADS}
"""
#: Streams of the test that end one by one, each in its own way.
FEW = 3
REQUESTS = 50


class Stream(NamedTuple):
    """A connection with an open stream, and what it received."""

    sock: socket.socket
    received: bytearray

    def read_until(self, text: bytes) -> bool:
        """Whether the text came; it reads what is there."""
        while True:
            try:
                piece = self.sock.recv(65536)
            except BlockingIOError:
                return text in self.received
            if not piece:  # it is closed after its last event
                assert text in self.received, "the door closed the connection"
                return True
            self.received.extend(piece)


def opened(door: RunningDoor, job: str) -> Stream:
    address = urlsplit(door.url)
    sock = socket.create_connection((address.hostname or "", address.port or 0), timeout=60)
    head = [f"GET /v1/jobs/{job}/events HTTP/1.1", f"Host: {address.netloc}"]
    head += [f"{name}: {value}" for name, value in AUTH.items()]
    sock.sendall("\r\n".join([*head, "", ""]).encode())
    sock.settimeout(0)
    return Stream(sock, bytearray())


def all_have(streams: list[Stream], text: bytes) -> None:
    """Return when each stream received the text."""
    left = {stream.sock.fileno(): stream for stream in streams}
    poll = select.poll()
    for descriptor in left:
        poll.register(descriptor, select.POLLIN)
    until = time.monotonic() + 120
    while left:
        assert time.monotonic() < until, f"{len(left)} streams have no {text!r}"
        for descriptor, _ in poll.poll(1000):
            if left[descriptor].read_until(text):
                poll.unregister(descriptor)
                del left[descriptor]


def threads_of(door: RunningDoor) -> list[int]:
    """The number of threads of each process of the door."""
    children = Path(f"/proc/{door.process.pid}/task/{door.process.pid}/children").read_text()
    pids = [door.process.pid, *map(int, children.split())]
    return [len(os.listdir(f"/proc/{pid}/task")) for pid in pids]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[Site]:
    """A site without a worker: each job stays queued."""
    settings = settings_in(tmp_path_factory.mktemp("quiet"), valkey.url, MORE)
    with running_door("manager", settings) as door, connect(settings, Database.JOBS) as client:
        yield Site(settings, door, client)


def test_a_thousand_streams_beside_other_requests(quiet: Site) -> None:
    door = quiet.door
    job = quiet.begun("usage", vfolder=quiet.folder(a="1"))
    before = threads_of(door)
    with ExitStack() as stack:
        streams = [opened(door, job) for _ in range(STREAMS)]
        for stream in streams:
            stack.callback(stream.sock.close)
        all_have(streams, b'"state":"queued"')
        more = [now - then for now, then in zip(threads_of(door), before, strict=True)]
        assert max(more) <= THREADS + 3, "threads of requests, the subscriber, the writer"
        for _ in range(REQUESTS):
            assert quiet.get(job)["state"] == "queued"
        door.call("POST", f"/v1/jobs/{job}/cancel")
        all_have(streams, b"event: done\n")
        for stream in streams:
            assert stream.received.endswith(b"\r\n0\r\n\r\n"), "the last chunk"
            assert stream.received.count(b"event: done\n") == 1


def test_readers_that_leave_make_room(quiet: Site) -> None:
    job = quiet.begun("usage", vfolder=quiet.folder())
    url = urlsplit(quiet.door.url)

    def connections() -> int:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        local = f":{url.port:04X}"
        return sum(line.split()[1].endswith(local) and line.split()[3] == "01" for line in lines)

    streams = [opened(quiet.door, job) for _ in range(FEW)]
    all_have(streams, b"event: job\n")
    open_now = connections()
    for stream in streams:
        stream.sock.close()
    wait_for(
        lambda: connections() <= open_now - FEW, failure="the door keeps streams without a reader"
    )


def test_one_that_reads_nothing_gets_the_newest(quiet: Site) -> None:
    job = quiet.begun("usage", vfolder=quiet.folder())
    with opened(quiet.door, job).sock as sock:
        stream = Stream(sock, bytearray())
        for turn in range(6):
            quiet.door.call("POST", f"/v1/jobs/{job}/{'resume' if turn % 2 else 'pause'}")
        quiet.door.call("POST", f"/v1/jobs/{job}/cancel")
        all_have([stream], b"event: done\n")
        ids = [line for line in bytes(stream.received).splitlines() if line.startswith(b"id: ")]
        assert ids == sorted(ids, key=lambda line: int(line[4:]))
        # The connection serves the next request.
        sock.settimeout(60)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: door\r\nConnection: close\r\n\r\n")
        assert sock.recv(64).startswith(b"HTTP/1.1 ")
