"""Moments as people write them: `1h`, `yesterday`, a date, RFC 3339."""

import re
import time
from datetime import timedelta

import click

from core.names import local_seconds, moment, utc

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(\d{1,6})\s*([smhdw])", re.ASCII)


class Moment(click.ParamType[str]):
    """A moment; its value is RFC 3339 in UTC. Dates and times without an offset are local."""

    name = "moment"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the moment, or fail with the forms that can be written."""
        found = _parsed(value.strip().lower())
        if found is None:
            self.fail(
                f"{value!r} is no moment. Write 30m, 1h, 2d or 1w for so long ago; today or "
                "yesterday; 2026-11-29, '2026-11-29 08:00', or RFC 3339.",
                param,
                ctx,
            )
        return moment(found)


def _parsed(text: str) -> float | None:
    """Return the seconds of the epoch; None for text that is no moment."""
    now = utc(time.time()).astimezone()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if ago := _AGO.fullmatch(text):
        return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).timestamp()
    if text in ("now", "today", "yesterday"):
        days = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
        return days[text].timestamp()
    try:
        return local_seconds(text.upper())
    except ValueError:
        return None
