"""Map a mounted path to the name that XCP uses for it: `host:/export/path`."""

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from backends.base import Backend

#: Options of a volume; existing configurations use these names.
COMMAND, HOST, VOLUME, CATALOG = (
    "netapp_xcp_cmd",
    "netapp_nfs_host",
    "netapp_volume_name",
    "xcp_catalog",
)


@dataclass(frozen=True, slots=True)
class Export:
    """An NFS export that is the top of a volume, and the XCP command that reaches it.

    `command` starts XCP, natively or in a container. `catalog` is the `host:/export` where XCP
    keeps its indexes, if one is configured.
    """

    command: tuple[str, ...]
    host: str
    top: PurePosixPath
    catalog: str | None = None

    def name(self, path: PurePosixPath) -> str:
        """Return XCP's name of a path below the volume; a colon in the path is doubled."""
        return f"{self.host}:{str(self.top / path).replace(':', '::')}"


def exported(backend: Backend) -> Export | None:
    """Return the export of a volume; None when its options do not configure XCP."""
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
