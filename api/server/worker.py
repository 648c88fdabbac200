"""gunicorn's threaded worker, staying a moment with a connection that keeps asking.

gunicorn hands a kept-alive connection back to its main thread after every answer, and the next
request on it goes through a pipe, a selector and two thread switches before it is read. A caller
that keeps asking (the manager does) has its next request here within a millisecond or two: this
worker waits that long in the same thread, and only then gives the connection back.

gunicorn's threaded worker, with connections closed beside its main thread.

A connection that is to be closed is half-closed, then read until the other side closes too, for
two seconds at most (RFC 9112 §9.6). gunicorn does that on the thread that accepts and dispatches:
one caller who asks for `Connection: close` and stays would keep everybody waiting. Here a few
threads of their own do it.

SIGHUP at a door: the configuration is read again in every process, and nothing is cut.

gunicorn's own way starts new processes and ends the old ones, streams too. Here the arbiter passes
the signal on, and each process takes over what may change (`core.settings.reload`) while its
requests go on. A file that is wrong changes nothing and is named in the log.

Says `Connection: close` whenever gunicorn will close a connection because of an unread body.

A request may be answered before its body was read: too large, a wrong secret, a wrong offset.
gunicorn then reads a little of what is left and closes the connection, after an answer that still
said keep-alive: the caller's next request on it goes nowhere. Whether it will is known when the
answer begins, so it is said there (RFC 9112 §9.6).
"""

import select
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from gunicorn.http import errors, wsgi
from gunicorn.util import close_graceful
from gunicorn.workers.gthread import ThreadWorker

from api.http import metrics
from api.server.connection import DoorParser, DoorResponse, settled
from core.errors import ConfigurationError
from core.settings import reload
from core.telemetry import logs

_log = logs.logger(__name__)


#: Threads that see callers off. They only wait; a crowd that never closes waits for each other.
CLOSERS = 8


class LingeringCloseWorker(ThreadWorker):
    """See the module."""

    nr_conns: int

    def init_process(self) -> None:
        """Make the pool in the worker process; its threads start when they are needed."""
        self._closers = ThreadPoolExecutor(CLOSERS, thread_name_prefix="closer")
        super().init_process()

    def finish_request(self, conn: Any, fs: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        """As gthread, on the main thread, but for the close after an answer."""
        over = not fs.cancelled() and fs.exception() is None and fs.result() is False
        if not over:
            super().finish_request(conn, fs)
            return
        closing = self._closers.submit(conn.close, graceful=True)
        closing.add_done_callback(lambda done: self.method_queue.defer(self._closed, conn, done))

    def _closed(self, conn: Any, done: "Future[None]") -> None:  # noqa: ANN401 - gunicorn is untyped
        self.nr_conns -= 1
        if done.exception() is not None:
            conn.close()


class ReloadWorker(LingeringCloseWorker):
    """Reads the file again at SIGHUP, on a thread of its own."""

    app: Any

    def init_signals(self) -> None:
        """As gunicorn's, and SIGHUP."""
        super().init_signals()
        signal.signal(signal.SIGHUP, self._on_hup)

    def _on_hup(self, *_: object) -> None:
        threading.Thread(target=self._follow, name="reload").start()

    def _follow(self) -> None:
        door = self.app.wsgi().extensions["vfolder.door"]
        try:
            settings, waits = reload(door.settings)
        except ConfigurationError as error:
            _log.warning("configuration not taken over", reason=error.detail)
            return
        logs.set_level(settings.logging.get("level", logs.DEFAULT_LEVEL))
        door.follow(settings)
        _log.warning("configuration taken over", volumes=list(settings.volume), waits=waits)


#: What gunicorn reads of an unread body before it gives the connection up (27.x, in bytes).
DRAINED_BYTES = 64 * 1024

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def says_close(application: Application) -> Application:
    """The application, with answers that are true about their connection."""

    def answering(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401 - WSGI
        reader = getattr(environ["wsgi.input"], "reader", None)
        if not _unread(reader):
            return application(environ, start_response)

        def start(*told: Any) -> Any:  # noqa: ANN401 - WSGI
            if _unread(reader):
                start_response.__self__.force_close()
            return start_response(*told)

        return application(environ, start)

    return answering


def _unread(reader: Any) -> bool:  # noqa: ANN401 - gunicorn is untyped
    """Whether more is left of a body than gunicorn will read."""
    left = getattr(reader, "length", None)
    if left is not None:
        return bool(left > DRAINED_BYTES)
    return getattr(reader, "parser", None) is not None  # chunks: nobody knows how many


#: The status that gunicorn answers when it cannot read a request; 400 for all other reasons (27.x).
REFUSED_STATUS: dict[type[BaseException], int] = {
    errors.LimitRequestLine: 414,
    errors.ExpectationFailed: 417,
    errors.LimitRequestHeaders: 431,
    errors.UnsupportedTransferCoding: 501,
}
#: How long a thread waits for the next request on its connection, in milliseconds.
LINGER_MS = 2
#: Then the connection is given back even so: others wait for a thread, too.
REQUESTS_IN_A_ROW = 100


class DoorWorker(ReloadWorker):
    """See the module."""

    wsgi: Any

    def load_wsgi(self) -> None:
        """Put between gunicorn and the application what tells of unread bodies."""
        super().load_wsgi()
        self.wsgi = says_close(self.wsgi)
        self._settled = settled(self.cfg)

    def handle(self, conn: Any) -> Any:  # noqa: ANN401 - gunicorn is untyped
        """Serve a connection until it is silent, closed, or had its share."""
        if conn.parser is None and not self.cfg.is_ssl:
            conn.parser = DoorParser(self._settled, conn.sock, conn.client)
        for _ in range(REQUESTS_IN_A_ROW):
            kept = super().handle(conn)
            if kept is not True or not self.alive or not self._asks_again(conn):
                return kept
        return kept

    def _asks_again(self, conn: Any) -> bool:  # noqa: ANN401 - gunicorn is untyped
        if conn.is_http2 or conn.parser.unreader.buf.getvalue():
            return False  # the base class knows what to do with bytes read ahead
        poller = select.poll()
        poller.register(conn.sock, select.POLLIN)
        return bool(poller.poll(LINGER_MS))

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:  # noqa: ANN401 - gunicorn is untyped
        """Answer what is no HTTP request as gunicorn does, and count it: no app sees it."""
        super().handle_error(req, client, addr, exc)
        if req is None:
            metrics.count_refused(self.app.wsgi(), REFUSED_STATUS.get(type(exc), 400))

    def handle_request(self, req: Any, conn: Any) -> bool:  # noqa: ANN401 - gunicorn is untyped
        """Answer one request: as gthread, without hooks and an access log, which no door has."""
        resp, environ = wsgi.create(
            req, conn.sock, conn.client, conn.server, self._settled, response_class=DoorResponse
        )
        environ["wsgi.multithread"] = True
        if not self.alive or len(self.keepalived_conns) >= self.max_keepalived:
            resp.force_close()
        try:
            self._answer(resp, self.wsgi(environ, resp.start_response))
        except OSError:
            raise
        except (Exception, SystemExit):
            if not resp.headers_sent:
                raise
            self.log.exception("Error handling request")
            close_graceful(conn.sock)  # a second answer behind half of the first would be a lie
            raise StopIteration from None  # what `handle` takes for the end of the connection
        return not resp.should_close()

    @staticmethod
    def _answer(resp: Any, body: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        try:
            if isinstance(body, wsgi.FileWrapper):
                resp.write_file(body)
            else:
                for piece in body:
                    resp.write(piece)
            resp.close()
        finally:
            if hasattr(body, "close"):
                body.close()
