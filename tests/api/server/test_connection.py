"""Requests and responses of a connection, packet by packet: the socket keeps packets apart."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.errors import ParseException

from api.http import problems
from api.server import settings
from api.server.connection import (
    JOINED_BYTES,
    DoorParser,
    DoorResponse,
    open_socket_body,
    plain_settings,
)
from tests.support.doors import settings_in

CALLER = ("127.0.0.1", 1)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Sockets = tuple[socket.socket, socket.socket]


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The settings of a real door."""
    return door_settings(tmp_path_factory.mktemp("settings"))


def door_settings(directory: Path) -> SimpleNamespace:
    config = Config()
    for name, value in settings.for_door("manager", settings_in(directory)).items():
        config.set(name, value)
    return plain_settings(config)


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    """The server's end and the caller's end."""
    server, caller = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with server, caller:
        caller.settimeout(10)
        yield server, caller


@pytest.fixture
def streams() -> Iterator[Sockets]:
    """The two ends, as a stream of bytes."""
    server, caller = socket.socketpair()
    with server, caller:
        yield server, caller


def packets(
    sockets: Sockets, cfg: SimpleNamespace, request: bytes, length: int | None, *pieces: bytes
) -> list[bytes]:
    """The packets of a response with this body."""
    server, caller = sockets
    caller.sendall(request)
    response = DoorResponse(next(DoorParser(cfg, server, CALLER)), server, cfg)
    headers = [("X-Any", "yes")] if length is None else [("Content-Length", str(length))]
    response.start_response("200 OK", headers)
    for piece in pieces:
        response.write(piece)
    response.close()
    server.shutdown(socket.SHUT_WR)
    return list(iter(lambda: caller.recv(1 << 20), b""))


def test_a_small_response_is_one_packet(sockets: Sockets, cfg: SimpleNamespace) -> None:
    (packet,) = packets(sockets, cfg, GET, 5, b"hello")
    head, _, body = packet.partition(b"\r\n\r\n")
    assert body == b"hello"
    assert head.startswith(b"HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: ")
    assert b"\r\nConnection: keep-alive\r\nContent-Length: 5" in head


def test_no_byte_more_than_announced_is_sent(sockets: Sockets, cfg: SimpleNamespace) -> None:
    (packet,) = packets(sockets, cfg, GET, 4, b"hello", b"again")
    assert packet.endswith(b"\r\n\r\nhell")


def test_a_large_piece_is_not_copied(sockets: Sockets, cfg: SimpleNamespace) -> None:
    large = b"x" * (JOINED_BYTES + 1)
    head, body = packets(sockets, cfg, GET, len(large), large)
    assert head.endswith(b"\r\n\r\n")
    assert body == large


def test_chunks(sockets: Sockets, cfg: SimpleNamespace) -> None:
    first, second, last = packets(sockets, cfg, GET, None, b"hello", b"you")
    assert b"\r\nTransfer-Encoding: chunked\r\n" in first
    assert first.endswith(b"\r\n\r\n5\r\nhello\r\n")
    assert (second, last) == (b"3\r\nyou\r\n", b"0\r\n\r\n")


@pytest.mark.parametrize("pieces", [(), (b"",), (b"hello",)])
def test_a_head_alone(sockets: Sockets, cfg: SimpleNamespace, pieces: tuple[bytes, ...]) -> None:
    (head,) = packets(sockets, cfg, GET.replace(b"GET", b"HEAD"), 5, *pieces)
    assert head.endswith(b"\r\nContent-Length: 5\r\n\r\n")


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET.replace(b"\r\n", b"\n"),
        GET.replace(b"Host: x", b"A: b\r\n folded"),
        GET.replace(b"Host: x", b"Content-Length: 1\r\nTransfer-Encoding: chunked"),
        GET.replace(b"Host: x", b"Content-Length: 1\r\nContent-Length: 1"),
        GET.replace(b"Host: x", b"Host : x"),
        GET.replace(b"Host: x", b"A_B: x"),
    ],
)
def test_ambiguous_requests_are_refused(
    sockets: Sockets, cfg: SimpleNamespace, request_bytes: bytes
) -> None:
    server, caller = sockets
    caller.sendall(request_bytes)
    caller.shutdown(socket.SHUT_WR)
    strict = SimpleNamespace(**cfg.__dict__ | {"header_map": "refuse"})
    with pytest.raises(ParseException):
        next(DoorParser(strict, server, CALLER))


@pytest.mark.parametrize("address", [CALLER, "", ("::1", 1, 0, 0), ("no address", 1)])
def test_no_caller_sets_the_scheme_or_a_variable_by_a_header(
    sockets: Sockets, cfg: SimpleNamespace, address: object
) -> None:
    """Gunicorn lets callers on this machine do it by default; the doors' settings let none."""
    server, caller = sockets
    forwarded = b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on"
    caller.sendall(GET.replace(b"Host: x", forwarded + b"\r\nSCRIPT_NAME: /x\r\nPATH_INFO: /y"))
    request = next(DoorParser(cfg, server, address))
    assert request.scheme == "http"
    assert {name for name, _ in request.headers} == {"X-FORWARDED-PROTO", "X-FORWARDED-SSL"}


def test_a_body_from_the_socket_leaves_the_next_request(
    streams: Sockets, cfg: SimpleNamespace
) -> None:
    server, caller = streams
    patch = b"PATCH /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    caller.sendall(patch + b"01234")
    parser = DoorParser(cfg, server, CALLER)
    request = next(parser)
    _, environ = wsgi.create(request, server, CALLER, ("127.0.0.1", 2), cfg)
    body = open_socket_body(environ, 0.05)
    assert body is not None
    buffer = memoryview(bytearray(64))
    assert bytes(buffer[: body.into(buffer)]) == b"01234", "what gunicorn read ahead comes first"
    with pytest.raises(TimeoutError):
        body.into(buffer)
    caller.sendall(b"56789" + GET)
    assert bytes(buffer[: body.into(buffer)]) == b"56789", "the next request is not read"
    assert body.into(buffer) == 0
    assert server.gettimeout() is None
    assert next(parser).path == "/"


def test_bytes_of_the_next_request_that_were_read_ahead_go_back(
    streams: Sockets, cfg: SimpleNamespace
) -> None:
    server, caller = streams
    caller.sendall(b"PATCH /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab" + GET)
    parser = DoorParser(cfg, server, CALLER)
    _, environ = wsgi.create(next(parser), server, CALLER, ("127.0.0.1", 2), cfg)
    body = open_socket_body(environ, 1.0)
    assert body is not None
    buffer = memoryview(bytearray(64))
    assert bytes(buffer[: body.into(buffer)]) == b"ab"
    assert body.into(buffer) == 0
    assert next(parser).path == "/"


def test_a_body_that_ends_early_is_an_error(streams: Sockets, cfg: SimpleNamespace) -> None:
    server, caller = streams
    caller.sendall(b"PATCH /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
    parser = DoorParser(cfg, server, CALLER)
    _, environ = wsgi.create(next(parser), server, CALLER, ("127.0.0.1", 2), cfg)
    body = open_socket_body(environ, 10.0)
    assert body is not None
    caller.close()
    with pytest.raises(ConnectionError):
        body.into(memoryview(bytearray(64)))


@pytest.mark.parametrize("head", [b"Transfer-Encoding: chunked", b"Content-Length: 0", b"A: b"])
def test_other_bodies_have_only_a_stream(
    streams: Sockets, cfg: SimpleNamespace, head: bytes
) -> None:
    server, caller = streams
    caller.sendall(b"PATCH /a HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
    parser = DoorParser(cfg, server, CALLER)
    _, environ = wsgi.create(next(parser), server, CALLER, ("127.0.0.1", 2), cfg)
    assert open_socket_body(environ, 1.0) is None


@pytest.mark.parametrize("more", [b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_has_a_deadline_unless_it_is_an_upload(
    streams: Sockets, cfg: SimpleNamespace, more: bytes
) -> None:
    server, caller = streams
    caller.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n")
    parser = DoorParser(cfg, server, CALLER)
    request = next(parser)
    _, environ = wsgi.create(request, server, CALLER, ("127.0.0.1", 2), cfg)
    parser.unreader.deadline = time.monotonic() + 0.05
    with pytest.raises(problems.RequestSlow):
        request.body.read()
    open_socket_body(environ, 1.0)
    assert parser.unreader.deadline is None


@pytest.mark.parametrize("read", [True, False])
def test_a_body_is_asked_for_when_it_is_first_read(
    streams: Sockets, cfg: SimpleNamespace, *, read: bool
) -> None:
    server, caller = streams
    caller.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
    parser = DoorParser(cfg, server, CALLER)
    request = next(parser)
    parser.unreader.continue_owed = True
    if read:
        caller.sendall(b"ab")
        assert request.body.read() == b"ab"
        assert request.body.read() == b""
    server.shutdown(socket.SHUT_WR)
    assert caller.recv(100) == (b"HTTP/1.1 100 Continue\r\n\r\n" if read else b"")
