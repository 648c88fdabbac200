r"""JSON answers: by orjson, which is fast; by the standard library for names that are not UTF-8.

Such a name is a str with lone surrogates (PEP 383), sent as `\udcXX` escapes. A client that decodes
the JSON and encodes the name with `surrogateescape` gets the original bytes.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from http import HTTPStatus
from typing import Any, cast

import orjson
from flask import Response

CONTENT_TYPE = "application/json; charset=utf-8"


def dumps(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the value as JSON text."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), default=_moment).encode()


def _moment(value: object) -> str:
    """Return a moment as orjson writes it."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")


class _Body:
    """The pieces of a body, and what closes it: werkzeug's `ClosingIterator` costs more to make."""

    def __init__(self, pieces: Iterable[bytes], close: Callable[[], None]) -> None:
        self._pieces = pieces
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


class FinishedResponse(Response):
    """A complete response: werkzeug need not look for headers to add."""

    def get_wsgi_response(
        self, environ: dict[str, Any]
    ) -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        """Return the body, the status and the headers in the form of WSGI."""
        if self.status_code != HTTPStatus.OK:  # others may have a `Location` header or no body
            return super().get_wsgi_response(environ)
        content = cast("Iterable[bytes]", self.response)
        body = () if environ["REQUEST_METHOD"] == "HEAD" else content
        return _Body(body, self.close), self.status, self.headers.to_wsgi_list()


def ready(text: bytes, status: int = 200) -> Response:
    """Return a response with this JSON text."""
    return FinishedResponse(text, status, content_type=CONTENT_TYPE)


def answer(value: Any, status: int = 200) -> Response:  # noqa: ANN401 - any JSON value
    """Return a response with the value as JSON."""
    return ready(dumps(value), status)


def no_content() -> Response:
    """Return 204 without a body."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response
