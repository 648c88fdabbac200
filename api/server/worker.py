"""The doors' gunicorn worker: gthread, with five changes.

* Keep asking. gunicorn gives a kept-alive connection back to its main thread after every answer,
  and the next request passes a pipe, a selector and two thread switches before it is read. A caller
  that keeps asking (the manager) sends its next request within a millisecond or two: this worker
  waits that long in the same thread, and only then gives the connection back.
* Lingering close. A connection to be closed is half-closed, then read until the other side closes
  too, for two seconds at most (RFC 9112 §9.6). gunicorn does that on the thread that accepts and
  dispatches: one caller that asks for `Connection: close` and stays would delay all others. Here a
  few threads of their own do it.
* `Connection: close` before an unread body. A request may be answered before its body was read: too
  large, a wrong secret, a wrong offset. gunicorn then reads a little of the rest and closes the
  connection, after an answer that still said keep-alive: the caller's next request would be lost.
  Whether gunicorn will close is known when the answer begins, so the answer says it.
* Reload. At SIGHUP each process reads the configuration again and takes over what may change
  (`core.settings.reload`) while its requests go on. A wrong file changes nothing and is logged.
* Counting. The application never sees a request that gunicorn cannot read; it is counted here.
"""

import select
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from gunicorn.http import errors, wsgi
from gunicorn.util import close_graceful
from gunicorn.workers.gthread import ThreadWorker

from api.http import metrics
from api.server.connection import DoorParser, DoorResponse, open_socket_body, plain_settings
from core.errors import ConfigurationError
from core.settings import reload
from core.telemetry import logs

#: How long a thread waits for the next request on its connection, in milliseconds.
LINGER_MS = 2
#: After so many requests in a row the thread gives the connection back: others wait for a thread.
REQUESTS_IN_A_ROW = 100
#: Threads that close connections. They only wait, for each other too when many callers never close.
CLOSERS = 8
#: gunicorn reads this much of an unread body before it closes the connection (27.x, in bytes).
DRAINED_BYTES = 64 * 1024
#: The status with which gunicorn answers a request that it cannot read; 400 in all other cases
#: (27.x).
REFUSED_STATUS: dict[type[BaseException], int] = {
    errors.LimitRequestLine: 414,
    errors.ExpectationFailed: 417,
    errors.LimitRequestHeaders: 431,
    errors.UnsupportedTransferCoding: 501,
}
#: The key of the WSGI environment with `open_socket_body`, for routes that receive large bodies.
SOCKET_BODY = "vfolder.socket_body"

_log = logs.logger(__name__)


class DoorWorker(ThreadWorker):
    """The worker of each door; the module says what it changes."""

    wsgi: Any
    app: Any
    nr_conns: int

    def init_process(self) -> None:
        """Make what the worker needs, after the fork; the closing threads start on first use."""
        self._closers = ThreadPoolExecutor(CLOSERS, thread_name_prefix="closer")
        self._plain_settings = plain_settings(self.cfg)
        super().init_process()

    def init_signals(self) -> None:
        """Install gunicorn's signal handlers, and ours for SIGHUP."""
        super().init_signals()
        signal.signal(signal.SIGHUP, self._on_hup)

    def _on_hup(self, *_: object) -> None:
        threading.Thread(target=self._reload, name="reload").start()

    def _reload(self) -> None:
        door = self.app.wsgi().extensions["vfolder.door"]
        try:
            settings, need_restart = reload(door.settings)
        except ConfigurationError as error:
            _log.warning("configuration not taken over", reason=error.detail)
            return
        logs.set_level(settings.logging.get("level", logs.DEFAULT_LEVEL))
        door.follow(settings)
        _log.warning("configuration taken over", volumes=list(settings.volume), waits=need_restart)

    def handle(self, conn: Any) -> Any:  # noqa: ANN401 - gunicorn is untyped
        """Serve a connection until it is silent, closed, or had its share of the thread."""
        if conn.parser is None and not self.cfg.is_ssl:
            conn.parser = DoorParser(self._plain_settings, conn.sock, conn.client)
        for _ in range(REQUESTS_IN_A_ROW):
            kept = super().handle(conn)
            if kept is not True or not self.alive or not self._asks_again(conn):
                return kept
        return kept

    def _asks_again(self, conn: Any) -> bool:  # noqa: ANN401 - gunicorn is untyped
        if conn.is_http2 or conn.parser.unreader.buf.getvalue():
            return False  # gunicorn's own code handles bytes that were read ahead
        poller = select.poll()
        poller.register(conn.sock, select.POLLIN)
        return bool(poller.poll(LINGER_MS))

    def handle_request(self, req: Any, conn: Any) -> bool:  # noqa: ANN401 - gunicorn is untyped
        """Answer one request: as gthread, without the hooks and the access log of gunicorn."""
        resp, environ = wsgi.create(
            req,
            conn.sock,
            conn.client,
            conn.server,
            self._plain_settings,
            response_class=DoorResponse,
        )
        environ["wsgi.multithread"] = True
        environ[SOCKET_BODY] = open_socket_body
        if not self.alive or len(self.keepalived_conns) >= self.max_keepalived:
            resp.force_close()
        try:
            self._answer(resp, self.wsgi(environ, _start_response(resp, req)))
        except OSError:
            raise
        except (Exception, SystemExit):
            if not resp.headers_sent:
                raise
            self.log.exception("Error handling request")
            close_graceful(conn.sock)  # a second answer after half of the first would be wrong
            raise StopIteration from None  # `handle` takes it for the end of the connection
        return not resp.should_close()

    def _answer(self, resp: Any, body: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
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

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:  # noqa: ANN401 - gunicorn is untyped
        """Answer as gunicorn does what is no HTTP request, and count it."""
        super().handle_error(req, client, addr, exc)
        if req is None:
            metrics.count_refused(self.app.wsgi(), REFUSED_STATUS.get(type(exc), 400))

    def finish_request(self, conn: Any, fs: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        """On the main thread: keep a connection as gthread does; close it on another thread."""
        closes = not fs.cancelled() and fs.exception() is None and fs.result() is False
        if not closes:
            super().finish_request(conn, fs)
            return
        closing = self._closers.submit(conn.close, graceful=True)
        closing.add_done_callback(lambda done: self.method_queue.defer(self._closed, conn, done))

    def _closed(self, conn: Any, done: "Future[None]") -> None:  # noqa: ANN401 - gunicorn is untyped
        self.nr_conns -= 1
        if done.exception() is not None:
            conn.close()


def _start_response(resp: Any, req: Any) -> Callable[..., Any]:  # noqa: ANN401 - gunicorn is untyped
    """Return gunicorn's `start_response`; one that says close where gunicorn will close."""
    start: Callable[..., Any] = resp.start_response
    if not _will_close(req.body.reader):
        return start

    def start_and_close(*head: Any) -> Any:  # noqa: ANN401 - WSGI
        if _will_close(req.body.reader):
            resp.force_close()
        return start(*head)

    return start_and_close


def _will_close(reader: Any) -> bool:  # noqa: ANN401 - gunicorn is untyped
    """Return whether more of a body is unread than gunicorn reads."""
    left = getattr(reader, "length", None)
    if left is not None:
        return bool(left > DRAINED_BYTES)
    return getattr(reader, "parser", None) is not None  # chunks: their number is unknown
