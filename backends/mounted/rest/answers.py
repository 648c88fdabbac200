"""An array's answer to one request, and every error it can be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
import orjson

from core.errors import AccessRefused, RequestRefused, Unavailable

#: Longer texts of an array are cut (characters).
WORDS_MAX = 300
#: The longest `Retry-After` of an array that is obeyed (seconds).
PAUSE_SECONDS_MAX = 30.0
#: The types of pages for people, which proxies send.
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
#: Statuses of proxies, after which it is unknown whether the request had its effect.
_EFFECT_UNKNOWN = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
T = TypeVar("T")


class Reason(Enum):
    """Why an array refuses; every vendor's error code maps to one of these."""

    NOT_FOUND = "not found"
    EXISTS = "already exists"
    INVALID = "invalid"
    DENIED = "denied"
    BUSY = "busy"
    FAILED = "failed"


class ArrayRefused(RequestRefused):
    """The array refused, permanently; `code` and text are the array's own.

    With the reason DENIED it is an `ArrayDenied`.
    """

    def __new__(  # noqa: PYI034 - the reason decides the class
        cls, detail: str = "", reason: Reason = Reason.FAILED, code: str = ""
    ) -> "ArrayRefused":
        """Make it, of the class for its reason."""
        del detail, code
        return super().__new__(ArrayDenied if reason is Reason.DENIED else cls)

    def __init__(self, detail: str, reason: Reason = Reason.FAILED, code: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.code = code

    def copied(self) -> "ArrayRefused":
        """Return a copy for another thread: an exception holds the traceback of one thread."""
        return ArrayRefused(self.detail, self.reason, self.code)


class ArrayDenied(AccessRefused, ArrayRefused):
    """The array refuses the credentials, or their user lacks a right."""


class Busy(Unavailable):
    """The array cannot do it now; the request had no effect."""

    def __init__(self, detail: str, pause_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.pause_seconds = pause_seconds


class Lost(Unavailable):
    """No answer, or an unreadable one; it is unknown whether the request had its effect."""

    def __init__(self, detail: str, pause_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.pause_seconds = pause_seconds


class Expired(Exception):
    """The login is no longer valid; the request had no effect.

    `status` is the status of the answer: on some arrays one status means a missing right, too.
    """

    def __init__(self, status: int = HTTPStatus.UNAUTHORIZED) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class ArrayAnswer:
    """One complete answer. `body` is parsed JSON; None when the array sends no body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True)
class ArrayRefusal:
    """A refusal of an array, with its `Reason`."""

    reason: Reason
    code: str = ""
    words: str = ""


#: Parses a vendor's refusal; None when the login has expired.
Dialect = Callable[[ArrayAnswer], ArrayRefusal | None]


def read(
    status: int, headers: Mapping[str, str], content: bytes, *, plain: bool = False
) -> ArrayAnswer:
    """Parse a response: first the status, then the content type, then the JSON.

    With `plain` a success has a text, which may be empty, in place of JSON.

    Raises:
        Lost: the body is not JSON, or it is empty where one is required.
    """
    pause = pause_of(headers)
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if plain and status < HTTPStatus.BAD_REQUEST and kind not in _PAGES:
        return ArrayAnswer(status, headers, content.decode("utf-8", "replace"))
    if not content:
        if status == HTTPStatus.OK:
            raise Lost(f"The array's answer is empty (status {status}).", pause)
        return ArrayAnswer(status, headers)
    if kind.rpartition("/")[2].rpartition("+")[2] != "json":
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return ArrayAnswer(status, headers, content[:WORDS_MAX].decode("utf-8", "replace"))
        raise Lost(f"Something between here and the array answered (status {status}).", pause)
    try:
        return ArrayAnswer(status, headers, orjson.loads(content))
    except orjson.JSONDecodeError:
        raise Lost(f"The array's answer is no JSON (status {status}).", pause) from None


def judge(answer: ArrayAnswer, dialect: Dialect) -> ArrayAnswer:
    """Return a successful answer, or raise its error.

    Raises:
        Expired: the login has expired.
        Busy: the array is busy, and the request had no effect.
        Lost: the array failed, and the effect is unknown.
        ArrayRefused: the array refused.
    """
    if answer.status < HTTPStatus.BAD_REQUEST:
        return answer
    complaint = dialect(answer)
    if complaint is None:
        raise Expired(answer.status)
    words = complaint.words[:WORDS_MAX] or "no reason given"
    code = f", code {complaint.code}" if complaint.code else ""
    detail = f"The array refused (status {answer.status}{code}): {words}"
    if answer.status in _EFFECT_UNKNOWN:
        raise Lost(detail, pause_of(answer.headers))
    if complaint.reason is Reason.BUSY or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise Busy(detail, pause_of(answer.headers))
    raise ArrayRefused(detail, complaint.reason, complaint.code)


def body_as(answer: ArrayAnswer, shape: type[T]) -> T | None:
    """Return the body of an answer as a vendor's type; None when it is something else."""
    try:
        return msgspec.convert(answer.body, shape)
    except msgspec.ValidationError:
        return None


def pause_of(headers: Mapping[str, str]) -> float | None:
    """Return how long the array asks to wait, in seconds (RFC 9110 §10.2.3: seconds or a date).

    `RateLimit-Reset` serves when `Retry-After` is missing. None when neither can be parsed.
    """
    text = headers.get("Retry-After") or headers.get("RateLimit-Reset")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            return None
        now = _date(headers) or datetime.now(UTC)
        seconds = (when - now).total_seconds()
    return min(max(seconds, 0.0), PAUSE_SECONDS_MAX)


def _date(headers: Mapping[str, str]) -> datetime | None:
    """Return the time of the array's own clock, to which its `Retry-After` refers."""
    try:
        return parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError):
        return None
