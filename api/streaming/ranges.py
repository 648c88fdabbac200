"""Which part of a representation a request gets (RFC 9110 §13.2.2 and §14): one pure function.

The order is: If-Match, else If-Unmodified-Since; If-None-Match, else If-Modified-Since; then Range
with If-Range. One satisfiable range is served. Several ranges, an unknown unit and a malformed
Range are ignored, as the RFC allows. A range outside of the file is refused.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus

from flask import request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import PreconditionFailed as PreconditionFailedError
from werkzeug.exceptions import RequestedRangeNotSatisfiable

_HTTP_DATES = (
    "%a, %d %b %Y %H:%M:%S GMT",  # IMF-fixdate
    "%A, %d-%b-%y %H:%M:%S GMT",  # RFC 850
    "%a %b %d %H:%M:%S %Y",  # asctime
)
_ENTITY_TAG = re.compile(r'(?P<weak>W/)?(?P<tag>"[\x21\x23-\x7e\x80-\xff]*")')
_RANGE_SPEC = re.compile(r"(?P<first>\d*)-(?P<last>\d*)", re.ASCII)
#: No file is larger; longer numbers are not converted (Python cannot convert all of them).
_DIGITS_MAX = 19


@dataclass(frozen=True, slots=True)
class Representation:
    """What could be sent: its validators and its size; without a size it has no ranges."""

    size: int | None
    etag: str | None = None
    #: Whole seconds since the epoch.
    modified: int | None = None


@dataclass(frozen=True, slots=True)
class RequestedRanges:
    """The method and the conditional headers of a request, as they came."""

    method: str = "GET"
    range: str | None = None
    if_range: str | None = None
    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    if_unmodified_since: str | None = None


@dataclass(frozen=True, slots=True)
class Complete:
    """200: everything."""


@dataclass(frozen=True, slots=True)
class PartialContent:
    """206: `length` bytes from `start`."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class NotModified:
    """304: the client has it."""


@dataclass(frozen=True, slots=True)
class PreconditionFailed:
    """412: it is not what the client expects."""


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """416: the range lies outside."""


Choice = Complete | PartialContent | NotModified | PreconditionFailed | Unsatisfiable


def requested_ranges() -> RequestedRanges:
    """Return the conditional headers of the current request."""
    get = request.environ.get
    return RequestedRanges(
        get("REQUEST_METHOD", "GET"),
        range=get("HTTP_RANGE"),
        if_range=get("HTTP_IF_RANGE"),
        if_match=get("HTTP_IF_MATCH"),
        if_none_match=get("HTTP_IF_NONE_MATCH"),
        if_modified_since=get("HTTP_IF_MODIFIED_SINCE"),
        if_unmodified_since=get("HTTP_IF_UNMODIFIED_SINCE"),
    )


def requested_as_get() -> RequestedRanges:
    """Return the same for a POST that is answered as a GET would be."""
    return replace(requested_ranges(), method="GET")


def client_has(etag: str) -> bool:
    """Return whether the caller already has what the strong entity tag names (304).

    Raises:
        PreconditionFailed: `If-Match` names another tag.
    """
    choice = choose(Representation(None, etag), requested_ranges())
    if isinstance(choice, PreconditionFailed):
        raise PreconditionFailedError
    return isinstance(choice, NotModified)


def choose(what: Representation, requested: RequestedRanges) -> Choice:
    """Return what a GET or HEAD is answered with."""
    if _precondition_fails(what, requested):
        return PreconditionFailed()
    if _is_unchanged(what, requested):
        return NotModified()
    if requested.range is None or requested.method != "GET" or what.size is None:
        return Complete()
    if requested.if_range is not None and not _same(what, requested.if_range.strip()):
        return Complete()
    return _one_range(requested.range, what.size)


def apply_choice(choice: Choice, size: int | None, headers: Headers) -> tuple[int, int, int]:
    """Return status, start and length of a choice, and set its headers; a size may be unknown.

    Raises:
        PreconditionFailed, RequestedRangeNotSatisfiable: the choice is a refusal.
    """
    match choice:
        case PreconditionFailed():
            raise PreconditionFailedError
        case Unsatisfiable():
            raise RequestedRangeNotSatisfiable(length=size)
        case NotModified():
            for name in ("Content-Type", "Content-Disposition"):
                headers.remove(name)
            return HTTPStatus.NOT_MODIFIED, 0, 0
        case PartialContent(start, length):
            headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
            headers.add("Content-Length", str(length))
            return HTTPStatus.PARTIAL_CONTENT, start, length
        case Complete():
            if size is not None:
                headers.add("Content-Length", str(size))
            return HTTPStatus.OK, 0, size or 0


def parse_http_date(text: str) -> int | None:
    """Return an HTTP-date (three forms) as seconds since the epoch; None for any other text."""
    for form in _HTTP_DATES:
        try:
            date = datetime.strptime(text.strip(), form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return int(date.timestamp())
    return None


def _precondition_fails(what: Representation, requested: RequestedRanges) -> bool:
    if requested.if_match is not None:
        return not _listed(what, requested.if_match, weak_too=False)
    if requested.if_unmodified_since is None:
        return False
    since = parse_http_date(requested.if_unmodified_since)
    return since is not None and what.modified is not None and what.modified > since


def _is_unchanged(what: Representation, requested: RequestedRanges) -> bool:
    if requested.if_none_match is not None:
        return _listed(what, requested.if_none_match, weak_too=True)
    if requested.if_modified_since is None:
        return False
    since = parse_http_date(requested.if_modified_since)
    return since is not None and what.modified is not None and what.modified <= since


def _listed(what: Representation, header: str, *, weak_too: bool) -> bool:
    if header.strip() == "*":
        return True
    tags = _ENTITY_TAG.finditer(header)
    return any(tag["tag"] == what.etag and (weak_too or not tag["weak"]) for tag in tags)


def _same(what: Representation, validator: str) -> bool:
    """Return whether If-Range holds: a strong entity tag, or the very date of Last-Modified."""
    if validator.startswith(('"', "W/")):
        return validator == what.etag
    return what.modified is not None and parse_http_date(validator) == what.modified


def _one_range(header: str, size: int) -> Choice:
    unit, equals, listed = header.partition("=")
    specs = [spec.strip(" \t") for spec in listed.split(",")]
    specs = [spec for spec in specs if spec]
    if not equals or unit.strip().lower() != "bytes" or len(specs) != 1:
        return Complete()
    match = _RANGE_SPEC.fullmatch(specs[0])
    if match is None or not (match["first"] or match["last"]):
        return Complete()
    if not match["first"]:
        return _suffix(_number(match["last"]), size)
    first = _number(match["first"])
    last = _number(match["last"]) if match["last"] else size - 1
    if match["last"] and last < first:
        return Complete()
    if first >= size:
        return Unsatisfiable()
    return PartialContent(first, min(last, size - 1) - first + 1)


def _suffix(suffix_length: int, size: int) -> Choice:
    if suffix_length == 0:
        return Unsatisfiable()
    if size == 0:  # the range is satisfiable, but no Content-Range can express it
        return Complete()
    start = max(size - suffix_length, 0)
    return PartialContent(start, size - start)


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _DIGITS_MAX else 10**_DIGITS_MAX
