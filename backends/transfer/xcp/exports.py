"""Map a mounted path to the name that XCP uses for it: `host:/export/path`."""

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol, runtime_checkable

from backends.base import Backend

#: Options of a volume; existing configurations use these names.
COMMAND, HOST, VOLUME, CATALOG = (
    "netapp_xcp_cmd",
    "netapp_nfs_host",
    "netapp_volume_name",
    "xcp_catalog",
)


@runtime_checkable
class HasExport(Protocol):
    """A storage system that knows by which path its NFS server exports the volume."""

    def export_path(self) -> PurePosixPath | None:
        """Return that path; None when the volume is not exported, or the path is unknown."""


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
    """Return the export of a volume; None when XCP is not configured, or the export is unknown.

    An array that knows the path of the export is asked; the options name it otherwise.
    """
    options = backend.mount.options
    command, host = options.get(COMMAND), options.get(HOST)
    if not command or not host:
        return None
    name = str(options.get(VOLUME) or backend.mount.volume).strip("/")
    knowing = backend.skill(HasExport)
    top = knowing.export_path() if knowing else PurePosixPath("/", name)
    catalog = options.get(CATALOG)
    if top is None:
        return None
    return Export(_words(command), str(host), top, str(catalog) if catalog else None)


def _words(command: Any) -> tuple[str, ...]:  # noqa: ANN401 - what a configuration holds
    if isinstance(command, str):
        return tuple(shlex.split(command))
    return tuple(str(word) for word in command)
