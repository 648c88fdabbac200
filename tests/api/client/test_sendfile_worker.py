"""Slow readers and writers delay no other caller."""

import glob
import gzip
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import requests
from gunicorn.config import Config
from prometheus_client.multiprocess import MultiProcessCollector

from api.server import settings
from api.server.response_streams import new_stream
from api.streaming import LoadedPart, Pace
from api.streaming.archives import PACKING_MAX
from tests.api.client.conftest import ClientDoor, Folder, make_door
from tests.support.doors import settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey

STALLED = 200
BIG = 64 << 20


@pytest.fixture
def own_door(tmp_path: Path, valkey: Valkey) -> Iterator[ClientDoor]:
    """A door for one test, with a long grace for its streams."""
    made = make_door(tmp_path, valkey, "[vfolder.doors]\ngrace-seconds = 60.0")
    made.start()
    yield made
    made.stop()
    made.store._client.close()


@contextmanager
def request(url: str, text: str, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    at = urlsplit(url)
    with socket.socket() as client:
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(60)
        client.connect((at.hostname or "", at.port or 0))
        client.sendall(text.replace("TARGET", f"{at.path}?{at.query}").encode())
        yield client


def test_gunicorn_may_use_sendfile(tmp_path: Path) -> None:
    config = Config()
    for name, value in settings.for_door("client", settings_in(tmp_path)).items():
        config.set(name, value)
    assert config.sendfile is not False


def test_stalled_readers_delay_no_other(door: ClientDoor, folder: Folder) -> None:
    with folder.write("big", b"").open("wb") as file:
        file.truncate(BIG)
    url = folder.download("big")
    with ExitStack() as stack:
        readers = [
            stack.enter_context(request(url, "GET TARGET HTTP/1.1\r\nHost: x\r\n\r\n", 65536))
            for _ in range(STALLED)
        ]
        for reader in readers:
            assert reader.recv(12) == b"HTTP/1.1 200"
        assert requests.get(f"{door.url}/", timeout=60).status_code == 200
        assert requests.head(url, timeout=60).headers["Content-Length"] == str(BIG)
        got = 0
        while got < BIG:
            piece = readers[0].recv(1 << 20)
            assert piece
            got += len(piece)


def test_small_files_wait_for_their_reader_without_a_thread() -> None:
    """What the socket does not take at once is sent later, and no call waits for the reader."""
    server, client = socket.socketpair()
    with server, client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        data = os.urandom(60_000)
        part = LoadedPart(data, 0, Pace(None))
        stream = new_stream(SimpleNamespace(sock=server), part, keepalive=True, head=b"head")
        got = bytearray()
        while stream.wait() or not stream.send():
            assert part.position < len(data)
            got += client.recv(1 << 20) if part.position else b""
        while len(got) < 4 + len(data):
            got += client.recv(1 << 20)
        assert bytes(got) == b"head" + data
        assert part.position == len(data)


def test_a_reader_of_small_files_that_stalls_gets_all(door: ClientDoor, folder: Folder) -> None:
    """It asks for one again and again, and reads only then."""
    data, answers = os.urandom(60_000), 200
    folder.write("small", data)
    get = "GET TARGET HTTP/1.1\r\nHost: x\r\n\r\n"
    url = folder.download("small")
    with request(url, get * answers, 4096) as reader, reader.makefile("rb") as taken:
        assert requests.get(url, timeout=60).content == data
        for _ in range(answers):
            assert taken.readline() == b"HTTP/1.1 200 OK\r\n"
            while taken.readline() != b"\r\n":
                pass
            assert taken.read(len(data)) == data


def threads(door: ClientDoor) -> int:
    assert door.process
    found = subprocess.run(
        ["ps", "-o", "nlwp=", "--ppid", str(door.process.pid)], capture_output=True, check=True
    )
    return sum(map(int, found.stdout.split()))


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_stalled_readers_of_archives_hold_no_thread(
    door: ClientDoor, folder: Folder, form: str
) -> None:
    with folder.write("dir/big", b"").open("wb") as file:
        file.truncate(BIG)
    url = folder.archive(["dir"]) + f"&format={form}"
    size = int(requests.head(url, timeout=60).headers["Content-Length"])
    before = threads(door)
    with ExitStack() as stack:
        readers = []
        for _ in range(STALLED // 2):
            get = f"GET TARGET HTTP/1.1\r\nHost: x\r\nRange: bytes=0-{size - 1}\r\n\r\n"
            readers.append(stack.enter_context(request(url, get, 65536)))
            assert readers[-1].recv(12) == b"HTTP/1.1 206"
        assert threads(door) < before + STALLED // 4
        assert requests.get(f"{door.url}/", timeout=60).status_code == 200
        got = 12
        while got < size:
            piece = readers[0].recv(1 << 20)
            assert piece
            got += len(piece)


def test_a_process_packs_a_limited_number_of_archives(door: ClientDoor, folder: Folder) -> None:
    """Stalled readers take all places; unpacked archives go on, and places come back."""
    folder.write("dir/big", os.urandom(8 << 20))
    url = folder.archive(["dir"])
    packed = f"{url}&format=tar.gz"
    get = "GET TARGET HTTP/1.1\r\nHost: x\r\n\r\n"
    processes = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        for _ in range(PACKING_MAX * processes + 1):
            reader = stack.enter_context(request(packed, get, 65536))
            if reader.recv(12) == b"HTTP/1.1 503":
                break
        else:
            pytest.fail("all were packed")
        assert b"Retry-After: 30" in reader.recv(4096)
        assert requests.get(url, timeout=60).status_code == 200
    wait_for(lambda: requests.get(packed, timeout=60).status_code == 200)


def test_downloads_and_archives_are_counted_when_they_end(own_door: ClientDoor) -> None:
    """At a door of its own: responses of earlier tests count later, when they are closed."""
    door, folder = own_door, own_door.vfolder()
    folder.write("dir/small", b"s")
    folder.write("dir/big", b"b" * (4 << 20))
    urls = [folder.download("dir/small"), folder.download("dir/big"), folder.archive(["dir"])]
    urls += [folder.archive(["dir"]) + "&format=tar.gz"]
    for url in urls:
        assert requests.get(url, timeout=60).status_code == 200
    wait_for(lambda: counted(door) == (len(urls), 0))


def counted(door: ClientDoor) -> tuple[float, float]:
    """Downloads that were counted, and responses under way."""
    files = glob.glob(f"{door.directory}/metrics/**/*.db", recursive=True)
    found: dict[str, float] = {"requests": 0, "open": 0}
    for metric in MultiProcessCollector.merge(files):  # type: ignore[no-untyped-call] # no types here
        for sample in metric.samples:
            if sample.name == "vfolder_streams_open":
                found["open"] += sample.value
            if sample.name == "backendai_api_request_count_total":
                found["requests"] += sample.value * ("download" in sample.labels["endpoint"])
    return found["requests"], found["open"]


def test_stalled_writers_delay_no_other(door: ClientDoor, folder: Folder) -> None:
    text = "PATCH TARGET HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\nContent-Length: 100\r\n\r\nx"
    with ExitStack() as stack:
        for number in range(STALLED):
            stack.enter_context(request(folder.upload(f"f{number}", 100), text))
        url = folder.upload("quick", 4)
        answer = requests.patch(url, data=b"data", headers={"Upload-Offset": "0"}, timeout=60)
        assert answer.status_code == 204


def test_many_answers_on_one_connection(folder: Folder) -> None:
    folder.write("small", b"s" * 1000)
    folder.write("big", b"b" * (8 << 20))
    with requests.Session() as session:
        for _ in range(5):
            assert session.get(folder.download("small"), timeout=60).content == b"s" * 1000
            assert session.get(folder.download("big"), timeout=60).content == b"b" * (8 << 20)
            part = session.get(
                folder.download("big"), headers={"Range": "bytes=-5000000"}, timeout=60
            )
            assert len(part.content) == 5_000_000


def test_http_10_closes(folder: Folder) -> None:
    folder.write("small", b"small")
    with request(folder.download("small"), "GET TARGET HTTP/1.0\r\n\r\n") as client:
        data = b""
        while piece := client.recv(4096):
            data += piece
    assert data.endswith(b"small")


def test_http_10_gets_packed_archives_without_chunks(folder: Folder) -> None:
    folder.write("dir/small", b"small")
    url = folder.archive(["dir"]) + "&format=tar.gz"
    with request(url, "GET TARGET HTTP/1.0\r\n\r\n") as client:
        data = b""
        while piece := client.recv(4096):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"Connection: close" in head
    assert b"small" in gzip.decompress(body)


def test_callers_that_never_close_delay_no_other(door: ClientDoor) -> None:
    text = "GET TARGET HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(STALLED):
            client = stack.enter_context(request(f"{door.url}/", text))
            assert client.recv(12) == b"HTTP/1.1 200"
        assert requests.get(f"{door.url}/", timeout=60).status_code == 200


@pytest.mark.slow
def test_a_stream_ends_within_the_grace(own_door: ClientDoor) -> None:
    door, folder = own_door, own_door.vfolder()
    with folder.write("big", b"").open("wb") as file:
        file.truncate(BIG // 8)
    text = "GET TARGET HTTP/1.1\r\nHost: x\r\n\r\n"
    with request(folder.download("big"), text, 65536) as client:
        assert client.recv(12) == b"HTTP/1.1 200"
        assert door.process
        door.process.terminate()
        wait_for(lambda: not door.answers())  # it takes no more connections
        got = 12
        while piece := client.recv(1 << 20):
            got += len(piece)
        assert got > BIG // 8
        door.process.wait(120)
