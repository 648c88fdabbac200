"""The connection of a request whose thread hangs: another thread answers on it.

A system call on a hung storage holds its thread, and no signal or time-out ends it. The caller need
not wait for it: this thread's answer ends the connection, and whatever the hung thread sends later
meets a closed socket.
"""

import socket
import ssl
from contextvars import copy_context
from http import HTTPStatus
from typing import Any

from flask import current_app, has_request_context

from api.http import problems
from api.http.flask_app import this_request
from core.errors import StorageError
from core.telemetry import logger

#: Where gunicorn keeps the socket of a request.
_SOCKET = "gunicorn.socket"
#: Bytes of an unread body that are discarded at once.
_DISCARDED_BYTES = 1 << 20

_log = logger(__name__)


class Takeover:
    """What another thread needs to answer a request; nothing of it is used while all is well."""

    def __init__(self) -> None:
        #: It has the application and the request, as Flask keeps them.
        self._context = copy_context()
        self._sock: Any = None

    def answer(self, error: StorageError) -> bool:
        """Send the problem document and half-close the connection; false when that failed."""
        return self._context.run(self._answer, error)

    def _answer(self, error: StorageError) -> bool:
        if not has_request_context():
            return False
        request = this_request()
        self._sock = request.environ.get(_SOCKET)
        if self._sock is None:
            return False
        response = current_app.process_response(problems.respond(error))
        body = b"" if request.method == "HEAD" else response.get_data()
        status = HTTPStatus(response.status_code)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in response.get_wsgi_headers(request.environ)]
        try:
            self._sock.settimeout(0)
            self._sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as failure:  # the caller left before
            _log.info("caller is gone", reason=str(failure))
            return False
        return True

    def has_read(self) -> bool:
        """Return whether the caller closed its side; discard what it still sends.

        A socket that is closed with unread bytes resets the connection, and the caller may lose
        the answer.
        """
        try:
            return not self._sock.recv(_DISCARDED_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            return True

    def close(self) -> None:
        """End both ways of the connection; gunicorn closes the socket when its thread returns."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # the caller was first
            return
