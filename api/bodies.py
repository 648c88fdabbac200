"""JSON request bodies: read on every method, whatever the content type says (docs/wire.md)."""

import json
from typing import Any, NoReturn

from flask import request

from core.errors import InvalidParameters, MalformedRequest


def no_body() -> None:
    """Refuse a body on a route without parameters.

    Raises:
        MalformedRequest: there is one.
    """
    if request.content_length or request.get_data():
        raise MalformedRequest("This route takes no body.")


def json_object() -> dict[str, Any]:
    """The JSON object of the body; an absent body is an empty object.

    Raises:
        InvalidParameters: not JSON, or not an object.
    """
    data = request.get_data()
    if not data.strip():
        return {}
    try:
        value = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # ValueError: syntax, encoding, or a number too long
        raise _invalid("The body is not JSON.") from None
    if not isinstance(value, dict):
        raise _invalid("The body is JSON, but not an object.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _invalid(detail: str) -> InvalidParameters:
    return InvalidParameters(detail, data=detail, errors=[{"pointer": "", "detail": detail}])
