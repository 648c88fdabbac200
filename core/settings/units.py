"""Text forms of durations, sizes and addresses in configuration files."""

import re
from typing import NamedTuple

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|d|w|mo|yr)?\s*")
_SECONDS = {
    None: 1,
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86_400,
    "w": 604_800,
    "mo": 2_592_000,
    "yr": 31_536_000,
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgtpe]?)(?:i?b)?\s*", re.IGNORECASE)
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:]+\]|[^:\s]+):(?P<port>\d{1,5})")
_PORT_MAX = 65_535


class Address(NamedTuple):
    """A host and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def seconds(value: float | str) -> float:
    """Read a duration: seconds, or a number with s, m, h, d, w, mo (30 d) or yr (365 d).

    Raises:
        ValueError: any other form, with the allowed ones named.
    """
    if isinstance(value, int | float):
        return float(value)
    match = _DURATION.fullmatch(value)
    if not match:
        raise ValueError(
            f"{value!r} is not a duration; write seconds or a number with s/m/h/d/w/mo/yr"
        )
    return float(match[1]) * _SECONDS[match[2]]


def size_bytes(value: int | str) -> int:
    """Read a size: bytes, or a number with k, m, g, t, p or e (powers of 1024).

    Raises:
        ValueError: any other form.
    """
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(value)
    if not match:
        raise ValueError(f"{value!r} is not a size; write bytes or a number with k/m/g/t/p/e")
    return int(float(match[1]) * 1024 ** " kmgtpe".index(match[2].lower() or " "))


def address(value: str | dict[str, object]) -> Address:
    """Read `host:port`, or a table with `host` and `port`.

    Raises:
        ValueError: any other form, or a port outside 0..65535.
    """
    if isinstance(value, dict):
        value = f"{value.get('host')}:{value.get('port')}"
    match = _ADDRESS.fullmatch(value.strip())
    if not match or int(match["port"]) > _PORT_MAX:
        raise ValueError(f"{value!r} is not an address; write host:port")
    return Address(match["host"].strip("[]"), int(match["port"]))
