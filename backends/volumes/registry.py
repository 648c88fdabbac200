"""Backends by name, and the volumes of this node. Plugins are found by their entry point."""

import traceback
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import resolve_name

from backends.base import Backend, HasQuota, Mount, MountedBackend, Owner
from backends.entries import HasObjects, count_objects
from backends.mounted import PosixBackend, check_options
from backends.quota import Patience, SoftQuota, count_files
from backends.systems.btrfs import BtrfsBackend
from backends.systems.cephfs import CephFsBackend
from backends.systems.xfs import Ext4Backend, XfsBackend
from backends.volumes.identity import MarkerIdentity
from backends.volumes.vfolder_limits import RecordLimits
from backends.volumes.wrappers import (
    FaultyBackend,
    PrivilegedQuotaBackend,
    SoftQuotaBackend,
    VFolderQuotaBackend,
)
from core.access import Seals
from core.errors import ConfigurationError, UnknownVolume, VolumeUnavailable
from core.process import privileges
from core.quota import QuotaLedger, Thresholds, TotalLimits
from core.redis import Database, connect
from core.settings import Settings

#: Entry points of this group name backend classes: `mine = "package.module:MyBackend"`.
PLUGIN_GROUP = "vfolder.backends"

#: What makes the backend of a volume: a backend class, or a function.
BackendFactory = Callable[[Mount], Backend]

_BUILT_IN: dict[str, type[Backend]] = {
    kind.name: kind for kind in (PosixBackend, XfsBackend, Ext4Backend, BtrfsBackend, CephFsBackend)
}

#: File systems where a process with CAP_SYS_RESOURCE writes past every limit.
_LETS_ROOT_PASS = (Ext4Backend.name, "exascaler")

#: Imported when a volume names them: most of them need the arrays' HTTP client.
_BY_PATH = {
    "dellemc-onefs": "backends.systems.onefs.backend:OneFsBackend",
    "gpfs": "backends.systems.gpfs.backend:gpfs",
    "exascaler": "backends.systems.lustre:LustreBackend",
    "hammerspace": "backends.systems.hammerspace.backend:HammerspaceBackend",
    "hammerspace-base": "backends.systems.hammerspace.backend:HammerspaceBaseBackend",
    "spectrumscale": "backends.systems.gpfs.backend:spectrumscale",
    "netapp": "backends.systems.netapp.backend:NetAppBackend",
    "weka": "backends.systems.weka.backend:weka",
    "vast": "backends.systems.vast.backend:vast",
    "s3": "backends.systems.s3.backend:S3Backend",
    "purestorage": "backends.systems.purestorage.backend:PureStorageBackend",
}


def backend_factory(name: str) -> BackendFactory:
    """Return what makes backends of a name: built in, or from a plugin.

    Raises:
        ConfigurationError: no package provides this name (the detail has the nearest and all known
            names), or the package that provides it cannot be imported.
    """
    if name == FaultyBackend.name:
        return faulty
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    if name in _BY_PATH:
        built_in: BackendFactory = resolve_name(_BY_PATH[name])
        return built_in
    plugins = {entry.name: entry for entry in entry_points(group=PLUGIN_GROUP)}
    if name in plugins:
        return _loaded(plugins[name])
    known = sorted([*_BUILT_IN, *_BY_PATH, FaultyBackend.name, *plugins])
    near = "".join(f"did you mean `{one}`? " for one in get_close_matches(name, known, 1))
    raise ConfigurationError(f"No backend is called {name!r}; {near}known are {', '.join(known)}.")


def _loaded(plugin: EntryPoint) -> BackendFactory:
    try:
        factory: BackendFactory = plugin.load()
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ConfigurationError(
            f"The backend {plugin.name!r} ({plugin.value}) cannot be loaded: {error}."
        ) from error
    except Exception as error:
        raise ConfigurationError(f"{_origin(plugin.name)} {raised(error)}.") from error
    return factory


def raised(error: Exception) -> str:
    """Return where and how code of a backend failed; its words may hold a secret, so not them."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"raised {type(error).__name__} at {Path(last.filename).name} line {last.lineno}"


def _origin(name: str) -> str:
    """Return what people know a backend by: its name, and the package of a plugin."""
    for plugin in entry_points(group=PLUGIN_GROUP, name=name):
        return f"the plugin {name!r} ({plugin.value})"
    return f"the backend {name!r}"


def create_backend(name: str, mount: Mount) -> Backend:
    """Return a new backend of a name, after a check of the volume's options.

    Raises:
        ConfigurationError: no such backend, wrong options, or its own code failed.
    """
    factory = backend_factory(name)
    options_type = vars(factory).get("options_type")
    if options_type is not None:
        check_options(mount, options_type)
    try:
        return factory(mount)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"[volume.{mount.volume}]: {_origin(name)} {raised(error)}."
        ) from error


def check_mount(name: str, mount: Mount) -> None:
    """Prove a volume as the start does, as far as calls on its mount go: they change nothing.

    Raises:
        ConfigurationError: as `create_backend`.
        StorageError: the volume would be down; the detail says why.
    """
    posix = create_backend(name, mount).skill(PosixBackend)
    if posix is not None:
        posix.check_mount()


def faulty(mount: Mount) -> Backend:
    """Make the backend that the options name, with faults (see `backends.volumes.wrappers.faulty`).

    Raises:
        ConfigurationError: the options name no other backend, or no file of faults.
    """
    options = dict(mount.options)
    name, faults = options.pop("backend", PosixBackend.name), options.pop("faults", "")
    if name == FaultyBackend.name or not faults:
        raise ConfigurationError(
            f"[volume.{mount.volume}.options]: `backend` names another backend and `faults` a file."
        )
    inner = create_backend(name, replace(mount, options=options))
    return FaultyBackend(inner, Path(faults))


class Volumes:
    """The volumes of this node, by name; each backend is made once, on first use.

    Make it before threads start: where a volume is ext4, the process gives up the right to write
    past the volume's limits.
    """

    def __init__(self, settings: Settings, patiently: Patience | None = None) -> None:
        """Take the settings; `patiently` calls the ledger of quotas while the store may be away."""
        if any(table.backend in _LETS_ROOT_PASS for table in settings.volume.values()):
            privileges.drop(privileges.CAP_SYS_RESOURCE)
        self._settings = settings
        self._patiently = patiently
        self._backends: dict[str, Backend] = {}

    def follow(self, settings: Settings) -> None:
        """Add the volumes that are new in these settings."""
        self._settings = settings

    def names(self) -> list[str]:
        """Return the name of every configured volume."""
        return list(self._settings.volume)

    def get(self, name: str) -> Backend:
        """Return the backend of a volume.

        Raises:
            UnknownVolume: no volume of this name is configured.
            VolumeUnavailable: its configuration is wrong; `mistake` says how.
        """
        try:
            return self._made(name)
        except ConfigurationError as error:
            raise VolumeUnavailable(
                f"The configuration of volume {name} is wrong on this node; /readyz and `vfolder "
                "nodes` say what to mend.",
                volume=name,
            ) from error

    def mistake(self, name: str) -> str | None:
        """Return what is wrong in the configuration of a volume; None when it is right.

        Raises:
            UnknownVolume: no volume of this name is configured.
        """
        try:
            self._made(name)
        except ConfigurationError as error:
            return error.detail
        return None

    def _made(self, name: str) -> Backend:
        table = self._settings.volume.get(name)
        if table is None:
            raise UnknownVolume("No volume of that name is configured.", volume=name)
        if name not in self._backends:
            path = self._settings.volume_path(table)
            identity = MarkerIdentity(self._settings, name)
            own = self._settings.vfolder.entries
            mount = Mount(
                name,
                path,
                table.backend_options,
                identity,
                owner=Owner(own.owner),
                keeps_attributes=own.overwrite == "keep",
            )
            self._backends[name] = self._wrapped(create_backend(table.backend, mount))
        return self._backends[name]

    def _wrapped(self, backend: Backend) -> Backend:
        """Wrap a backend for limits: by the worker's rights, or by this service itself.

        Where the storage system enforces limits and this process has not the rights to set them,
        the worker of the node sets them. Where the storage system has no limits, we enforce them.
        """
        quota_socket = self._settings.vfolder.worker.quota_socket
        mounted = backend.skill(MountedBackend)
        if backend.skill(HasQuota):
            if quota_socket and not privileges.has(privileges.CAP_SYS_ADMIN):
                backend = PrivilegedQuotaBackend(backend, Path(quota_socket))
            if mounted is None or self._settings.vfolder.access is None:
                return backend
            quota = replace(self._quota(mounted), holds_scopes=False)
            return VFolderQuotaBackend(backend, quota)
        return backend if mounted is None else SoftQuotaBackend(mounted, self._quota(mounted))

    def _quota(self, backend: MountedBackend) -> SoftQuota:
        """Return what this service limits on a volume: scopes, and with people single vfolders."""
        ledger = QuotaLedger(connect(self._settings, Database.JOBS), backend.mount.volume)
        thresholds = Thresholds(self._settings)
        objects = backend.skill(HasObjects)
        count = count_files if objects is None else partial(count_objects, objects)
        quota = SoftQuota(ledger, thresholds, backend.root, self._patiently, count)
        if self._settings.vfolder.access is None:
            return quota
        own = RecordLimits(backend, Seals(self._settings.seal_secrets))
        totals = TotalLimits(connect(self._settings, Database.JOBS))
        return replace(quota, vfolder_limit=own, totals=totals)
