"""How an answer goes out: packet by packet, on a socket that keeps them apart."""

import socket
from collections.abc import Iterator

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import ParseException

from api.server.connection import JOINED_BYTES, DoorParser, DoorResponse, settled

CFG = settled(Config())
CALLER = ("192.0.2.1", 1)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A server's end and a caller's."""
    server, caller = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with server, caller:
        caller.settimeout(10)
        yield server, caller


def answer(
    ends: tuple[socket.socket, socket.socket], asked: bytes, length: int | None, *pieces: bytes
) -> list[bytes]:
    """The packets of an answer with this body."""
    server, caller = ends
    caller.sendall(asked)
    request = next(DoorParser(CFG, server, CALLER))
    response = DoorResponse(request, server, CFG)
    headers = [("X-Told", "yes")] if length is None else [("Content-Length", str(length))]
    response.start_response("200 OK", headers)
    for piece in pieces:
        response.write(piece)
    response.close()
    server.shutdown(socket.SHUT_WR)
    return list(iter(lambda: caller.recv(1 << 20), b""))


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_small_answer_is_one_packet(ends: tuple[socket.socket, socket.socket]) -> None:
    (whole,) = answer(ends, GET, 5, b"hello")
    head, _, body = whole.partition(b"\r\n\r\n")
    assert body == b"hello"
    assert head.startswith(b"HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: ")
    assert b"\r\nConnection: keep-alive\r\nContent-Length: 5" in head


def test_no_byte_more_than_was_promised(ends: tuple[socket.socket, socket.socket]) -> None:
    (whole,) = answer(ends, GET, 4, b"hello", b"again")
    assert whole.endswith(b"\r\n\r\nhell")


def test_a_large_piece_is_not_copied(ends: tuple[socket.socket, socket.socket]) -> None:
    large = b"x" * (JOINED_BYTES + 1)
    head, body = answer(ends, GET, len(large), large)
    assert head.endswith(b"\r\n\r\n")
    assert body == large


def test_chunks(ends: tuple[socket.socket, socket.socket]) -> None:
    first, second, last = answer(ends, GET, None, b"hello", b"you")
    assert b"\r\nTransfer-Encoding: chunked\r\n" in first
    assert first.endswith(b"\r\n\r\n5\r\nhello\r\n")
    assert (second, last) == (b"3\r\nyou\r\n", b"0\r\n\r\n")


@pytest.mark.parametrize("pieces", [(), (b"",), (b"hello",)])
def test_a_head_alone(ends: tuple[socket.socket, socket.socket], pieces: tuple[bytes, ...]) -> None:
    (head,) = answer(ends, GET.replace(b"GET", b"HEAD"), 5, *pieces)
    assert head.endswith(b"\r\nContent-Length: 5\r\n\r\n")


@pytest.mark.parametrize(
    "asked",
    [
        GET.replace(b"\r\n", b"\n"),
        GET.replace(b"Host: x", b"A: b\r\n folded"),
        GET.replace(b"Host: x", b"Content-Length: 1\r\nTransfer-Encoding: chunked"),
        GET.replace(b"Host: x", b"Content-Length: 1\r\nContent-Length: 1"),
        GET.replace(b"Host: x", b"Host : x"),
        GET.replace(b"Host: x", b"A_B: x"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(
    ends: tuple[socket.socket, socket.socket], asked: bytes
) -> None:
    server, caller = ends
    caller.sendall(asked)
    caller.shutdown(socket.SHUT_WR)
    kept = CFG.__dict__ | {"header_map": "refuse"}
    with pytest.raises(ParseException):
        next(DoorParser(type(CFG)(**kept), server, CALLER))


def test_nobody_sets_its_scheme_by_a_header(ends: tuple[socket.socket, socket.socket]) -> None:
    server, caller = ends
    caller.sendall(GET.replace(b"Host: x", b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on"))
    request = next(DoorParser(CFG, server, ("127.0.0.1", 1)))
    assert request.scheme == "http"
