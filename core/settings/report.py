"""What a configuration comes to: every key with its effective value, fit to be shown."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import structs

from core.settings.settings import Settings, load

#: Keys of the reference that steer what this service does not have (event loop, debug consoles,
#: watcher, tracing) or does not read from a file. They are accepted so that a file can be shared.
NO_EFFECT = (
    "debug",
    "pyroscope",
    "otel",
    "storage-proxy.pid-file",
    "storage-proxy.event-loop",
    "storage-proxy.ipc-base-path",
    "storage-proxy.aiomonitor-port",
    "storage-proxy.aiomonitor-termui-port",
    "storage-proxy.aiomonitor-webui-port",
    "storage-proxy.use-watcher",
    "storage-proxy.watcher-insock-path-prefix",
    "storage-proxy.watcher-outsock-path-prefix",
)
#: What a running process takes over from a file that it reads again, beside new volumes: dotted
#: keys by their beginnings.
TAKEN = ("logging.level", "vfolder.bandwidth")
MASK = "********"
_SECRET_KEY = re.compile(r"(^|[._-])(secret|password|token|access-key|secret-key)$", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)([^/@\s]*):([^/@\s]+)@")


def effective(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Every key in dotted form with its value, in the order of the tables."""
    yield from _flat("", msgspec.to_builtins(settings))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - any TOML value
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, inner)
    elif prefix != "origin":
        yield prefix, value


def value_of(settings: Settings, key: str) -> Any:  # noqa: ANN401 - any TOML value
    """One value by its dotted key.

    Raises:
        KeyError: there is no such key.
    """
    return dict(effective(settings))[key]


def masked(key: str, value: Any) -> str:  # noqa: ANN401 - any TOML value
    """The value as text; passwords, secrets and tokens become stars, also inside URLs."""
    if value is not None and _SECRET_KEY.search(key):
        return MASK
    text = json.dumps(value, ensure_ascii=False)
    return _URL_PASSWORD.sub(rf"\1:{MASK}@", text)


def ineffective_keys(settings: Settings) -> list[str]:
    """The keys that are set to something else than their default and change nothing here."""
    plain = msgspec.convert(
        {"storage-proxy": _REQUIRED, "api": {"manager": {"secret": ""}}}, Settings
    )
    defaults = dict(effective(plain))
    return [
        key
        for key, value in effective(settings)
        if key.startswith(NO_EFFECT) and value != defaults.get(key)
    ]


_REQUIRED = {"node-id": "", "secret": "", "session-expire": 1}


def reload(running: Settings) -> tuple[Settings, list[str]]:
    """The running settings with what the file may change, and the changed keys that must wait.

    Raises:
        ConfigurationError: the file cannot be read, or has a wrong key or value.
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
