"""gunicorn's threaded worker, staying a moment with a connection that keeps asking.

gunicorn hands a kept-alive connection back to its main thread after every answer, and the next
request on it goes through a pipe, a selector and two thread switches before it is read. A caller
that keeps asking (the manager does) has its next request here within a millisecond or two: this
worker waits that long in the same thread, and only then gives the connection back.
"""

import select
from typing import Any

from api.closing import says_close
from api.following import FollowingWorker

#: How long a thread waits for the next request on its connection, in milliseconds.
LINGER_MS = 2
#: Then the connection is given back even so: others wait for a thread, too.
REQUESTS_IN_A_ROW = 100


class DoorWorker(FollowingWorker):
    """See the module."""

    wsgi: Any

    def load_wsgi(self) -> None:
        """Put between gunicorn and the application what tells of unread bodies."""
        super().load_wsgi()
        self.wsgi = says_close(self.wsgi)

    def handle(self, conn: Any) -> Any:  # noqa: ANN401 - gunicorn is untyped
        """Serve a connection until it is silent, closed, or had its share."""
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
