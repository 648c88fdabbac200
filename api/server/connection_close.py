"""Says `Connection: close` whenever gunicorn will close a connection because of an unread body.

A request may be answered before its body was read: too large, a wrong secret, a wrong offset.
gunicorn then reads a little of what is left and closes the connection, after an answer that still
said keep-alive: the caller's next request on it goes nowhere. Whether it will is known when the
answer begins, so it is said there (RFC 9112 §9.6).
"""

from collections.abc import Callable, Iterable
from typing import Any

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
