"""Bodies of uploads that are asked for, malformed or cut: judged first, and what came is kept."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
import requests

from tests.api.client.conftest import Folder
from tests.support.node import wait_for

TUS_TYPE = "application/offset+octet-stream"
TUS = f"Tus-Resumable: 1.0.0\r\nContent-Type: {TUS_TYPE}\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@contextmanager
def patching(url: str, more: str, offset: int = 0) -> Iterator[socket.socket]:
    """A connection on which the head of a PATCH was sent."""
    at = urlsplit(url)
    head = f"PATCH {at.path}?{at.query} HTTP/1.1\r\nHost: x\r\nUpload-Offset: {offset}\r\n"
    with socket.create_connection((at.hostname, at.port), 60) as caller:
        caller.sendall(f"{head}{TUS}{more}\r\n".encode())
        yield caller


def end_of(caller: socket.socket) -> bytes:
    return b"".join(iter(lambda: caller.recv(1 << 16), b""))


def offset_of(url: str) -> str:
    head = requests.head(url, headers={"Tus-Resumable": "1.0.0"}, timeout=60)
    return head.headers["Upload-Offset"]


EXPECTING = "Expect: 100-continue\r\nContent-Length: 5\r\n"


def test_bytes_are_asked_for_after_the_ticket_was_judged(folder: Folder) -> None:
    url = folder.upload("f", 5)
    with patching(url + "x", EXPECTING) as caller:
        refused = end_of(caller)
    assert refused.startswith(b"HTTP/1.1 400 "), refused
    assert b"Connection: close" in refused
    with patching(url, EXPECTING, offset=3) as caller:
        assert end_of(caller).startswith(b"HTTP/1.1 409 ")
    with patching(url, EXPECTING) as caller:
        assert caller.recv(100) == CONTINUE
        caller.sendall(b"bytes")
        assert caller.recv(100).startswith(b"HTTP/1.1 204 ")
    assert (folder.path / "f").read_bytes() == b"bytes"


def test_chunks_are_asked_for_too(folder: Folder) -> None:
    more = "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"
    with patching(folder.upload("f", 5), more) as caller:
        assert caller.recv(100) == CONTINUE
        caller.sendall(b"5\r\nbytes\r\n0\r\n\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 204 ")
    assert (folder.path / "f").read_bytes() == b"bytes"


@pytest.mark.parametrize(
    "chunks",
    [b"-1\r\n\r\n", b"0x5\r\nhello\r\n", b"zz\r\n", b"5\nhello\r\n", b"5\r\nhelloXX0\r\n\r\n"],
)
def test_malformed_chunks_are_a_problem_that_a_page_can_read(folder: Folder, chunks: bytes) -> None:
    url = folder.upload("f", 10)
    with patching(url, "Transfer-Encoding: chunked\r\nOrigin: https://ui.example\r\n") as caller:
        caller.sendall(chunks)
        caller.shutdown(socket.SHUT_WR)
        answer = end_of(caller)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"application/problem+json" in answer
    assert b"Access-Control-Allow-Origin: *" in answer
    assert int(offset_of(url)) in (0, 5), "what came before is kept"
    assert not (folder.path / "f").exists()


@pytest.mark.parametrize("more", ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"])
def test_a_cut_body_is_a_problem_and_what_came_is_kept(folder: Folder, more: str) -> None:
    url = folder.upload("f", 10)
    with patching(url, more) as caller:
        caller.sendall(b"hello" if "Length" in more else b"5\r\nhello\r\n5\r\nwo")
        caller.shutdown(socket.SHUT_WR)
        assert end_of(caller).startswith(b"HTTP/1.1 400 ")
    assert offset_of(url) == ("5" if "Length" in more else "7")
    assert not (folder.path / "f").exists()


@pytest.mark.parametrize("more", ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"])
def test_a_slow_body_keeps_its_lease_and_makes_way(folder: Folder, more: str) -> None:
    url = folder.upload("f", 10)
    redis = folder.door.store._client
    with patching(url, more) as caller:
        caller.sendall(b"hello" if "Length" in more else b"5\r\nhello\r\n")
        (lease,) = wait_for(lambda: redis.keys("tus.upload.lease:*"))
        redis.expire(lease, 10)
        wait_for(lambda: redis.ttl(lease) > 10, 20, "the lease is not renewed")
        again = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": TUS_TYPE}
        other = requests.patch(url, b"HELLOWORLD", headers=again, timeout=60)
        assert other.status_code == 204, other.text
    assert (folder.path / "f").read_bytes() == b"HELLOWORLD"
