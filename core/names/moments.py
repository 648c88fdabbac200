"""Moments: RFC 3339 text from seconds of the epoch, and back."""

from datetime import UTC, datetime

#: Files may have any time of 64 bits; these are the first and the last moment that can be written.
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC, microsecond=0)


def utc(seconds: float) -> datetime:
    """Return a moment, from seconds since the epoch.

    A moment before the year 1 or after the year 9999 is the first or the last of these years.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return _LAST if seconds > 0 else _FIRST


def moment(seconds: float) -> str:
    """Return a moment as RFC 3339 in UTC with milliseconds: `2026-01-02T03:04:05.678Z`.

    `seconds` is the time since the epoch.
    """
    text = utc(seconds).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def text_of_moment(when: datetime | None, precision: str = "seconds") -> str | None:
    """Return a moment in UTC as RFC 3339, cut to `seconds`, `minutes` or `auto`; None for None."""
    return None if when is None else when.isoformat(timespec=precision).replace("+00:00", "Z")


def moment_or_none(seconds: float | None) -> str | None:
    """Return the moment as `moment` writes it; None is unknown, or no end."""
    return None if seconds is None else moment(seconds)


def moment_of_ms(milliseconds: str | int | None) -> str | None:
    """Return the moment of a stored number of milliseconds; None for None, 0 and empty text."""
    return moment(int(milliseconds) / 1000) if milliseconds else None


def reference_moment(seconds: float) -> str:
    """Return a moment as the cluster's other services write and read it.

    That is Python's `isoformat`: microseconds, unless they are zero, and the offset `+00:00`.
    """
    return utc(seconds).isoformat()


def moment_ns(text: str) -> int:
    """Return the nanoseconds of the epoch of RFC 3339 text, exact to the microsecond.

    Raises:
        ValueError: the text is no moment, or has no offset from UTC; the message says which.
    """
    try:
        at = datetime.fromisoformat(text)
        nanoseconds = round(at.timestamp() * 1_000_000) * 1000
    except (ValueError, OverflowError):
        raise ValueError("must be a moment as in RFC 3339") from None
    if at.tzinfo is None:
        raise ValueError("must say its offset from UTC, as RFC 3339 wants")
    return nanoseconds


def parsed_moment(text: str) -> datetime:
    """Return the moment of RFC 3339 text.

    Raises:
        ValueError: the text is no moment.
    """
    return datetime.fromisoformat(text)


def local_seconds(text: str) -> float:
    """Return the seconds of the epoch of a date or a moment; without an offset it is local.

    Raises:
        ValueError: the text is neither.
    """
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except OverflowError:
        raise ValueError("must be a moment that this system knows") from None
