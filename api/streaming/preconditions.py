"""What a request asks beside its body: conditions (RFC 9110 §13) and preferences (RFC 7240)."""

import re

from flask import request
from werkzeug.exceptions import PreconditionFailed as PreconditionFailedError

from api.streaming import ranges
from api.streaming.files import asked

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
    choice = ranges.choose(ranges.Representation(None, etag), asked())
    if isinstance(choice, ranges.PreconditionFailed):
        raise PreconditionFailedError
    return isinstance(choice, ranges.NotModified)


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
