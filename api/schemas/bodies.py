"""JSON request bodies: read on every method, whatever the content type says (docs/wire.md)."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NoReturn, Self

import marshmallow as ma
from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from api.http import this_request
from core.errors import InvalidParameters, MalformedRequest

#: Largest JSON body of a route that says nothing else; above is 413.
BODY_MAX_BYTES = 1024 * 1024
#: More errors than this in one body are counted, not told.
ERRORS_MAX = 100
#: Longer field names (they come from strangers) are cut in answers.
_NAME_SHOWN_MAX = 200


class InvalidBody(InvalidParameters):
    """The body does not fit; `errors` names each field, `data` has the same as clients read it."""

    error_code = "vfolder_request_invalid-parameters"

    @classmethod
    def of(cls, messages: Any) -> Self:  # noqa: ANN401 - marshmallow's tree of texts
        """The refusal that tells these messages, the first of them in its sentence."""
        found = list(_flat(messages, ""))
        told = [{"pointer": pointer, "detail": text} for pointer, text in found[:ERRORS_MAX]]
        facts: dict[str, Any] = {"errors": told, "data": _tree(told)}
        if len(found) > ERRORS_MAX:
            facts["errors_omitted"] = len(found) - ERRORS_MAX
        first = told[0]
        return cls(f"{first['pointer']}: {first['detail']}", **facts)


class InvalidDocument(InvalidBody):
    """As `InvalidBody`, in the words of the routes that came later on the wire."""

    error_code = "api_parsing_invalid-parameters"
    kind = "generic-bad-request"


class Body(ma.Schema):
    """A request body that becomes a typed value; unknown keys are refused."""

    makes: ClassVar[type]
    #: How the route refuses what does not fit.
    refusal: ClassVar[type[InvalidBody]] = InvalidBody

    @ma.post_load
    def _make(self, data: Mapping[str, Any], **_: Any) -> Any:  # noqa: ANN401 - marshmallow's hook
        return self.makes(**data)


def load(schema: Body, max_bytes: int | None = None) -> Any:  # noqa: ANN401 - what the schema makes
    """The body of the request as what the schema makes of it.

    Raises:
        InvalidBody: it does not fit.
        RequestEntityTooLarge: it has more than `max_bytes` (or the door's limit).
    """
    try:
        return schema.load(json_object(max_bytes))
    except ma.ValidationError as error:
        raise schema.refusal.of(error.messages) from None


def no_body() -> None:
    """Refuse a body on a route without parameters.

    Raises:
        MalformedRequest: there is one.
    """
    # Without a length and without chunks there is none (RFC 9112 §6.3): nothing to read.
    environ = this_request().environ
    length = environ.get("CONTENT_LENGTH", "").lstrip("0")  # gunicorn takes digits only
    if length or ("HTTP_TRANSFER_ENCODING" in environ and _read(1)):
        raise MalformedRequest("This route takes no body.")


def json_object(max_bytes: int | None = None) -> dict[str, Any]:
    """The JSON object of the body; an absent body is an empty object.

    Raises:
        InvalidBody: not JSON, or not an object.
    """
    data = _read(max_bytes or BODY_MAX_BYTES)
    if not data.strip():
        return {}
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # ValueError: syntax, encoding, or a number too long
        raise _invalid("The body is not JSON.") from None
    if not isinstance(value, dict):
        raise _invalid("The body is JSON, but not an object.")
    return value


def _read(max_bytes: int) -> bytes:
    """The whole body, also one that comes in chunks without a length."""
    request.max_content_length = max_bytes + 1  # a longer one would silently be cut there
    data = request.get_data(cache=False)
    if len(data) > max_bytes:
        raise RequestEntityTooLarge
    return data


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def misfit(pointer: str, detail: str) -> InvalidBody:
    """One field is wrong in a way that only the view can see."""
    told = [{"pointer": pointer, "detail": detail}]
    return InvalidBody(detail, errors=told, data=_tree(told))


def _invalid(detail: str) -> InvalidBody:
    return InvalidBody(detail, data=detail, errors=[{"pointer": "", "detail": detail}])


def _flat(messages: Any, pointer: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - as above
    if isinstance(messages, dict):
        for name, below in messages.items():
            yield from _flat(below, f"{pointer}/{_escaped(name)}")
    elif isinstance(messages, list):
        yield pointer, " ".join(str(text) for text in messages)
    else:
        yield pointer, str(messages)


def _escaped(name: str | int) -> str:
    return str(name)[:_NAME_SHOWN_MAX].replace("~", "~0").replace("/", "~1")


def _tree(told: list[dict[str, str]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for entry in told:
        *above, name = entry["pointer"].removeprefix("/").split("/")
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        place[name] = entry["detail"]
    return tree
