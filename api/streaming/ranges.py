"""What part of a file a request gets, after RFC 9110 §13.2.2 and §14: one pure function.

Order: If-Match, else If-Unmodified-Since; If-None-Match, else If-Modified-Since; then Range with
If-Range. One satisfiable range is served; several ranges, an unknown unit and a malformed Range are
ignored, as the RFC allows; a range outside of the file is refused.

What a request asks beside its body: conditions (RFC 9110 §13) and preferences (RFC 7240).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import request
from werkzeug.exceptions import PreconditionFailed as PreconditionFailedError

_HTTP_DATES = (
    "%a, %d %b %Y %H:%M:%S GMT",  # IMF-fixdate
    "%A, %d-%b-%y %H:%M:%S GMT",  # RFC 850
    "%a %b %d %H:%M:%S %Y",  # asctime
)
_ENTITY_TAG = re.compile(r'(?P<weak>W/)?(?P<tag>"[\x21\x23-\x7e\x80-\xff]*")')
_RANGE_SPEC = re.compile(r"(?P<first>\d*)-(?P<last>\d*)", re.ASCII)
#: No file is larger; longer numbers need not be converted (nor could they all be).
_DIGITS_MAX = 19


@dataclass(frozen=True, slots=True)
class Representation:
    """What could be sent: its validators and its size; None is unknown, and then has no ranges."""

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
class Whole:
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
    """412: it is not what the client thinks."""


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """416: the range lies outside."""


Choice = Whole | PartialContent | NotModified | PreconditionFailed | Unsatisfiable


def choose(what: Representation, asked: RequestedRanges) -> Choice:
    """Decide what a GET or HEAD is answered with."""
    if _precondition_fails(what, asked):
        return PreconditionFailed()
    if _client_has_it(what, asked):
        return NotModified()
    if asked.range is None or asked.method != "GET" or what.size is None:
        return Whole()
    if asked.if_range is not None and not _same(what, asked.if_range.strip()):
        return Whole()
    return _one_range(asked.range, what.size)


def parse_http_date(text: str) -> int | None:
    """Seconds since the epoch of an HTTP-date in any of its three forms; None for anything else."""
    for form in _HTTP_DATES:
        try:
            found = datetime.strptime(text.strip(), form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return int(found.timestamp())
    return None


def _precondition_fails(what: Representation, asked: RequestedRanges) -> bool:
    if asked.if_match is not None:
        return not _listed(what, asked.if_match, weak_too=False)
    if asked.if_unmodified_since is None:
        return False
    since = parse_http_date(asked.if_unmodified_since)
    return since is not None and what.modified is not None and what.modified > since


def _client_has_it(what: Representation, asked: RequestedRanges) -> bool:
    if asked.if_none_match is not None:
        return _listed(what, asked.if_none_match, weak_too=True)
    if asked.if_modified_since is None:
        return False
    since = parse_http_date(asked.if_modified_since)
    return since is not None and what.modified is not None and what.modified <= since


def _listed(what: Representation, header: str, *, weak_too: bool) -> bool:
    if header.strip() == "*":
        return True
    found = _ENTITY_TAG.finditer(header)
    return any(m["tag"] == what.etag and (weak_too or not m["weak"]) for m in found)


def _same(what: Representation, validator: str) -> bool:
    """If-Range: a strong entity tag, or the very date that was sent as Last-Modified."""
    if validator.startswith(('"', "W/")):
        return validator == what.etag
    return what.modified is not None and parse_http_date(validator) == what.modified


def _one_range(header: str, size: int) -> Choice:
    unit, equals, listed = header.partition("=")
    specs = [spec.strip(" \t") for spec in listed.split(",")]
    specs = [spec for spec in specs if spec]
    if not equals or unit.strip().lower() != "bytes" or len(specs) != 1:
        return Whole()
    match = _RANGE_SPEC.fullmatch(specs[0])
    if match is None or not (match["first"] or match["last"]):
        return Whole()
    if not match["first"]:
        return _suffix(_number(match["last"]), size)
    first = _number(match["first"])
    last = _number(match["last"]) if match["last"] else size - 1
    if match["last"] and last < first:
        return Whole()
    if first >= size:
        return Unsatisfiable()
    return PartialContent(first, min(last, size - 1) - first + 1)


def _suffix(wanted: int, size: int) -> Choice:
    if wanted == 0:
        return Unsatisfiable()
    if size == 0:  # satisfiable, but no Content-Range could say so
        return Whole()
    start = max(size - wanted, 0)
    return PartialContent(start, size - start)


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _DIGITS_MAX else 10**_DIGITS_MAX


#: One preference: its name, and its value plain or quoted; parameters follow and are not ours.
_PREFERENCE = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*("[^"]*"|[^\s",;]*))?')
#: Digits of a number of seconds; more would be longer than anything waits.
_SECONDS_DIGITS_MAX = 9
#: Digits of a version of a job's record; longer ones are not ours.
_VERSION_DIGITS_MAX = 18


def has_it(etag: str) -> bool:
    """Whether the caller already has what the strong entity tag names (304).

    Raises:
        PreconditionFailed: `If-Match` names another one.
    """
    choice = choose(Representation(None, etag), asked())
    if isinstance(choice, PreconditionFailed):
        raise PreconditionFailedError
    return isinstance(choice, NotModified)


def wait_seconds() -> float:
    """The seconds of `Prefer: wait=N`, 0 when not asked; of several, the first counts."""
    for wish in _split(request.headers.get("Prefer", "")):
        match = _PREFERENCE.match(wish)
        if match and match[1].lower() == "wait":
            text = (match[2] or "").strip('"')
            digits = text.isascii() and text.isdigit() and len(text) <= _SECONDS_DIGITS_MAX
            return float(text) if digits else 0.0
    return 0.0


def _split(header: str) -> list[str]:
    """The elements of a list; a comma inside quotes is none."""
    return re.findall(r'(?:[^,"]|"[^"]*")+', header)


def last_event_id() -> int:
    """The version that a broken event stream had reached (`Last-Event-ID`); -1 when none."""
    text = request.headers.get("Last-Event-ID", "").strip()
    known = text.isascii() and text.isdigit() and len(text) <= _VERSION_DIGITS_MAX
    return int(text) if known else -1


def asked() -> RequestedRanges:
    """The conditional headers of the request at work."""
    get = request.environ.get
    return RequestedRanges(
        request.method,
        range=get("HTTP_RANGE"),
        if_range=get("HTTP_IF_RANGE"),
        if_match=get("HTTP_IF_MATCH"),
        if_none_match=get("HTTP_IF_NONE_MATCH"),
        if_modified_since=get("HTTP_IF_MODIFIED_SINCE"),
        if_unmodified_since=get("HTTP_IF_UNMODIFIED_SINCE"),
    )
