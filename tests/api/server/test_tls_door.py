"""A door with TLS: handshakes, heads and bodies wait for their callers without a thread."""

import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from core.settings import load
from simulators.serving import certificate
from tests.support.doors import AUTH, RunningDoor, running_door, settings_in
from tests.support.valkey import Valkey

#: More than the door has threads.
CALLERS = 40
FEW = "[vfolder.doors]\nprocesses = 1\nthreads = 4\nhead-seconds = 600\n"
SECRET = "".join(f"{name}: {value}\r\n" for name, value in AUTH.items()).encode()
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def door(directory: Path, valkey: Valkey) -> Iterator[RunningDoor]:
    config = Path(settings_in(directory, valkey.url, FEW).origin)
    renew(directory, "first")
    tls = '[api.manager]\nssl-enabled = true\nssl-cert = "cert"\nssl-privkey = "key"\n'
    config.write_text(config.read_text().replace("[api.manager]\n", tls))
    with running_door("manager", load(config, environ={})) as running:
        yield running


def renew(directory: Path, name: str) -> None:
    for made, used in zip(certificate(name), ("cert", "key"), strict=True):
        shutil.copy(made, directory / f"{used}.new")
    for used in ("key", "cert"):
        (directory / f"{used}.new").replace(directory / used)


def plain(door: RunningDoor, sent: bytes = b"") -> socket.socket:
    address = urlsplit(door.url)
    connection = socket.create_connection((address.hostname, address.port), 60)
    connection.sendall(sent)
    return connection


def secured(door: RunningDoor, sent: bytes = b"") -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = context.wrap_socket(plain(door))
    connection.sendall(sent)
    return connection


def all_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def answered(door: RunningDoor) -> None:
    with secured(door, GET) as caller:
        assert all_of(caller).startswith(b"HTTP/1.1 200 ")


def half_hello(door: RunningDoor) -> socket.socket:
    """A connection on which half of a handshake's first message was sent."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    started = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="x")
    with pytest.raises(ssl.SSLWantReadError):
        started.do_handshake()
    return plain(door, outgoing.read()[:50])


def test_what_is_never_finished_holds_no_thread(door: RunningDoor) -> None:
    with ExitStack() as stack:
        for _ in range(CALLERS):
            stack.enter_context(plain(door))
            stack.enter_context(half_hello(door))
            stack.enter_context(secured(door))
            stack.enter_context(secured(door, GET[:-4]))
        answered(door)


def test_requests_in_records_of_any_size(door: RunningDoor) -> None:
    """Decrypted bytes do not make a socket readable; they are read nevertheless."""
    body = b'{"volume": "local"' + b" " * 100_000 + b"}"
    post = b"POST /quota-scope HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(body)
    with secured(door) as caller:
        caller.sendall(post + SECRET + b"\r\n" + body + GET)  # all but the first in the same record
        received = all_of(caller)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"HTTP/1.1 200 " in received
    with secured(door) as caller:
        for byte in GET:
            caller.sendall(bytes([byte]))
        assert all_of(caller).startswith(b"HTTP/1.1 200 ")


def test_plain_http_gets_some_answer(door: RunningDoor) -> None:
    """`vfolder up` knows by it that the door is open."""
    with plain(door, b"GET /livez HTTP/1.0\r\n\r\n") as caller:
        assert all_of(caller)
    answered(door)


def test_a_renewed_certificate_is_for_the_next_connection(
    door: RunningDoor, directory: Path
) -> None:
    def served() -> bytes | None:
        with secured(door) as caller:
            return caller.getpeercert(binary_form=True)

    before = served()
    assert served() == before
    renew(directory, "second")
    assert served() not in (None, before)
    (directory / "cert").write_text("half a certif")
    answered(door)
