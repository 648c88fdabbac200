r"""JSON out: orjson, which is fast, and the standard library for names that are not UTF-8.

Such a name is a str with lone surrogates (PEP 383); it travels as `\udcXX` escapes, so a client
that decodes the JSON and encodes the name back with `surrogateescape` has the very bytes again.
"""

import json
from datetime import datetime
from typing import Any

import orjson
from flask import Response

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


def answer(value: Any, status: int = 200) -> Response:  # noqa: ANN401 - any JSON value
    """A JSON response."""
    return Response(dumps(value), status, content_type=CONTENT_TYPE)


def no_content() -> Response:
    """204: done, and nothing to say."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response
