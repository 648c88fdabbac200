"""How XCP names what we know by a mount: `host:/export/path`."""

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from backends.base import Backend

#: The options of a volume; the names are those of existing configurations.
COMMAND, HOST, VOLUME, CATALOG = (
    "netapp_xcp_cmd",
    "netapp_nfs_host",
    "netapp_volume_name",
    "xcp_catalog",
)


@dataclass(frozen=True, slots=True)
class Export:
    """An NFS export that is a volume's top, and the tool that reaches it.

    `command` starts XCP, natively or in a container; `catalog` is where it keeps its indexes, as
    `host:/export`, when that was configured.
    """

    command: tuple[str, ...]
    host: str
    top: PurePosixPath
    catalog: str | None = None

    def name(self, path: PurePosixPath) -> str:
        """The name of a path below the volume; a colon in it is written twice."""
        return f"{self.host}:{str(self.top / path).replace(':', '::')}"


def exported(backend: Backend) -> Export | None:
    """The export of a volume, or None when its options do not tell of XCP."""
    options = backend.mount.options
    command, host = options.get(COMMAND), options.get(HOST)
    if not command or not host:
        return None
    name = str(options.get(VOLUME) or backend.mount.volume).strip("/")
    catalog = options.get(CATALOG)
    return Export(
        _words(command), str(host), PurePosixPath("/", name), str(catalog) if catalog else None
    )


def _words(command: Any) -> tuple[str, ...]:  # noqa: ANN401 - what a configuration holds
    if isinstance(command, str):
        return tuple(shlex.split(command))
    return tuple(str(word) for word in command)
