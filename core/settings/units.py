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
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\sA-Z/?#@*]+")
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:]+\]|[^:\s]+):(?P<port>\d{1,5})")
_PORT_MAX = 65_535
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound to


class Address(NamedTuple):
    """A host and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def local(self) -> "Address":
        """Return where processes of this machine find what listens at this address."""
        return self._replace(host=_LOOPBACK.get(self.host, self.host))


def seconds(value: float | str) -> float:
    """Return the seconds of a duration: a number, or one with s, m, h, d, w, mo (30 d), yr (365 d).

    Raises:
        ValueError: the text has another form; the message names the allowed ones.
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
    """Return the bytes of a size: a number, or one with k, m, g, t, p or e (powers of 1024).

    Raises:
        ValueError: the text has another form.
    """
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(value)
    if not match:
        raise ValueError(f"{value!r} is not a size; write bytes or a number with k/m/g/t/p/e")
    return int(float(match[1]) * 1024 ** " kmgtpe".index(match[2].lower() or " "))


def origin(value: str) -> str:
    """Return an origin as browsers send it (RFC 6454, section 6.2).

    Raises:
        ValueError: the text has another form.
    """
    if not _ORIGIN.fullmatch(value):
        raise ValueError(f"{value!r} is not an origin; write https://host or https://host:port")
    return value


def address(value: str | dict[str, object]) -> Address:
    """Return the address of `host:port`, or of a table with `host` and `port`.

    Raises:
        ValueError: the value has another form, or the port is above 65535.
    """
    if isinstance(value, dict):
        value = f"{value.get('host')}:{value.get('port')}"
    match = _ADDRESS.fullmatch(value.strip())
    if not match or int(match["port"]) > _PORT_MAX:
        raise ValueError(f"{value!r} is not an address; write host:port")
    return Address(match["host"].strip("[]"), int(match["port"]))
