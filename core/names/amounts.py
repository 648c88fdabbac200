"""Amounts for people: sizes, durations, counts. Data has plain numbers in named units."""

from collections.abc import Mapping
from typing import Any

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_UNIT_STEP = 1024
_DECIMALS_BELOW = 10
_SECONDS_DECIMALS_BELOW = 60


def _unit(number: float) -> int:
    unit = 0
    while number >= _UNIT_STEP and unit + 1 < len(_BYTE_UNITS):
        number /= _UNIT_STEP
        unit += 1
    return unit


def _scaled(number: float, unit: int) -> str:
    value = number / _UNIT_STEP**unit
    return f"{value:.1f}" if unit and value < _DECIMALS_BELOW else f"{value:.0f}"


def size_text(size_bytes: float) -> str:
    """Return a size for people: `812 MiB`, `3.1 TiB`."""
    unit = _unit(size_bytes)
    return f"{_scaled(size_bytes, unit)} {_BYTE_UNITS[unit]}"


def size_pair(done_bytes: int, total_bytes: int | None) -> str:
    """Return a part of a size, in the unit of the greater one: `3.1/7.5 TiB`."""
    if total_bytes is None:
        return size_text(done_bytes)
    unit = _unit(max(done_bytes, total_bytes))
    return f"{_scaled(done_bytes, unit)}/{_scaled(total_bytes, unit)} {_BYTE_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Return a duration for people: `42s`, `3m05s`, `1h28m`, `2d04h`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02d}h"
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def took(seconds: float) -> str:
    """Return how long something took, for people: `1.3 s`, `3m05s`."""
    return f"{seconds:.1f} s" if seconds < _SECONDS_DECIMALS_BELOW else duration(seconds)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 file`, `9,624 files`, `3 entries`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def progress_text(data: Mapping[str, Any]) -> str:
    """Return the progress of a job or a transfer as one line; unknown parts are left out.

    `copy 41%  3.1/7.5 TiB  812 MiB/s  eta 1h28m  18,204/51,000 files  2 errors`
    """
    percent = data["percent"]
    parts = [data["phase"] + (f" {percent:.0f}%" if percent is not None else "")]
    if data["done_bytes"] or data["total_bytes"]:
        parts.append(size_pair(data["done_bytes"], data["total_bytes"]))
    if data["stalled_seconds"] is not None:
        parts.append(f"stalled {duration(data['stalled_seconds'])}")
    elif data["bytes_per_second"]:
        parts.append(f"{size_text(data['bytes_per_second'])}/s")
    if data["eta_seconds"] is not None:
        parts.append(f"eta {duration(data['eta_seconds'])}")
    if data["total_items"]:
        parts.append(f"{data['done_items']:,}/{data['total_items']:,} files")
    elif data["done_items"]:
        parts.append(counted(data["done_items"], "file"))
    if data["errors"]:
        parts.append(counted(data["errors"], "error"))
    return "  ".join(parts)
