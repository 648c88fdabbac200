"""The thread of event streams: no stream ends it, and its end leaves none cut."""

import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from api.server.event_writer import EventResponse, EventWriter
from api.streaming import EventStream
from tests.support.node import wait_for

LAST_CHUNK = b"0\r\n\r\n"


class Streams:
    """A writer, and the readers of its streams."""

    def __init__(self) -> None:
        self.finished: list[EventResponse] = []
        self.writer = EventWriter(self.finished.append)
        self.sockets: list[socket.socket] = []

    def open(self, on_close: Callable[[], None] | None = None) -> tuple[EventStream, socket.socket]:
        body = EventStream(b"head\n", *([on_close] if on_close else []))
        ours, theirs = socket.socketpair()
        self.sockets += [ours, theirs]
        theirs.settimeout(60)
        conn = SimpleNamespace(sock=ours)
        self.writer.add(EventResponse(conn, body, framed=True, keepalive=True))
        return body, theirs


@pytest.fixture
def streams() -> Iterator[Streams]:
    found = Streams()
    yield found
    found.writer.stop()
    for sock in found.sockets:
        sock.close()


def read_until(reader: socket.socket, end: bytes) -> bytes:
    text = b""
    while not text.endswith(end):
        piece = reader.recv(4096)
        assert piece, text
        text += piece
    return text


def test_streams_end_whole_when_the_process_ends(streams: Streams) -> None:
    """An open stream must not hold up the end for as long as requests may take."""
    _, reader = streams.open()
    assert read_until(reader, b"head\n\r\n")
    streams.writer.stop()
    assert read_until(reader, LAST_CHUNK) == LAST_CHUNK
    _, late = streams.open()
    assert read_until(late, LAST_CHUNK)
    wait_for(lambda: len(streams.finished) == 2, 60)
    assert all(one.keepalive and one.body.closed for one in streams.finished)


def test_what_fails_at_the_end_of_one_stream_ends_no_other(streams: Streams) -> None:
    def fail() -> None:
        raise RuntimeError("the subscriber is gone")

    other, reader = streams.open()
    broken, _ = streams.open(fail)
    broken.put(b"", last=True)
    wait_for(lambda: len(streams.finished) == 1, 60)
    other.put(b"still here\n")
    assert b"still here\n" in read_until(reader, b"here\n\r\n")


def test_a_connection_that_is_gone_already_ends_no_other(streams: Streams) -> None:
    other, reader = streams.open()
    assert read_until(reader, b"head\n\r\n")
    ours, theirs = socket.socketpair()
    response = EventResponse(
        SimpleNamespace(sock=ours), EventStream(b""), framed=True, keepalive=True
    )
    ours.close()
    theirs.close()
    streams.writer.add(response)
    wait_for(lambda: streams.finished == [response], 60)
    assert response.body.closed
    other.put(b"still here\n")
    assert read_until(reader, b"here\n\r\n")
