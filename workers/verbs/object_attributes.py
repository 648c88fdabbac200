"""Attributes of files as metadata of objects, in the way that rclone and s3fs understand.

    mtime   seconds since the epoch with a fraction, as rclone and s3fs write it
    mode    type and permissions; a decimal number as s3fs writes it, or octal as rclone does
    uid, gid  decimal numbers

A symlink is an object whose `mode` has that type, and whose bytes are the target, as in s3fs.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation

from core.errors import BackendFailed

_NS = 10**9
#: The largest number that a mode can be: type, set-id bits and permissions.
_MODE_MAX = 0o177777
#: The largest id of a user or group; the next one means "no change" to chown(2).
_ID_MAX = 2**32 - 2
#: Times further from the epoch fit into no attribute of a file (seconds).
_SECONDS_MAX = 2**63 // _NS
_TYPES = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK})


@dataclass(frozen=True, slots=True)
class ObjectAttributes:
    """What an object says of the file that it was; None is not said."""

    mode: int | None = None
    mtime_ns: int | None = None
    uid: int | None = None
    gid: int | None = None

    @property
    def is_link(self) -> bool:
        """Return whether it was a symlink."""
        return self.mode is not None and stat.S_ISLNK(self.mode)


def metadata_of(status: os.stat_result) -> dict[str, str]:
    """Return the metadata of the object that an entry becomes."""
    return {
        "mtime": f"{Decimal(status.st_mtime_ns) / _NS:.9f}",
        "mode": str(status.st_mode),
        "uid": str(status.st_uid),
        "gid": str(status.st_gid),
    }


def attributes_of(metadata: Mapping[str, str]) -> ObjectAttributes:
    """Return what the metadata of an object says; what cannot be read is not said."""
    return ObjectAttributes(
        _mode(metadata.get("mode", "")),
        _time(metadata.get("mtime", "")),
        _number(metadata.get("uid", "")),
        _number(metadata.get("gid", "")),
    )


def modified_ns(written: datetime | None) -> int | None:
    """Return the moment when an object was written; it stands for a time that is not said."""
    return None if written is None else int(written.timestamp() * _NS)


def _number(text: str) -> int | None:
    """Read the id of a user or group, which chown(2) can set."""
    known = text.isascii() and text.isdecimal() and len(text) <= len(str(_ID_MAX))
    return int(text) if known and int(text) <= _ID_MAX else None


def link_text(content: bytes) -> str:
    """Return the target of a symlink, from the bytes of its object.

    Raises:
        BackendFailed: no path has these bytes.
    """
    if not content or b"\0" in content:
        raise BackendFailed("The object says that it is a symlink, and has no target of one.")
    return os.fsdecode(content)


def _mode(text: str) -> int | None:
    """Read a mode, which has a type: at most one of both ways to read it gives one."""
    for base in (10, 8):
        try:
            mode = int(text, base)
        except ValueError:
            continue
        if 0 <= mode <= _MODE_MAX and stat.S_IFMT(mode) in _TYPES:
            return mode
    return None


def _time(text: str) -> int | None:
    try:
        seconds = Decimal(text)
    except InvalidOperation:
        return None
    if not seconds.is_finite() or abs(seconds) >= _SECONDS_MAX:
        return None
    return int(seconds * _NS)
