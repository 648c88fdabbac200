"""A gunicorn worker whose threads are not held by slow downloads.

gthread keeps a thread for every response until its last byte: 64 readers that stall, and the door
is dead. Here the thread sends what the socket takes at once; the rest of a file or an archive goes
to a few sender threads that wait for all sockets together (epoll(7)) and send with sendfile(2) or
what they make. A reader that stalls costs descriptors, not a thread; nor does one that waits for
its turn in the budget of its volume (api/streaming/pacing.py).

The base class is gunicorn's own (27.x, pinned): the application is wrapped so that gunicorn sends
only the headers of what `is_sendable`, and the places its result passes through are overridden.
`tests/api/client/test_offload.py` holds what we rely on.

Acts at their moments, on one thread that does nothing else and so is never late for long.
"""

import heapq
import itertools
import resource
import select
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from api.server.response_streams import Stream, begin, is_sendable
from api.server.worker import DoorWorker
from api.streaming import ArchiveResponse
from core.telemetry import logger

#: Threads that send to all waiting sockets of a process, each kind of answer by its own: several,
#: for one may wait for a disk. Who packs takes a processor: two, and others keep theirs.
SENDERS = {"files": 4, "archives": 4, "packing": 2}
#: A reader that takes nothing for this long is gone.
SEND_SILENCE_SECONDS = 60.0
#: How often the silent are looked for.
LOOK_SECONDS = 5.0

_log = logger(__name__)


class Senders:
    """The threads that wait for all streams of a kind in a process."""

    def __init__(self, finished: Any, name: str, threads: int) -> None:  # noqa: ANN401 - a callable of the untyped worker
        self._finished = finished
        self._poll = select.epoll()
        self._lock = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._looked = time.monotonic()
        self._turns = Timers("turns")
        for number in range(threads):
            threading.Thread(target=self._run, name=f"{name} {number}", daemon=True).start()

    def take(self, stream: Stream) -> None:
        """Send the rest of a stream; `finished` is called with it at its end."""
        descriptor = stream.conn.sock.fileno()
        with self._lock:
            self._streams[descriptor] = stream
        self._poll.register(descriptor, select.EPOLLOUT | select.EPOLLONESHOT)

    def _run(self) -> None:
        while True:
            for descriptor, _ in self._poll.poll(LOOK_SECONDS, 1):
                self._serve(descriptor)
            self._drop_silent()

    def _serve(self, descriptor: int) -> None:
        with self._lock:
            stream = self._streams.get(descriptor)
            if stream is None or stream.busy:
                return
            stream.busy = True
        if (pause := stream.wait()) > 0:
            self._turns.after(pause, partial(self._look_again, descriptor, stream))
            return
        try:
            done = stream.send()
        except OSError:
            self._end(descriptor, stream, cut=True)
            return
        except Exception:  # noqa: BLE001 - a defect in one stream must not end the thread of all
            _log.exception("stream cut")
            self._end(descriptor, stream, cut=True)
            return
        if done:
            self._end(descriptor, stream, cut=False)
            return
        self._wait_for(descriptor, stream)

    def _wait_for(self, descriptor: int, stream: Stream) -> None:
        with self._lock:
            stream.busy = False
            self._poll.modify(descriptor, select.EPOLLOUT | select.EPOLLONESHOT)

    def _look_again(self, descriptor: int, stream: Stream) -> None:
        """On the thread of the alarms: it stays `busy` until its turn has come."""
        if (pause := stream.wait()) > 0:
            self._turns.after(pause, partial(self._look_again, descriptor, stream))
            return
        stream.moved = time.monotonic()  # to wait for a turn is no silence
        self._wait_for(descriptor, stream)

    def _end(self, descriptor: int, stream: Stream, *, cut: bool) -> None:
        with self._lock:
            if self._streams.pop(descriptor, None) is None:
                return
        self._poll.unregister(descriptor)
        if cut:
            stream.abandon()
        self._finished(stream)

    def _drop_silent(self) -> None:
        """Cut readers that take nothing; one thread looks at a time."""
        now = time.monotonic()
        with self._lock:
            if now < self._looked + LOOK_SECONDS:
                return
            self._looked = now
            silent = [
                (descriptor, stream)
                for descriptor, stream in self._streams.items()
                if now > stream.moved + SEND_SILENCE_SECONDS and not stream.busy
            ]
            for _, stream in silent:
                stream.busy = True  # nobody else sends it, while it is closed
        for descriptor, stream in silent:
            self._end(descriptor, stream, cut=True)


class SendfileWorker(DoorWorker):
    """The doors' worker, with files sent by `Senders`."""

    wsgi: Callable[..., Any]

    def init_process(self) -> None:
        """Start the senders in the worker process, with all the descriptors it may have."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._here = threading.local()
        self._senders = {
            kind: Senders(self._stream_finished, kind, threads) for kind, threads in SENDERS.items()
        }
        super().init_process()

    def load_wsgi(self) -> None:
        """Put ourselves between gunicorn and the application."""
        super().load_wsgi()
        self.app.wsgi().extensions["vfolder.door"].stream_budgets.start()
        inner = self.wsgi

        def application(environ: dict[str, Any], start_response: Any) -> Any:  # noqa: ANN401 - WSGI
            body = inner(environ, start_response)
            if not is_sendable(body) or self.cfg.is_ssl or self.cfg.sendfile is False:
                return body
            self._here.body = body
            if isinstance(body, ArchiveResponse) and body.length is None:
                body.framed = _begin_unknown(start_response.__self__)
            elif not isinstance(body, ArchiveResponse):
                start_response.__self__.more_follows = body.filelike.end > body.filelike.position
            return ()  # gunicorn sends the headers, and that is all it does

        self.wsgi = application

    def handle(self, conn: Any) -> Any:  # noqa: ANN401 - gunicorn is untyped
        """As every door; a body that was never begun (the headers failed) is closed."""
        try:
            return super().handle(conn)
        finally:
            if (body := self._taken()) is not None:
                getattr(body, "filelike", body).abandon()
                body.close()

    def _taken(self) -> Any:  # noqa: ANN401 - any WSGI body
        body = getattr(self._here, "body", None)
        self._here.body = None
        return body

    def _keepalive_after(self, conn: Any, keepalive: Any) -> Any:  # noqa: ANN401 - gunicorn is untyped
        """Send what the socket takes; a `Stream` comes back when that is not all."""
        kept = super()._keepalive_after(conn, keepalive)
        body = self._taken()
        if body is None:
            return kept
        stream = begin(conn, body, keepalive=kept)
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
        """As gthread, on the main thread; a `Stream` goes to the senders first."""
        result = None if fs.cancelled() or fs.exception() else fs.result()
        if isinstance(result, Stream):
            self._senders[result.kind].take(result)
        else:
            super().finish_request(conn, fs)

    def _stream_finished(self, stream: Stream) -> None:
        """On a sender thread: let gunicorn keep or close the connection."""
        stream.close()
        future: Future[bool] = Future()
        future.set_result(stream.keepalive)
        self.method_queue.defer(self.finish_request, stream.conn, future)


def _begin_unknown(response: Any) -> bool:  # noqa: ANN401 - gunicorn is untyped
    """Send the headers of an answer whose length its end tells: whether in chunks (RFC 9112 §7.1).

    gunicorn is not to send the last chunk, which it would without a body. So the connection ends
    with this answer.
    """
    response.force_close()
    response.send_headers()
    chunked: bool = response.chunked
    response.chunked = False
    return chunked


class Timers:
    """Begins its thread with the first alarm; acts must not wait for anything."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._begun = False

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Have it done after so many seconds."""
        at = time.monotonic() + seconds
        with self._changed:
            heapq.heappush(self._waiting, (at, next(self._numbers), act))
            if not self._begun:
                self._begun = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            elif self._waiting[0][0] == at:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            self._next()()

    def _next(self) -> Callable[[], None]:
        with self._changed:
            while True:
                left = self._waiting[0][0] - time.monotonic() if self._waiting else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(left)
