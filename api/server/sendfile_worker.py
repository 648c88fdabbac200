"""The client door's gunicorn worker: slow downloads hold no thread.

gthread keeps a thread for every response until its last byte: 64 readers that stall, and the door
is dead. Here the request's thread sends what the socket takes at once. The rest of a file or of an
archive goes to a few sender threads. They wait for all sockets together (epoll(7)) and send with
sendfile(2), or send what they pack. A reader that stalls costs descriptors, not a thread; so does a
reader that waits for its turn in the budget of its volume (api/streaming/pacing.py).
"""

import heapq
import itertools
import select
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from api.server.event_writer import EventResponse
from api.server.response_streams import ResponseStream, can_stream, new_stream
from api.server.worker import DoorWorker
from api.streaming import ArchiveResponse, LoadedPart
from core.telemetry import logger

#: Threads that send to all waiting sockets of a process, by kind of response. One may wait for a
#: disk, so each kind has several. Packing takes a processor: two threads leave the others theirs.
SENDERS = {"files": 4, "archives": 4, "packing": 2}
#: A reader that takes no byte for this long is cut off (seconds).
SEND_SILENCE_SECONDS = 60.0
#: A sender that sends one slice for this long waits for a storage that hangs; another thread takes
#: over its other streams. A process has at most so many senders of one kind.
STUCK_SECONDS = 1.0
SENDERS_MAX = 64
#: How often silent readers are looked for (seconds).
LOOK_SECONDS = 5.0

_log = logger(__name__)


class Timers:
    """Callbacks at their times, on one thread that does nothing else; they must not wait."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._pending: list[tuple[float, int, Callable[[], None]]] = []
        self._started = False

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call `callback` after so many seconds; the first call starts the thread."""
        due_at = time.monotonic() + seconds
        with self._changed:
            heapq.heappush(self._pending, (due_at, next(self._numbers), callback))
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            elif self._pending[0][0] == due_at:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            self._next()()

    def _next(self) -> Callable[[], None]:
        with self._changed:
            while True:
                left = self._pending[0][0] - time.monotonic() if self._pending else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._pending)[2]
                self._changed.wait(left)


class Senders:
    """The threads that send all streams of one kind in a process."""

    def __init__(
        self, on_finished: Callable[[ResponseStream], None], name: str, threads: int
    ) -> None:
        self._on_finished = on_finished
        self._poll = select.epoll()
        self._lock = threading.Lock()
        self._streams: dict[int, ResponseStream] = {}
        self._looked_at = time.monotonic()
        self._turns = Timers("turns")
        self._name, self._wanted, self._threads = name, threads, 0
        #: When each thread began its present slice.
        self._sending: dict[int, float] = {}
        self._watches = False
        for _ in range(threads):
            self._start()

    def _start(self) -> None:
        self._threads += 1
        name = f"{self._name} {self._threads}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _watch(self) -> None:
        """Run on the timers' thread: start a thread in place of each that a storage holds."""
        with self._lock:
            stuck = self._stuck()
            if self._threads - stuck < self._wanted and self._threads < SENDERS_MAX:
                self._start()
            self._watches = bool(self._streams)
            if not self._watches:
                return
        self._turns.after(STUCK_SECONDS / 2, self._watch)

    def _stuck(self) -> int:
        before = time.monotonic() - STUCK_SECONDS
        return sum(began < before for began in list(self._sending.values()))

    def _is_surplus(self) -> bool:
        """Return whether this thread may end, because one that hung came back."""
        with self._lock:
            if self._threads - self._stuck() <= self._wanted:
                return False
            self._threads -= 1
            return True

    def add(self, stream: ResponseStream) -> None:
        """Send the rest of a stream, then call `on_finished` with it."""
        descriptor = stream.conn.sock.fileno()
        with self._lock:
            self._streams[descriptor] = stream
            watches, self._watches = self._watches, True
        if not watches:
            self._turns.after(STUCK_SECONDS, self._watch)
        self._poll.register(descriptor, select.EPOLLOUT | select.EPOLLONESHOT)

    def _run(self) -> None:
        while self._threads <= self._wanted or not self._is_surplus():
            for descriptor, _ in self._poll.poll(LOOK_SECONDS, 1):
                self._serve(descriptor)
            self._cut_silent()

    def _serve(self, descriptor: int) -> None:
        with self._lock:
            stream = self._streams.get(descriptor)
            if stream is None or stream.busy:
                return
            stream.busy = True
        if (pause := stream.wait()) > 0:
            self._turns.after(pause, partial(self._check_turn, descriptor, stream))
            return
        thread = threading.get_ident()
        self._sending[thread] = time.monotonic()
        try:
            done = stream.send()
        except OSError:
            self._end(descriptor, stream, cut=True)
            return
        except Exception:  # noqa: BLE001 - a defect in one stream must not end the thread of all
            _log.exception("stream cut")
            self._end(descriptor, stream, cut=True)
            return
        finally:
            self._sending.pop(thread, None)
        if done:
            self._end(descriptor, stream, cut=False)
            return
        self._wait_for(descriptor, stream)

    def _wait_for(self, descriptor: int, stream: ResponseStream) -> None:
        with self._lock:
            stream.busy = False
            self._poll.modify(descriptor, select.EPOLLOUT | select.EPOLLONESHOT)

    def _check_turn(self, descriptor: int, stream: ResponseStream) -> None:
        """Run on the timers' thread: the stream stays `busy` until its turn comes."""
        if (pause := stream.wait()) > 0:
            self._turns.after(pause, partial(self._check_turn, descriptor, stream))
            return
        stream.moved_at = time.monotonic()  # waiting for a turn is no silence of the reader
        self._wait_for(descriptor, stream)

    def _end(self, descriptor: int, stream: ResponseStream, *, cut: bool) -> None:
        with self._lock:
            if self._streams.pop(descriptor, None) is None:
                return
        self._poll.unregister(descriptor)
        if cut:
            stream.abandon()
        self._on_finished(stream)

    def _cut_silent(self) -> None:
        """Cut off readers that take no byte, or may have no more; one thread looks at a time."""
        now = time.monotonic()
        with self._lock:
            if now < self._looked_at + LOOK_SECONDS:
                return
            self._looked_at = now
            silent = [
                (descriptor, stream)
                for descriptor, stream in self._streams.items()
                if not stream.busy
                and (stream.is_cut or now > stream.moved_at + SEND_SILENCE_SECONDS)
            ]
            for _, stream in silent:
                stream.busy = True  # no other thread sends it while it is closed
        for descriptor, stream in silent:
            self._end(descriptor, stream, cut=True)


class SendfileWorker(DoorWorker):
    """The doors' worker; `Senders` send the files and archives of its responses."""

    def init_process(self) -> None:
        """Start the senders in the worker process."""
        self._senders = {
            kind: Senders(self._stream_finished, kind, threads) for kind, threads in SENDERS.items()
        }
        super().init_process()

    def handle(self, conn: Any) -> Any:  # noqa: ANN401 - gunicorn is untyped
        """Serve a connection; a body that was never started (its head failed) is closed."""
        try:
            return super().handle(conn)
        finally:
            if (body := self._take_body()) is not None:
                getattr(body, "filelike", body).abandon()
                body.close()

    def _answer(self, resp: Any, body: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        """Send the head alone of a body that a `ResponseStream` can send, and keep the body."""
        settings = self._plain_settings
        if not can_stream(body) or settings.is_ssl or settings.sendfile is False:
            super()._answer(resp, body)
            return
        self._local.body = body
        if isinstance(body, LoadedPart):
            self._local.body_head = resp.take_head()
            return
        if isinstance(body, ArchiveResponse) and body.length is None:
            body.framed = _send_head_of_unknown_length(resp)
        elif not isinstance(body, ArchiveResponse):
            resp.more_follows = body.filelike.end > body.filelike.position
        resp.close()  # it sends the head, and of a body with a known length nothing else

    def _stream_of(self, conn: Any, body: Any, *, keepalive: bool) -> ResponseStream:  # noqa: ANN401 - gunicorn is untyped
        head = self._local.body_head if isinstance(body, LoadedPart) else b""
        return new_stream(conn, body, keepalive=keepalive, head=head)

    def _take_body(self) -> Any:  # noqa: ANN401 - any WSGI body
        body = getattr(self._local, "body", None)
        self._local.body = None
        return body

    def _keepalive_after(self, conn: Any, keepalive: Any) -> Any:  # noqa: ANN401 - gunicorn is untyped
        """Send what the socket takes; return the stream when that is not all."""
        kept = super()._keepalive_after(conn, keepalive)
        body = self._take_body()
        if body is None or isinstance(kept, EventResponse):
            return kept
        stream = self._stream_of(conn, body, keepalive=kept)
        try:
            done = stream.kind != "packing" and stream.wait() == 0 and stream.send()
        except OSError:
            stream.abandon()
            done = True
        if not done:
            return stream
        stream.close()
        return stream.keepalive

    def finish_request(self, conn: Any, fs: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        """On the main thread: give a stream to its senders; else do what every door does."""
        result = None if fs.cancelled() or fs.exception() else fs.result()
        if isinstance(result, ResponseStream):
            self._senders[result.kind].add(result)
        else:
            super().finish_request(conn, fs)

    def _stream_finished(self, stream: ResponseStream) -> None:
        """Run on a sender thread: let gunicorn keep or close the connection."""
        stream.close()
        future: Future[bool] = Future()
        future.set_result(stream.keepalive)
        self.method_queue.defer(self.finish_request, stream.conn, future)


def _send_head_of_unknown_length(resp: Any) -> bool:  # noqa: ANN401 - gunicorn is untyped
    """Send the head of a response whose length is unknown; return whether it goes in chunks.

    gunicorn would send the last chunk (RFC 9112 §7.1) before the body. This prevents it; the sender
    sends the last chunk instead. The connection ends with this response.
    """
    resp.force_close()
    resp.send_headers()
    chunked: bool = resp.chunked
    resp.chunked = False
    return chunked
