"""Slow readers and writers hold up nobody; and what api/offload.py relies on in gunicorn."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import gunicorn
import pytest
import requests
from gunicorn.config import Config
from gunicorn.http.wsgi import Response
from gunicorn.workers.gthread import ThreadWorker

from api import gunicorn_settings
from tests.client.conftest import ClientDoor, Folder
from tests.support.doors import settings_in

STALLED = 200
BIG = 64 << 20


@contextmanager
def request(url: str, text: str, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    at = urlsplit(url)
    with socket.socket() as client:
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(30)
        client.connect((at.hostname or "", at.port or 0))
        client.sendall(text.replace("TARGET", f"{at.path}?{at.query}").encode())
        yield client


def test_what_we_rely_on_in_gunicorn(tmp_path: Path) -> None:
    assert gunicorn.version_info[0] == 27
    for name in ("load_wsgi", "handle", "_keepalive_after", "finish_request", "init_process"):
        assert callable(getattr(ThreadWorker, name))
    assert callable(Response.send_headers)
    config = Config()
    for name, value in gunicorn_settings.for_door("client", settings_in(tmp_path)).items():
        config.set(name, value)
    assert config.sendfile is not False


def test_stalled_readers_hold_up_nobody(door: ClientDoor, folder: Folder) -> None:
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
        assert requests.get(f"{door.url}/", timeout=10).status_code == 200
        assert requests.head(url, timeout=10).headers["Content-Length"] == str(BIG)
        got = 0
        while got < BIG:
            piece = readers[0].recv(1 << 20)
            assert piece
            got += len(piece)


def test_stalled_writers_hold_up_nobody(door: ClientDoor, folder: Folder) -> None:
    text = "PATCH TARGET HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\nContent-Length: 100\r\n\r\nx"
    with ExitStack() as stack:
        for number in range(STALLED):
            stack.enter_context(request(folder.upload(f"f{number}", 100), text))
        url = folder.upload("quick", 4)
        answer = requests.patch(url, data=b"data", headers={"Upload-Offset": "0"}, timeout=30)
        assert answer.status_code == 204


def test_many_answers_on_one_connection(folder: Folder) -> None:
    folder.write("small", b"s" * 1000)
    folder.write("big", b"b" * (8 << 20))
    with requests.Session() as session:
        for _ in range(5):
            assert session.get(folder.download("small"), timeout=30).content == b"s" * 1000
            assert session.get(folder.download("big"), timeout=30).content == b"b" * (8 << 20)
            part = session.get(
                folder.download("big"), headers={"Range": "bytes=-5000000"}, timeout=30
            )
            assert len(part.content) == 5_000_000


def test_http_10_closes(folder: Folder) -> None:
    folder.write("small", b"small")
    with request(folder.download("small"), "GET TARGET HTTP/1.0\r\n\r\n") as client:
        data = b""
        while piece := client.recv(4096):
            data += piece
    assert data.endswith(b"small")


def test_callers_who_never_close_hold_up_nobody(door: ClientDoor) -> None:
    text = "GET TARGET HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(STALLED):
            client = stack.enter_context(request(f"{door.url}/", text))
            assert client.recv(12) == b"HTTP/1.1 200"
        assert requests.get(f"{door.url}/", timeout=10).status_code == 200


@pytest.mark.slow
def test_a_stream_ends_within_the_grace(door: ClientDoor, folder: Folder) -> None:
    with folder.write("big", b"").open("wb") as file:
        file.truncate(BIG // 8)
    text = "GET TARGET HTTP/1.1\r\nHost: x\r\n\r\n"
    with request(folder.download("big"), text, 65536) as client:
        assert client.recv(12) == b"HTTP/1.1 200"
        assert door.process
        door.process.terminate()
        time.sleep(1)
        got = 12
        while piece := client.recv(1 << 20):
            got += len(piece)
        assert got > BIG // 8
        door.process.wait(30)
    door.start()
