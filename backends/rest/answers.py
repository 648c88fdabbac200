"""An array's answer to one request, and everything that can be wrong with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import Any

import orjson

from core.errors import BackendFailed, Unavailable

#: The longest text of an array that is passed on.
WORDS_MAX = 300
#: The longest pause that an array's `Retry-After` is believed.
PAUSE_SECONDS_MAX = 30.0
#: An answer after which nobody knows whether the request had its effect: proxies give these.
_EFFECT_UNKNOWN = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)


class Reason(Enum):
    """Why an array refuses; everything its codes say comes down to these."""

    NOT_FOUND = "not found"
    EXISTS = "already exists"
    INVALID = "invalid"
    DENIED = "denied"
    BUSY = "busy"
    FAILED = "failed"


class ArrayRefused(BackendFailed):
    """The array says no, for good; its code and its words are kept."""

    def __init__(self, detail: str, reason: Reason = Reason.FAILED, code: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.code = code

    def anew(self) -> "ArrayRefused":
        """The same for another thread: an exception carries the story of one."""
        return ArrayRefused(self.detail, self.reason, self.code)


class Busy(Unavailable):
    """The array says: not now; the request had no effect."""

    def __init__(self, detail: str, pause_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.pause_seconds = pause_seconds


class Lost(Unavailable):
    """No answer, or none that can be read; whether the request had its effect is not known."""

    def __init__(self, detail: str, pause_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.pause_seconds = pause_seconds


class Expired(Exception):
    """The login is not good any more; the request had no effect."""


@dataclass(frozen=True, slots=True)
class ArrayAnswer:
    """One whole answer. `body` is parsed JSON; None where the array sends nothing."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True)
class ArrayRefusal:
    """What an array says when it refuses, in the terms of `Reason`."""

    reason: Reason
    code: str = ""
    words: str = ""


#: Reads a vendor's refusal; None: the login has expired.
Dialect = Callable[[ArrayAnswer], ArrayRefusal | None]


def read(status: int, headers: Mapping[str, str], content: bytes) -> ArrayAnswer:
    """Make an answer of what came: first the status, then the content type, then the JSON.

    Raises:
        Lost: it is not JSON although something came, or nothing came where something must.
    """
    pause = pause_of(headers)
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
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
    """Pass a good answer on.

    Raises:
        Expired: the login is.
        Busy: not now, without an effect.
        Lost: not now, and who knows whether there was an effect.
        ArrayRefused: no.
    """
    if answer.status < HTTPStatus.BAD_REQUEST:
        return answer
    complaint = dialect(answer)
    if complaint is None:
        raise Expired
    words = complaint.words[:WORDS_MAX] or "no reason given"
    code = f", code {complaint.code}" if complaint.code else ""
    detail = f"The array refused (status {answer.status}{code}): {words}"
    if answer.status in _EFFECT_UNKNOWN:
        raise Lost(detail, pause_of(answer.headers))
    if complaint.reason is Reason.BUSY or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise Busy(detail, pause_of(answer.headers))
    raise ArrayRefused(detail, complaint.reason, complaint.code)


def pause_of(headers: Mapping[str, str]) -> float | None:
    """How long the array asks to wait (RFC 9110 §10.2.3: seconds or a date), in seconds.

    `RateLimit-Reset` stands in where `Retry-After` is missing; what cannot be read is None.
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
    """The array's own clock: its `Retry-After` is meant by that one."""
    try:
        return parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError):
        return None
