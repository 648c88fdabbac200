"""Effective values: every key as text without secrets, and what a reload takes over."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from core.settings.settings import Settings, file_tables, load, override_tables

MASK = "********"
_SECRET_KEY = re.compile(
    r"(^|[._-])(secret|secret[_-]previous|password|token|(access|secret)[_-]key)$", re.IGNORECASE
)
_URL_PASSWORD = re.compile(r"(?<=://)([^/@\s]*):([^/@\s]+)@")


def effective(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Return every key in dotted form with its value, in the order of the tables."""
    yield from _flat("", msgspec.to_builtins(settings))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - any TOML value
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, inner)
    elif prefix != "origin":
        yield prefix, value


def sources(settings: Settings, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return where each value that was set comes from, by dotted key: `file`, or a variable's name.

    A key that is not in it has its default. The file is read again.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    written = file_tables(Path(settings.origin))
    found = {key: "file" for key, _ in _flat("", written)}
    for variable, tables in override_tables(os.environ if environ is None else environ):
        found |= {key: variable for key, _ in _flat("", tables)}
    return found


def value_of(settings: Settings, key: str) -> Any:  # noqa: ANN401 - any TOML value
    """Return the value of a dotted key.

    Raises:
        KeyError: there is no such key.
    """
    return dict(effective(settings))[key]


def masked(key: str, value: Any) -> str:  # noqa: ANN401 - any TOML value
    """Return the value as text; passwords, secrets and tokens become stars, also in URLs."""
    if value is not None and _SECRET_KEY.search(key):
        return MASK
    text = json.dumps(_without_secrets(value), ensure_ascii=False)
    return _URL_PASSWORD.sub(rf"\1:{MASK}@", text)


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 - any TOML value
    """Return an array of tables with stars in place of its secrets."""
    if isinstance(value, list):
        return [_without_secrets(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: MASK if inner is not None and _SECRET_KEY.search(key) else _without_secrets(inner)
        for key, inner in value.items()
    }


def reload(running: Settings) -> tuple[Settings, list[str]]:
    """Return the running settings with what a reload takes over, and the other changed keys.

    A reload takes over new volumes, the bandwidth of volumes and the level of the logs. The other
    changed keys wait for a restart.

    Raises:
        ConfigurationError: the file cannot be read, or a key or value is wrong.
    """
    written = load()
    new = {name: table for name, table in written.volume.items() if name not in running.volume}
    followed = structs.replace(
        running,
        volume={**running.volume, **new},
        logging=written.logging,
        vfolder=structs.replace(running.vfolder, bandwidth=written.vfolder.bandwidth),
    )
    before, after = dict(effective(followed)), dict(effective(written))
    waits = [key for key in before | after if before.get(key, _ABSENT) != after.get(key, _ABSENT)]
    return followed, sorted(waits)


_ABSENT = msgspec.UNSET
