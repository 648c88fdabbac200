"""The thread of a process that writes all its event streams: an open stream costs a descriptor.

The request's thread sends the head and ends. Then one thread waits for all streams together
(epoll(7)): for an event, for a socket that takes bytes again, for a reader that left.
"""

import os
import select
import socket
import ssl
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from api.streaming import COMMENT_SECONDS, EventStream
from core.telemetry import logger

#: A reader that takes no byte for this long is cut off (seconds).
SILENCE_SECONDS = 60.0
#: How often the thread looks for streams that need a comment, and for silent readers (seconds).
LOOK_SECONDS = 1.0
#: The size of the counter of an eventfd(2), in bytes.
_COUNTER_BYTES = 8
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_WAITS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_log = logger(__name__)


class EventResponse:
    """One event stream on its way to its connection."""

    def __init__(self, conn: Any, body: EventStream, *, framed: bool, keepalive: bool) -> None:  # noqa: ANN401 - gunicorn is untyped
        self.conn = conn
        #: Each piece goes as a chunk (RFC 9112 §7.1).
        self.framed = framed
        #: Whether the connection serves another request afterwards.
        self.keepalive = keepalive
        self.body = body
        #: When the reader last took a byte, and when the writer last looked (monotonic seconds).
        self.moved_at = self.looked_at = time.monotonic()
        self._unsent = b""
        self._ended = False
        conn.sock.settimeout(0)

    @property
    def is_behind(self) -> bool:
        """Whether the socket takes no more bytes now."""
        return bool(self._unsent)

    def send(self, comment: bytes = b"") -> bool:
        """Send what is there; return whether nothing will follow.

        Raises:
            OSError: the reader is gone.
        """
        while True:
            if not self._unsent:
                self._refill(comment)
                comment = b""
            if not self._unsent:
                return self._ended
            try:
                sent = self.conn.sock.send(self._unsent)
            except _WAITS:
                return False
            self._unsent = self._unsent[sent:]
            self.moved_at = time.monotonic()

    def _refill(self, comment: bytes) -> None:
        if self._ended:
            return
        piece, self._ended = self.body.take()
        piece = piece or comment
        if not self.framed:
            self._unsent = piece
            return
        self._unsent = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
        if self._ended:
            self._unsent += b"0\r\n\r\n"

    def abandon(self) -> None:
        """Send no more; the connection ends."""
        self.keepalive = False
        try:
            self.conn.sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # the reader was first
            return


class EventWriter:
    """The one thread that writes the event streams of a process; it starts with the first one."""

    def __init__(self, on_finished: Callable[[EventResponse], None]) -> None:
        self._on_finished = on_finished
        self._lock = threading.Lock()
        #: By descriptor; what was looked at first comes first. Only the thread touches it.
        self._streams: OrderedDict[int, EventResponse] = OrderedDict()
        #: What other threads ask for.
        self._new: deque[EventResponse] = deque()
        self._woken: deque[EventResponse] = deque()
        self._thread: threading.Thread | None = None
        self._stops = False
        self._poll: select.epoll
        self._wakes: int

    def add(self, response: EventResponse) -> None:
        """Write a stream until its end, then call `on_finished` with it."""
        with self._lock:
            if self._thread is None:
                self._start()
        self._new.append(response)
        self._wake()

    def stop(self) -> None:
        """End every stream, those to come too: the process ends, and its readers ask another one.

        A stream ends as its response does, so no reader takes it for a cut connection.
        """
        with self._lock:
            self._stops = True
            if self._thread is not None:
                self._wake()

    def _start(self) -> None:
        self._poll = select.epoll()
        self._wakes = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wakes, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def _wake(self) -> None:
        os.eventfd_write(self._wakes, 1)

    def _changed(self, response: EventResponse) -> None:
        """Run on any thread: a piece is there."""
        self._woken.append(response)
        self._wake()

    def _run(self) -> None:
        while True:
            for descriptor, event in self._poll.poll(LOOK_SECONDS):
                if descriptor == self._wakes:
                    self._serve_woken()
                elif (response := self._streams.get(descriptor)) is not None:
                    self._serve(descriptor, response, gone=bool(event & _GONE))
            self._serve_silent()

    def _serve_woken(self) -> None:
        os.read(self._wakes, _COUNTER_BYTES)
        while self._new:
            self._begin(self._new.popleft())
        if self._stops:
            for response in list(self._streams.values()):
                response.body.put(b"", last=True)
        for response in {id(one): one for one in _drained(self._woken)}.values():
            descriptor = response.conn.sock.fileno()
            if self._streams.get(descriptor) is response and not response.is_behind:
                self._serve(descriptor, response)

    def _begin(self, response: EventResponse) -> None:
        descriptor = response.conn.sock.fileno()
        self._streams[descriptor] = response
        try:
            self._poll.register(descriptor, _GONE)
        except (OSError, ValueError) as error:
            _log.warning("event stream not followed", reason=str(error))
            self._end(descriptor, response, cut=True)
            return
        response.body.follow(partial(self._changed, response))

    def _serve_silent(self) -> None:
        """Send comments where nothing happens, and cut off readers that take no byte."""
        now = time.monotonic()
        while self._streams:
            descriptor, response = next(iter(self._streams.items()))
            if now < response.looked_at + COMMENT_SECONDS:
                return
            is_stalled = response.is_behind and now > response.moved_at + SILENCE_SECONDS
            self._serve(descriptor, response, response.body.comment, gone=is_stalled)

    def _serve(
        self, descriptor: int, response: EventResponse, comment: bytes = b"", *, gone: bool = False
    ) -> None:
        try:
            ended = gone or self._sent(descriptor, response, comment)
        except OSError:
            ended = gone = True
        except Exception:  # noqa: BLE001 - a defect in one stream must not end the thread of all
            _log.exception("event stream cut")
            ended = gone = True
        if ended:
            self._end(descriptor, response, cut=gone)
            return
        response.looked_at = time.monotonic()
        self._streams.move_to_end(descriptor)

    def _sent(self, descriptor: int, response: EventResponse, comment: bytes) -> bool:
        """Send what is there, and wait for room where it does not fit; return whether it ended."""
        was_behind = response.is_behind
        if response.send(comment):
            return True
        if response.is_behind != was_behind:
            wanted = _GONE | (select.EPOLLOUT if response.is_behind else 0)
            self._poll.modify(descriptor, wanted)
        return False

    def _end(self, descriptor: int, response: EventResponse, *, cut: bool) -> None:
        """Let go of a stream; what fails meanwhile ends no other one."""
        del self._streams[descriptor]
        steps: list[Callable[[], object]] = [
            partial(self._poll.unregister, descriptor),
            *([response.abandon] if cut else []),
            response.body.close,
            partial(self._on_finished, response),
        ]
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001 - as `_serve`
                _log.warning("event stream not ended well", reason=repr(error))


def _drained(queue: "deque[EventResponse]") -> list[EventResponse]:
    found = []
    while queue:
        found.append(queue.popleft())
    return found
