"""A gunicorn worker whose threads are not held by slow downloads.

gthread keeps a thread for every response until its last byte: 64 readers that stall, and the door
is dead. Here the thread sends what the socket takes at once; the rest of a file goes to a few
sender threads that wait for all sockets together (epoll(7)) and send with sendfile(2). A reader
that stalls costs two descriptors, not a thread; nor does one that waits for its turn in the budget
of its volume (api/pacing.py).

The base class is gunicorn's own (27.x, pinned): the application is wrapped so that gunicorn sends
only the headers of a `FilePart`, and the places its result passes through are overridden.
`tests/client/test_offload.py` holds what we rely on.
"""

import os
import resource
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from api.alarms import Alarms
from api.client.sending import FilePart
from api.door_worker import DoorWorker
from api.pacing import LOOK_SECONDS as BUDGET_LOOK_SECONDS

#: tcp(7): how much unsent data makes a socket not writable (Linux 3.12).
TCP_NOTSENT_LOWAT = 25
#: What close(2) does to what is unsent (struct linger): throw it away, at once (socket(7)).
_RESET = struct.pack("ii", 1, 0)
#: Threads that send to all waiting sockets of a process: several, for one may wait for a disk.
SENDERS = 4
#: What a reader is sent at first; doubled each time it took all of it, up to the most. A kernel
#: takes 4 MiB from us for a reader that stalls: a thousand such fill the TCP memory of the machine,
#: and then nobody is sent anything.
FIRST_BYTES = 256 * 1024
MOST_BYTES = 1 << 20
#: A socket counts as writable when less than this is unsent, which is what shows a slow reader.
UNSENT_BYTES = 256 * 1024
#: A reader who took so much is no stalled one: then more may be unsent, for a sender is woken more
#: seldom, which is most of what a stream costs.
TRUSTED_BYTES = 8 << 20
TRUSTED_UNSENT_BYTES = 2 << 20
TRUSTED_SLICE_BYTES = 4 << 20
#: A reader that takes nothing for this long is gone.
SEND_SILENCE_SECONDS = 60.0
#: How often the silent are looked for.
LOOK_SECONDS = 5.0


class Stream:
    """One response on its way: the rest of a file, to one connection."""

    def __init__(self, conn: Any, part: FilePart, *, keepalive: bool) -> None:  # noqa: ANN401 - gunicorn is untyped
        self.conn = conn
        self.part = part
        self.keepalive = keepalive
        self.moved = time.monotonic()
        #: A sender has it in hand, or it waits for its turn.
        self.busy = False
        self._slice = FIRST_BYTES
        self._trusted_at = part.position + TRUSTED_BYTES

    @property
    def left(self) -> int:
        """Bytes still to send."""
        return self.part.end - self.part.position

    def wait(self) -> float:
        """Seconds until the budget of its volume lets it send, not longer than that may change."""
        return min(self.part.pace.wait(min(self.left, self._slice)), BUDGET_LOOK_SECONDS)

    def send(self) -> bool:
        """Send a slice, as much as the socket takes; true when nothing is left.

        The turn that `wait` waited for is used up.

        Raises:
            OSError: the reader is gone, the file shrank, or the storage failed.
        """
        pace = self.part.pace
        wanted = pace.granted
        try:
            sent = os.sendfile(
                self.conn.sock.fileno(), self.part.fileno(), self.part.position, wanted
            )
        except BlockingIOError:
            pace.moved(0)
            return False
        if sent == 0 < wanted:
            raise ConnectionResetError("the file shrank while it was sent")
        pace.moved(sent)
        self.part.position += sent
        self.moved = time.monotonic()
        if self._slice == TRUSTED_SLICE_BYTES:
            return self.left == 0
        if self.part.position >= self._trusted_at:
            self._trust()
            return self.left == 0
        self._slice = min(self._slice * 2, MOST_BYTES) if sent == wanted else FIRST_BYTES
        return self.left == 0

    def _trust(self) -> None:
        self._slice = TRUSTED_SLICE_BYTES
        self.conn.sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, TRUSTED_UNSENT_BYTES)

    def abandon(self) -> None:
        """Cut the connection, so that nobody takes what was sent for the whole.

        gunicorn closes the socket: closed here, it would count the connection as gone twice.
        """
        self.keepalive = False
        self.part.abandon()
        try:
            self.conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.conn.sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # the reader was faster
            return


class Senders:
    """The threads that wait for all streams of a process."""

    def __init__(self, finished: Any) -> None:  # noqa: ANN401 - a callable of the untyped worker
        self._finished = finished
        self._poll = select.epoll()
        self._lock = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._looked = time.monotonic()
        self._turns = Alarms("turns")
        for number in range(SENDERS):
            threading.Thread(target=self._run, name=f"sender {number}", daemon=True).start()

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
        if done:
            self._end(descriptor, stream, cut=False)
            return
        with self._lock:
            stream.busy = False
        self._poll.modify(descriptor, select.EPOLLOUT | select.EPOLLONESHOT)

    def _look_again(self, descriptor: int, stream: Stream) -> None:
        """On the thread of the alarms: it stays `busy` until its turn has come."""
        if (pause := stream.wait()) > 0:
            self._turns.after(pause, partial(self._look_again, descriptor, stream))
            return
        with self._lock:
            stream.moved = time.monotonic()  # to wait for a turn is no silence
            stream.busy = False
        self._poll.modify(descriptor, select.EPOLLOUT | select.EPOLLONESHOT)

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
        for descriptor, stream in silent:
            self._end(descriptor, stream, cut=True)


class OffloadWorker(DoorWorker):
    """The doors' worker, with files sent by `Senders`."""

    wsgi: Callable[..., Any]

    def init_process(self) -> None:
        """Start the senders in the worker process, with all the descriptors it may have."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._here = threading.local()
        self._senders = Senders(self._stream_finished)
        super().init_process()

    def load_wsgi(self) -> None:
        """Put ourselves between gunicorn and the application."""
        super().load_wsgi()
        self.app.wsgi().extensions["vfolder.door"].budgets.start()
        inner = self.wsgi

        def application(environ: dict[str, Any], start_response: Any) -> Any:  # noqa: ANN401 - WSGI
            body = inner(environ, start_response)
            part = getattr(body, "filelike", None)
            if not isinstance(part, FilePart) or self.cfg.is_ssl or self.cfg.sendfile is False:
                return body
            self._here.part = part
            return ()  # gunicorn sends the headers, and that is all it does

        self.wsgi = application

    def handle(self, conn: Any) -> Any:  # noqa: ANN401 - gunicorn is untyped
        """As every door; a body that was never begun (the headers failed) is closed."""
        try:
            return super().handle(conn)
        finally:
            if (part := self._taken()) is not None:
                part.file.close()

    def _taken(self) -> FilePart | None:
        part: FilePart | None = getattr(self._here, "part", None)
        self._here.part = None
        return part

    def _keepalive_after(self, conn: Any, keepalive: Any) -> Any:  # noqa: ANN401 - gunicorn is untyped
        """Send what the socket takes; a `Stream` comes back when that is not all."""
        kept = super()._keepalive_after(conn, keepalive)
        part = self._taken()
        if part is None:
            return kept
        stream = Stream(conn, part, keepalive=kept)
        conn.sock.settimeout(0)
        conn.sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        try:
            done = stream.wait() == 0 and stream.send()
        except OSError:
            stream.abandon()
            done = True
        if not done:
            return stream
        part.close()
        return stream.keepalive

    def finish_request(self, conn: Any, fs: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        """As gthread, on the main thread; a `Stream` goes to the senders first."""
        result = None if fs.cancelled() or fs.exception() else fs.result()
        if isinstance(result, Stream):
            self._senders.take(result)
        else:
            super().finish_request(conn, fs)

    def _stream_finished(self, stream: Stream) -> None:
        """On a sender thread: let gunicorn keep or close the connection."""
        stream.part.close()
        future: Future[bool] = Future()
        future.set_result(stream.keepalive)
        self.method_queue.defer(self.finish_request, stream.conn, future)
