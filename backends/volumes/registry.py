"""Backends by name, and the volumes of this node. Plugins come by entry point."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import resolve_name

from backends.base import Backend, HasQuota, Mount
from backends.btrfs import BtrfsBackend
from backends.cephfs import CephFsBackend
from backends.mounted import PosixBackend
from backends.quota import SoftQuota, privileged
from backends.xfs import Ext4Backend, XfsBackend
from core.errors import ConfigurationError, UnknownVolume
from core.process import privileges
from core.quota import QuotaLedger, Thresholds
from core.redis import Database, connect
from core.settings import Settings

#: Entry points of this group name backend classes: `mine = "package.module:MyBackend"`.
PLUGIN_GROUP = "vfolder.backends"

_BUILT_IN: dict[str, type[Backend]] = {
    kind.name: kind for kind in (PosixBackend, XfsBackend, Ext4Backend, BtrfsBackend, CephFsBackend)
}

#: Loaded when a volume names them: the arrays' HTTP client costs others nothing, and `faulty` asks
#: this module for the backend it wraps.
_BY_PATH = {
    "faulty": "backends.faulty:FaultyBackend",
    "netapp": "backends.netapp.backend:NetAppBackend",
    "weka": "backends.weka.backend:WekaBackend",
    "vast": "backends.vast.backend:VastBackend",
    "purestorage": "backends.purestorage.backend:PureStorageBackend",
}


def backend_class(name: str) -> type[Backend]:
    """The class of a backend name, built in or from a plugin.

    Raises:
        ConfigurationError: nobody provides it; the names that exist are listed.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    if name in _BY_PATH:
        kind: type[Backend] = resolve_name(_BY_PATH[name])
        return kind
    for entry in entry_points(group=PLUGIN_GROUP):
        if entry.name == name:
            loaded: type[Backend] = entry.load()
            return loaded
    known = ", ".join(sorted([*_BUILT_IN, *_BY_PATH]))
    raise ConfigurationError(f"No backend is called {name!r}; known are {known}.")


class Volumes:
    """The volumes of this node, by name; backends are made once, on first use.

    Made before threads start: where a volume is ext4, the process gives up the right to write past
    its limits.
    """

    def __init__(self, settings: Settings) -> None:
        if any(table.backend == Ext4Backend.name for table in settings.volume.values()):
            privileges.renounce(privileges.CAP_SYS_RESOURCE)
        self._settings = settings
        self._backends: dict[str, Backend] = {}

    def follow(self, settings: Settings) -> None:
        """Know the volumes that are new in these settings."""
        self._settings = settings

    def names(self) -> list[str]:
        """Every configured volume."""
        return list(self._settings.volume)

    def get(self, name: str) -> Backend:
        """The backend of a volume.

        Raises:
            UnknownVolume: no volume of that name is configured.
        """
        table = self._settings.volume.get(name)
        if table is None:
            raise UnknownVolume("No volume of that name is configured.", volume=name)
        if name not in self._backends:
            mount = Mount(name, self._settings.volume_path(table), table.backend_options)
            self._backends[name] = self._limited(self._class(table.backend)(mount))
        return self._backends[name]

    def _class(self, name: str) -> type[Backend]:
        """The class of a backend; without rights, it asks the worker of the node about quota."""
        kind, desk = backend_class(name), self._settings.vfolder.worker.quota_socket
        return privileged.through(kind, Path(desk)) if desk else kind

    def _limited(self, backend: Backend) -> Backend:
        """The same; where the storage system holds no limits, we do."""
        if isinstance(backend, PosixBackend) and not isinstance(backend, HasQuota):
            ledger = QuotaLedger(connect(self._settings, Database.JOBS), backend.mount.volume)
            backend.soft = SoftQuota(ledger, Thresholds(self._settings), backend.root)
        return backend

    def all(self) -> Mapping[str, Backend]:
        """Every volume's backend.

        Raises:
            ConfigurationError: a volume names a backend that nobody provides.
        """
        return {name: self.get(name) for name in self.names()}
