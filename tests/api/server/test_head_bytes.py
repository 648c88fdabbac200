"""Any bytes: the parser needs no other byte to decide about what the main thread gives it."""

import socket
from contextlib import ExitStack
from itertools import pairwise
from types import SimpleNamespace

import pytest
from gunicorn.http.errors import LimitRequestHeaders, NoMoreData, ParseException
from hypothesis import example, given
from hypothesis import strategies as st

from api.server.heads import HEAD_MAX_BYTES, DoorConnection, RequestKind
from tests.api.server.test_connection import door_settings

CALLER = ("127.0.0.1", 1)
#: Pieces of requests, so that heads of every kind are made of them.
PIECES = [
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b":", b"\0", b"xyz", b"a" * 9000),
    *(b"GET / HTTP/1.1", b"POST /livez HTTP/1.1", b"Host: x"),
    *(b"Content-Length: 3", b"Transfer-Encoding: chunked"),
]
BYTES = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=12).map(b"".join)


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return door_settings(tmp_path_factory.mktemp("settings"))


class NoMoreBytes(SimpleNamespace):
    """A socket of a parser that must not read."""

    def recv(self, _size: int) -> bytes:
        raise AssertionError("the parser waits for the caller")


def parsed(conn: DoorConnection) -> str:
    """What the parser makes of the received bytes."""
    conn.pass_on()
    conn.parser.unreader.sock = NoMoreBytes()
    try:
        request = next(conn.parser)
    except (ParseException, StopIteration) as error:
        return type(error).__name__
    return f"{request.method} {request.path}"


def decided(cfg: SimpleNamespace, pieces: list[bytes]) -> tuple[DoorConnection, bool]:
    """A connection that received these bytes, piece by piece until the request was decided."""
    server, caller = socket.socketpair()
    with caller, ExitStack() as on_error:
        on_error.enter_context(server)
        conn = DoorConnection(cfg, server, CALLER, ("127.0.0.1", 2))
        done = False
        for piece in filter(None, pieces):
            caller.sendall(piece)
            done = conn.receive()
            if done:
                break
        on_error.pop_all()
    return conn, done


@given(sent=BYTES)
@example(sent=b"\r\n" + b"GET / HTTP/1.1\r\n\r\n")
@example(sent=b"GET / HTTP/1.1\n")
@example(sent=b"GET /" + b"a" * 9000)
def test_the_parser_needs_no_other_byte(cfg: SimpleNamespace, sent: bytes) -> None:
    conn, done = decided(cfg, [sent])
    with conn.sock:
        if done:
            assert parsed(conn)


@given(sent=BYTES, cuts=st.lists(st.integers(0, 40), max_size=6))
def test_packets_make_no_difference(cfg: SimpleNamespace, sent: bytes, cuts: list[int]) -> None:
    at = sorted({0, *(cut for cut in cuts if cut < len(sent)), len(sent)})
    pieces = [sent[first:last] for first, last in pairwise(at)]
    at_once, by_piece = decided(cfg, [sent]), decided(cfg, pieces)
    with at_once[0].sock, by_piece[0].sock:
        assert at_once[1] == by_piece[1]
        if at_once[1]:
            refused = {parsed(at_once[0]), parsed(by_piece[0])}
            assert len(refused) == 1 or not any(word.startswith("GET ") for word in refused)


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_a_head_has_a_bound(cfg: SimpleNamespace, end: bytes) -> None:
    lines = b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (HEAD_MAX_BYTES // 6) + b"c: d" + end
    with pytest.raises(LimitRequestHeaders):
        decided(cfg, [lines[at : at + 10_000] for at in range(0, len(lines), 10_000)])


def test_an_early_end_is_known(cfg: SimpleNamespace) -> None:
    for sent, error in ((b"GET / HT", NoMoreData), (b"", EOFError)):
        server, caller = socket.socketpair()
        caller.sendall(sent)
        caller.close()
        with server:
            conn = DoorConnection(cfg, server, CALLER, ("127.0.0.1", 2))
            assert not sent or not conn.receive()
            with pytest.raises(error):
                conn.receive()


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", RequestKind.PROBE),
        (b"\r\nHEAD /metrics?a=b HTTP/1.1\r\n\r\n", RequestKind.PROBE),
        (b"GET / HTTP/1.1\r\nContent-Length: 000\r\n\r\n", RequestKind.PROBE),
        (b"GET /livez HTTP/1.1\r\nContent-Length: 5\r\n\r\n", RequestKind.BODY),
        (b"GET /livezz HTTP/1.1\r\n\r\n", RequestKind.OTHER),
        (b"POST /livez HTTP/1.1\r\n\r\n", RequestKind.OTHER),
        (b"POST /a HTTP/1.1\r\nCONTENT-length:\t05\r\n\r\nhell", RequestKind.BODY),
        (b"POST /a HTTP/1.1\r\nCONTENT-length:\t05\r\n\r\nhello", RequestKind.OTHER),
        (b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", RequestKind.BODY),
        (b"POST /a HTTP/1.1\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n", RequestKind.BODY),
        (b"POST /a HTTP/1.1\r\nA: Content-Length: 5\r\n\r\n", RequestKind.OTHER),
        (b"POST /a HTTP/1.1\n\n", RequestKind.OTHER),
    ],
)
def test_the_kind_of_a_request(cfg: SimpleNamespace, sent: bytes, kind: RequestKind) -> None:
    conn, done = decided(cfg, [sent])
    with conn.sock:
        assert done
        assert conn.next_kind() is kind


def test_the_rest_of_a_body_is_skipped(cfg: SimpleNamespace) -> None:
    post = b"POST /a HTTP/1.1\r\nContent-Length: 10\r\n\r\n"
    following = b"GET /b HTTP/1.1\r\n\r\n"
    for came in (b"", b"01234", b"0123456789", b"0123456789" + following):
        server, caller = socket.socketpair()
        with server, caller:
            conn = DoorConnection(cfg, server, CALLER, ("127.0.0.1", 2))
            caller.sendall(post + came)
            assert conn.receive()
            conn.pass_on()
            next(conn.parser)
            assert conn.leave_body()
            caller.sendall((b"0123456789" + following)[len(came) :])
            server.settimeout(0)
            assert conn.receive()
            assert parsed(conn) == "GET /b"
