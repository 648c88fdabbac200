r"""JSON out: orjson, which is fast, and the standard library for names that are not UTF-8.

Such a name is a str with lone surrogates (PEP 383); it travels as `\udcXX` escapes, so a client
that decodes the JSON and encodes the name back with `surrogateescape` has the very bytes again.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Any, cast

import orjson
from flask import Response
from werkzeug.wsgi import ClosingIterator

CONTENT_TYPE = "application/json; charset=utf-8"


def dumps(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """The value as JSON text."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), default=_moment).encode()


def _moment(value: object) -> str:
    """What orjson makes of a moment."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")


class FinishedResponse(Response):
    """A response that is whole: what werkzeug completes of others is not looked for."""

    def get_wsgi_response(
        self, environ: dict[str, Any]
    ) -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        """The pieces, the status and the headers, as WSGI has them."""
        if self.status_code != HTTPStatus.OK:  # others may have a `Location`, or no body
            return super().get_wsgi_response(environ)
        whole = cast("Iterable[bytes]", self.response)
        body = () if environ["REQUEST_METHOD"] == "HEAD" else whole
        return ClosingIterator(body, self.close), self.status, self.headers.to_wsgi_list()


def ready(text: bytes, status: int = 200) -> Response:
    """A response of JSON text."""
    return FinishedResponse(text, status, content_type=CONTENT_TYPE)


def answer(value: Any, status: int = 200) -> Response:  # noqa: ANN401 - any JSON value
    """A JSON response."""
    return ready(dumps(value), status)


def no_content() -> Response:
    """204: done, and nothing to say."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response
