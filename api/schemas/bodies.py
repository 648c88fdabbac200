"""JSON request bodies: read on every method, with any content type (docs/wire.md)."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NoReturn, Self

import marshmallow as ma
from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from api.http import this_request
from core.errors import InvalidParameters, MalformedRequest

#: Largest JSON body in bytes, unless the route sets its own limit; a larger one is answered 413.
BODY_MAX_BYTES = 1024 * 1024
#: An answer lists at most this many errors of a body; the others are only counted.
ERRORS_MAX = 100
#: Callers choose field names, so longer ones are cut in answers (characters).
_NAME_SHOWN_MAX = 200


class InvalidBody(InvalidParameters):
    """The body is invalid; `errors` names each field, `data` is the same in the clients' form."""

    error_code = "vfolder_request_invalid-parameters"

    @classmethod
    def of(cls, messages: Any) -> Self:  # noqa: ANN401 - marshmallow's tree of texts
        """Return the error that lists these messages; its sentence has the first of them."""
        flat = list(_flat(messages, ""))
        listed = [{"pointer": pointer, "detail": text} for pointer, text in flat[:ERRORS_MAX]]
        facts: dict[str, Any] = {"errors": listed, "data": _tree(listed)}
        if len(flat) > ERRORS_MAX:
            facts["errors_omitted"] = len(flat) - ERRORS_MAX
        first = listed[0]
        return cls(f"{first['pointer']}: {first['detail']}", **facts)


class InvalidDocument(InvalidBody):
    """Like `InvalidBody`, with the error code of the routes that the wire added later."""

    error_code = "api_parsing_invalid-parameters"
    kind = "generic-bad-request"


class NotJson(InvalidBody):
    """The body is absent, or is not JSON."""


class UnreadableDocument(InvalidDocument):
    """Like `NotJson`, with the error code of the routes of storages and registries."""

    error_code = "api_parsing_bad-request"


class Body(ma.Schema):
    """A request body that is loaded as a typed value; unknown keys are refused."""

    makes: ClassVar[type]
    #: The error of an invalid body.
    refusal: ClassVar[type[InvalidBody]] = InvalidBody
    #: Whether an absent body is refused, too; else it is an empty object.
    needed: ClassVar[bool] = False

    @ma.post_load
    def _make(self, data: Mapping[str, Any], **_: Any) -> Any:  # noqa: ANN401 - marshmallow's hook
        return self.makes(**data)


class ArtifactBody(Body):
    """A body of the routes of storages and registries: unknown keys are ignored."""

    class Meta:
        """The manager sends more keys."""

        unknown = ma.EXCLUDE

    refusal = InvalidDocument
    needed = True


def load(schema: Body, max_bytes: int | None = None) -> Any:  # noqa: ANN401 - what the schema makes
    """Return the body of the request as the value that the schema makes.

    Raises:
        InvalidBody: the body does not match the schema.
        RequestEntityTooLarge: the body has more than `max_bytes` (or the limit of the door).
    """
    try:
        return schema.load(_document(schema, max_bytes))
    except ma.ValidationError as error:
        raise schema.refusal.of(error.messages) from None


def _document(schema: Body, max_bytes: int | None) -> dict[str, Any]:
    if not schema.needed:
        return json_object(max_bytes)
    try:
        return json_object(max_bytes, needed=True)
    except NotJson as error:
        raise UnreadableDocument(error.detail, **error.facts) from None
    except InvalidBody as error:
        raise schema.refusal(error.detail, **error.facts) from None


def no_body() -> None:
    """Check that a request to a route without parameters has no body.

    Raises:
        MalformedRequest: the request has a body.
    """
    # Without a length and without chunks there is no body (RFC 9112 §6.3).
    environ = this_request().environ
    length = environ.get("CONTENT_LENGTH", "").lstrip("0")  # gunicorn takes digits only
    if length or ("HTTP_TRANSFER_ENCODING" in environ and _read(1)):
        raise MalformedRequest("This route takes no body.")


def json_object(max_bytes: int | None = None, *, needed: bool = False) -> dict[str, Any]:
    """Return the JSON object of the body; an absent body is an empty object, unless one is needed.

    Raises:
        NotJson: the body is not JSON, or is absent and needed.
        InvalidBody: the body is not an object.
    """
    data = _read(max_bytes or BODY_MAX_BYTES)
    if not data.strip() and not needed:
        return {}
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # ValueError: syntax, encoding, or a number too long
        raise _invalid("The body is not JSON; send one JSON object.", NotJson) from None
    if not isinstance(value, dict):
        raise _invalid("The body is JSON, but not an object; send one JSON object.")
    return value


def _read(max_bytes: int) -> bytes:
    """Return the complete body, also one that comes in chunks without a length."""
    request.max_content_length = max_bytes + 1  # Flask would silently cut a longer one there
    data = request.get_data(cache=False)
    if len(data) > max_bytes:
        raise RequestEntityTooLarge
    return data


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def invalid_field(pointer: str, detail: str) -> InvalidBody:
    """Return the error for one field, when only the view can see that it is wrong."""
    errors = [{"pointer": pointer, "detail": detail}]
    return InvalidBody(detail, errors=errors, data=_tree(errors))


def _invalid(detail: str, kind: type[InvalidBody] = InvalidBody) -> InvalidBody:
    return kind(detail, data=detail, errors=[{"pointer": "", "detail": detail}])


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


def _tree(errors: list[dict[str, str]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for error in errors:
        *parents, name = error["pointer"].removeprefix("/").split("/")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[name] = error["detail"]
    return tree
