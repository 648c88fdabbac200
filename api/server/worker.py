"""The doors' gunicorn worker: gthread, with nine changes.

* Heads without a thread. The main thread reads heads (`api.server.heads`); a connection gets a
  thread when its head is complete. Slow heads, silent connections and too many connections of one
  address are closed.
* Threads by kind. Probes, requests whose body is still to come, and all others have threads of
  their own. So callers that never finish a body hold up other uploads, and nothing else.
* Keep asking. gunicorn gives a kept-alive connection back to its main thread after every answer,
  and the next request passes a pipe, a selector and two thread switches before it is read. A caller
  that keeps asking (the manager) sends its next request within a millisecond or two: this worker
  waits that long in the same thread, and only then gives the connection back.
* Lingering close. A connection to be closed is half-closed, then read until the other side closes
  too, for two seconds at most (RFC 9112 §9.6). gunicorn waits for that on the thread that accepts
  and dispatches: one caller that asks for `Connection: close` and stays would delay all others.
  Here the connection waits in the poller. A small rest of an unread body is skipped there, too.
* `Connection: close` before an unread body. A request may be answered before its body was read: too
  large, a wrong secret, a wrong offset. gunicorn then reads a little of the rest and closes the
  connection, after an answer that still said keep-alive: the caller's next request would be lost.
  Whether the connection will be closed is known when the answer begins, so the answer says it.
* Event streams without a thread. One thread of the process writes them all
  (`api.server.event_writer`), so the door serves thousands beside other requests.
* Reload. At SIGHUP each process reads the configuration again and takes over what may change
  (`core.settings.reload`) while its requests go on. A wrong file changes nothing and is logged.
* An end that callers see. A process that ends closes its listeners: connections are refused.
* Refusals. What is no request is answered as every other error (`api.http.problems`).
"""

import errno
import resource
import select
import selectors
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from gunicorn.http import errors, wsgi
from gunicorn.util import close_graceful
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from api.server import refusing
from api.server.connection import DoorResponse, open_socket_body, plain_settings
from api.server.event_writer import EventResponse, EventWriter
from api.server.heads import (
    LINGER_BYTES,
    LINGER_SECONDS,
    Certificate,
    DoorConnection,
    RequestKind,
    SlowHead,
    Wait,
    Waiting,
)
from api.streaming import EventStream
from core.errors import ConfigurationError
from core.settings import reload
from core.telemetry import logs

#: How long a thread waits for the next request on its connection, in milliseconds.
LINGER_MS = 2
#: After so many requests in a row the thread gives the connection back: others wait for a thread.
REQUESTS_IN_A_ROW = 100
#: Threads for probes and scrapes. A scrape may wait for a store that does not answer.
PROBE_THREADS = 4
#: A larger rest of an unread body (bytes) ends the connection.
SKIPPED_BYTES = 64 * 1024
#: Descriptors of a process that no connection uses; and how many a connection may need: its socket,
#: and an open file with its directory.
OWN_DESCRIPTORS = 200
DESCRIPTORS_PER_CONNECTION = 3
#: accept(2) failed because of these: a connection less may help.
_NO_SPACE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: One read (bytes) of what a closing connection still sends.
_DISCARDED_BYTES = 64 * 1024
#: Pause (seconds) when no connection can be closed for another one.
_FULL_SECONDS = 0.01
#: How soon a thread that waits for the interpreter gets it from one that computes (seconds). With
#: CPython's 5 ms the main thread loses seconds when hundreds of requests come at once; with 1 ms a
#: request beside 15 others is interrupted half as often again.
SWITCH_SECONDS = 0.002
#: The key of the WSGI environment with `open_socket_body`, for routes that receive large bodies.
SOCKET_BODY = "vfolder.socket_body"

_log = logs.logger(__name__)


class _StartedEvents(NamedTuple):
    """An event stream whose head was sent, and whether it goes in chunks."""

    body: EventStream
    framed: bool


class DoorWorker(ThreadWorker):
    """The worker of each door; the module says what it changes."""

    wsgi: Any
    app: Any
    poller: selectors.BaseSelector
    nr_conns: int
    worker_connections: int
    tpool: Executor

    def init_process(self) -> None:
        """Make what the worker needs, after the fork, with as many descriptors as it may have."""
        sys.setswitchinterval(SWITCH_SECONDS)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        affordable = (most - OWN_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION
        self.worker_connections = max(1, min(self.worker_connections, affordable))
        doors = self.app.settings.vfolder.doors
        self._head_seconds = doors.head_seconds
        self._body_seconds = doors.body_seconds
        self._waiting = Waiting(doors.waiting_per_address)
        self._plain_settings = plain_settings(self.cfg)
        self._certificate = Certificate(self.cfg) if self.cfg.is_ssl else None
        self._local = threading.local()
        self._events = EventWriter(self._events_finished)
        self._pools = {
            RequestKind.PROBE: ThreadPoolExecutor(PROBE_THREADS, "probe"),
            RequestKind.BODY: ThreadPoolExecutor(self.cfg.threads, "body"),
        }
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
        logs.set_level(settings.log_level)
        door.follow(settings)
        _log.warning("configuration taken over", volumes=list(settings.volume), waits=need_restart)

    # -- On the main thread: connections that no thread serves ------------------------------------

    def accept(self, listener: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        """Accept a connection and read its head; it may already be there."""
        self._accept_one(listener)

    def _accept_one(self, listener: Any) -> bool:  # noqa: ANN401 - gunicorn is untyped
        """Return whether a connection was there."""
        try:
            sock, client = listener.accept()
        except OSError as error:
            self._not_accepted(error)
            return False
        self._begin(sock, client, listener)
        return True

    def _begin(self, sock: socket.socket, client: Any, listener: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        try:
            sock.setblocking(False)  # noqa: FBT003 - the socket's own
            sock = self._certificate.wrap(sock) if self._certificate else sock
        except OSError as error:
            _log.debug("connection not accepted", reason=str(error))
            sock.close()
            return
        self.nr_conns += 1
        conn = DoorConnection(self._plain_settings, sock, client, listener.getsockname())
        self._wait_for(conn, Wait.HEAD, self._head_seconds)
        if conn in self._waiting:
            self._read_head(conn)
        if self.nr_conns >= self.worker_connections and (oldest := self._waiting.oldest(conn)):
            self._drop(oldest)

    def _not_accepted(self, error: OSError) -> None:
        if error.errno in _NO_SPACE:
            _log.warning("connection not accepted", reason=str(error))
            if (oldest := self._waiting.oldest()) is not None:
                self._drop(oldest)
            else:
                time.sleep(_FULL_SECONDS)
        elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
            raise error

    def _wait_for(self, conn: DoorConnection, wait: Wait, seconds: float) -> None:
        """Let the poller watch a connection until it is readable, or `seconds` have passed."""
        if not self.alive:
            seconds = min(seconds, STOP_KEEPALIVE_LINGER)
        conn.sock.setblocking(False)  # noqa: FBT003 - the socket's own
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn))
        if (surplus := self._waiting.add(conn, wait, seconds)) is not None:
            self._drop(surplus)

    def _on_readable(self, conn: DoorConnection, _sock: object) -> None:
        if conn not in self._waiting:  # it was dropped since the poller returned
            return
        if conn.wait is Wait.CLOSING:
            self._discard(conn)
        else:
            self._read_head(conn)

    def _read_head(self, conn: DoorConnection) -> None:
        """Read what came; pass the connection to a thread when the request can be parsed."""
        try:
            if not conn.receive():
                if conn.wait is Wait.IDLE and conn.received:  # its next head has begun
                    self._stop_waiting(conn)
                    self._wait_for(conn, Wait.HEAD, self._head_seconds)
                return
        except (errors.ParseException, errors.NoMoreData) as error:
            self._refuse(conn, error)
        except ssl.SSLError as error:
            self._end_tls(conn, error)
        except (OSError, EOFError) as error:
            _log.debug("connection ended", reason=str(error))
            self._drop(conn)
        else:
            self._stop_waiting(conn)
            self.enqueue_req(conn)

    def _end_tls(self, conn: DoorConnection, error: ssl.SSLError) -> None:
        """Close a connection whose TLS failed; plain HTTP gets a plain answer."""
        if error.reason != "HTTP_REQUEST":
            _log.debug("connection ended", reason=str(error))
            self._drop(conn)
            return
        conn.sock = socket.socket(fileno=conn.sock.detach())
        self._refuse(conn, error)

    def _stop_waiting(self, conn: DoorConnection) -> None:
        self._waiting.remove(conn)
        self.poller.unregister(conn.sock)

    def _drop(self, conn: DoorConnection) -> None:
        """Close a waiting connection at once."""
        self._stop_waiting(conn)
        self.nr_conns -= 1
        conn.close()

    def _refuse(self, conn: DoorConnection, error: Exception) -> None:
        """Answer a waiting connection on a thread, then close it."""
        self._stop_waiting(conn)
        self._submit(self._pools[RequestKind.PROBE], self._answer_refusal, conn, error)

    def _answer_refusal(self, conn: DoorConnection, error: Exception) -> bool:
        self._local.head = bytes(conn.received)
        self.handle_error(None, conn.sock, conn.client, error)
        return False

    def enqueue_req(self, conn: DoorConnection) -> None:
        """Serve the received request on a thread for such requests."""
        conn.kind = conn.next_kind()
        self._submit(self._pools.get(conn.kind, self.tpool), self.handle, conn)

    def _submit(
        self, pool: Executor, work: Callable[..., Any], conn: DoorConnection, *more: object
    ) -> None:
        future = pool.submit(work, conn, *more)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def finish_request(self, conn: DoorConnection, fs: "Future[Any]") -> None:
        """Wait for the next request of a connection, or close it; pass on an event stream."""
        try:
            result = fs.result()
            if isinstance(result, EventResponse):
                self._events.add(result)
            elif result:
                self._wait_for_next(conn)
            else:
                self._close(conn)
        except Exception:  # noqa: BLE001 - a defect in one connection must not end all others
            _log.exception("connection failed")
            if conn in self._waiting:
                self._stop_waiting(conn)
            self.nr_conns -= 1
            conn.close()

    def _events_finished(self, response: EventResponse) -> None:
        """Run on the thread of the event streams: keep or close the connection."""
        future: Future[bool] = Future()
        future.set_result(response.keepalive)
        self.method_queue.defer(self.finish_request, response.conn, future)

    def _wait_for_next(self, conn: DoorConnection) -> None:
        conn.take_back()
        begun = bool(conn.received or conn.skip)
        if begun:
            self._wait_for(conn, Wait.HEAD, self._head_seconds)
        else:
            self._wait_for(conn, Wait.IDLE, self.cfg.keepalive)
        if (begun or self._certificate) and conn in self._waiting:
            self._on_readable(conn, None)  # what was read ahead makes no socket readable

    def _close(self, conn: DoorConnection) -> None:
        """Half-close a connection, and close it when the caller has read its answer."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # the caller was first
            self.nr_conns -= 1
            conn.close()
            return
        conn.skip = LINGER_BYTES
        self._wait_for(conn, Wait.CLOSING, LINGER_SECONDS)

    def _discard(self, conn: DoorConnection) -> None:
        try:
            received = len(conn.sock.recv(_DISCARDED_BYTES))
        except BlockingIOError:
            return
        except OSError:
            received = 0
        conn.skip -= received
        if not received or conn.skip <= 0:
            self._drop(conn)

    def murder_pending(self) -> None:
        """Close the connections whose time has passed; one with half a head gets an answer."""
        for conn in self._waiting.overdue():
            if conn.wait is Wait.HEAD and conn.received:
                self._refuse(conn, SlowHead())
            else:
                self._drop(conn)

    def murder_keepalived(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 - gunicorn's
        """With `force`, close every connection that waits: the worker ends."""
        for conn in self._waiting if force else ():
            self._drop(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Run when the worker begins to end: nothing that waits keeps it from that.

        Callers that have connected are answered. Later ones are refused at once (connect(2),
        ECONNREFUSED) and can go to another node; gunicorn's open listener would let them wait.
        """
        for listener in self.sockets:
            for _ in range(self.cfg.backlog):
                if not self._accept_one(listener):
                    break
            listener.close()
        self._waiting.cap(deadline)
        self._events.stop()

    # -- On the threads ---------------------------------------------------------------------------

    def handle(self, conn: DoorConnection) -> Any:  # noqa: ANN401 - gunicorn is untyped
        """Serve a connection until it is silent, closed, or had its share of the thread."""
        for _ in range(REQUESTS_IN_A_ROW):
            logs.begin()  # a line about what cannot be parsed has nothing of an earlier request
            self._local.head = conn.pass_on()
            self._local.events = None
            kept = super().handle(conn)
            if self._local.events is not None:  # its head was not sent
                self._local.events.body.close()
            if kept is not True or not self.alive or not self._asks_again(conn):
                return kept
        return kept

    def _asks_again(self, conn: DoorConnection) -> bool:
        """Return whether the next request is here within 2 ms, and this thread may serve it."""
        conn.take_back()
        if conn.received or conn.skip:
            return False
        poller = select.poll()
        poller.register(conn.sock, select.POLLIN)
        if not poller.poll(LINGER_MS):
            return False
        if self._certificate is not None:
            conn.sock.setblocking(False)  # noqa: FBT003 - the socket's own
        try:
            if not conn.receive():
                return False
        except (errors.ParseException, OSError, EOFError):
            return False  # the main thread meets it again
        return conn.kind in (conn.next_kind(), RequestKind.BODY)

    def handle_request(self, req: Any, conn: Any) -> bool:  # noqa: ANN401 - gunicorn is untyped
        """Answer one request: as gthread, without the hooks and the access log of gunicorn."""
        # `wsgi.create` would ask for the body before the route has looked at the request.
        unreader = conn.parser.unreader
        unreader.continue_owed, req._expected_100_continue = req._expected_100_continue, False  # noqa: SLF001 - no public name
        unreader.deadline = time.monotonic() + self._body_seconds
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
        if not self.alive:
            resp.force_close()
        try:
            self._answer(resp, self.wsgi(environ, _start_response(resp, req, unreader)))
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
        if isinstance(body, EventStream):
            self._send_head_of_events(resp, body)
            return
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

    def _send_head_of_events(self, resp: Any, body: EventStream) -> None:  # noqa: ANN401 - gunicorn is untyped
        """Send the head alone, and keep the body for the thread of the event streams."""
        self._local.events = _StartedEvents(body, framed=resp.chunked)
        resp.send_headers()

    def _keepalive_after(self, conn: DoorConnection, keepalive: Any) -> bool | EventResponse:  # noqa: ANN401 - gunicorn is untyped
        """Return whether the connection serves another request; an unread body is skipped.

        Of an event stream return what is still to be sent.
        """
        kept = bool(keepalive) and conn.leave_body()
        events = self._local.events
        if events is None:
            return kept
        response = EventResponse(conn, events.body, framed=events.framed, keepalive=kept)
        self._local.events = None
        return response

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:  # noqa: ANN401 - gunicorn is untyped
        """Answer what is no HTTP request, and a defect, as a problem document."""
        known = refusing.refusal_of(exc)
        if known.status == refusing.DEFECT.status:
            _log.error(
                "request failed unexpectedly", method=getattr(req, "method", ""), exc_info=exc
            )
        answer = refusing.answer(self.app.wsgi(), known, self._local.head, type(exc).__name__)
        try:
            client.settimeout(refusing.SEND_SECONDS)
            client.sendall(answer)
        except OSError as error:
            _log.debug("refusal not sent", address=addr[0] if addr else "", reason=str(error))


def _start_response(resp: Any, req: Any, unreader: Any) -> Callable[..., Any]:  # noqa: ANN401 - gunicorn is untyped
    """Return gunicorn's `start_response`; one that says close where the connection will close."""
    start: Callable[..., Any] = resp.start_response
    reader = req.body.reader
    if getattr(reader, "length", None) == 0:
        return start

    def start_and_close(*head: Any) -> Any:  # noqa: ANN401 - WSGI
        if req.body.failed or _will_close(reader, unreader):
            resp.force_close()
        unreader.continue_owed = False
        unreader.sock.settimeout(None)
        return start(*head)

    return start_and_close


def _will_close(reader: Any, unreader: Any) -> bool:  # noqa: ANN401 - gunicorn is untyped
    """Return whether more of a body is unread than is skipped; or it may come or not."""
    left = getattr(reader, "length", None)
    if left is None:
        return bool(reader.parser)  # chunks: their number is unknown
    return bool(left > SKIPPED_BYTES or (left > 0 and unreader.continue_owed))
