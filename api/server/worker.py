"""gunicorn's threaded worker, staying a moment with a connection that keeps asking.

gunicorn hands a kept-alive connection back to its main thread after every answer, and the next
request on it goes through a pipe, a selector and two thread switches before it is read. A caller
that keeps asking (the manager does) has its next request here within a millisecond or two: this
worker waits that long in the same thread, and only then gives the connection back.
"""

import select
from typing import Any

from gunicorn.http import wsgi
from gunicorn.util import close_graceful

from api.server.connection import DoorParser, DoorResponse, settled
from api.server.connection_close import says_close
from api.server.reload import ReloadWorker

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
