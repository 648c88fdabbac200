"""The tables of `storage-proxy.toml` that the reference service defines (keys in kebab-case).

Every key of the reference is accepted. Keys for parts that this service does not have (event loop,
debug consoles, watcher process) have no effect. They are marked «no effect» here, and `vfolder
config check` reports them.
"""

from socket import gethostname
from typing import Any

from msgspec import Struct, field

from core.settings.artifacts import (
    ArtifactRegistryTable,
    ArtifactStorageTable,
    ArtifactVerifierTable,
    ReservoirClientTable,
)
from core.settings.units import Address, address, seconds, size_bytes

DEFAULT_SCANDIR_LIMIT = 1000
DEFAULT_MAX_UPLOAD_SIZE = "100g"
DEFAULT_ANNOUNCE_ADDR = "127.0.0.1:6022"
DEFAULT_ANNOUNCE_INTERNAL_ADDR = "host.docker.internal:6023"
#: A door listens here on every interface; no other node can connect to it by this name.
_EVERY_INTERFACE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, never bound


class Table(Struct, frozen=True, rename="kebab", forbid_unknown_fields=True, kw_only=True):
    """Base of all tables: unknown keys are refused."""


class EtcdTable(Table, frozen=True):
    """`[etcd]`: the server of the cluster's configuration, when it is used."""

    namespace: str = "local"
    addr: str | dict[str, Any] | list[str | dict[str, Any]] = "127.0.0.1:2379"
    user: str | None = None
    password: str | None = None


class VolumeStatsTable(Table, frozen=True):
    """`[storage-proxy.volume-stats]`: how often speeds are observed, how long kept (seconds)."""

    observe_interval: float = 10.0
    observe_timeout: float = 5.0
    cache_ttl: float = 30.0


class StorageProxyTable(Table, frozen=True):
    """`[storage-proxy]`: this node."""

    node_id: str
    secret: str
    session_expire: float | str
    num_proc: int | None = None
    pid_file: str | None = None  # no effect
    event_loop: str | None = None  # no effect
    ipc_base_path: str | None = None  # no effect
    scandir_limit: int = DEFAULT_SCANDIR_LIMIT
    max_upload_size: int | str = DEFAULT_MAX_UPLOAD_SIZE
    #: The user and group of the doors; see `core.process.identity`.
    user: str | int | None = None
    group: str | int | None = None
    aiomonitor_port: int | None = None  # no effect
    aiomonitor_termui_port: int | None = None  # no effect
    aiomonitor_webui_port: int | None = None  # no effect
    use_watcher: bool = False  # no effect: workers have the privilege
    watcher_insock_path_prefix: str | None = None  # no effect
    watcher_outsock_path_prefix: str | None = None  # no effect
    allow_auto_quota_scope_creation: bool = True
    volume_stats: VolumeStatsTable = field(default_factory=VolumeStatsTable)

    @property
    def session_expire_seconds(self) -> float:
        """Return how long a ticket is valid."""
        return seconds(self.session_expire)

    @property
    def max_upload_bytes(self) -> int:
        """Return the size of the largest upload that gets a ticket."""
        return size_bytes(self.max_upload_size)


class DoorTable(Table, frozen=True):
    """What the manager door and the client door have in common."""

    service_addr: str | dict[str, Any] = ""
    ssl_enabled: bool = False
    #: Files in PEM form; the certificate may be followed by those of its authorities.
    ssl_cert: str | None = None
    ssl_privkey: str | None = None

    @property
    def address(self) -> Address:
        """Return the address where it listens."""
        return address(self.service_addr)

    @property
    def scheme(self) -> str:
        """Return the scheme of its URLs."""
        return "https" if self.ssl_enabled else "http"


class ClientDoorTable(DoorTable, frozen=True):
    """`[api.client]`: the client door, for uploads and downloads of people."""

    service_addr: str | dict[str, Any] = "127.0.0.1:6021"


def _reachable(found: Address) -> Address:
    return Address(gethostname(), found.port) if found.host in _EVERY_INTERFACE else found


class ManagerDoorTable(DoorTable, frozen=True, kw_only=True):
    """`[api.manager]`: the manager door and the internal door."""

    secret: str
    service_addr: str | dict[str, Any] = "127.0.0.1:6022"
    announce_addr: str | dict[str, Any] = DEFAULT_ANNOUNCE_ADDR
    internal_addr: str | dict[str, Any] = "127.0.0.1:16023"
    announce_internal_addr: str | dict[str, Any] = DEFAULT_ANNOUNCE_INTERNAL_ADDR

    @property
    def url(self) -> str:
        """Where the doors of other nodes find this one; empty where its addresses do not say.

        `announce-addr`, or the address where the door listens when `announce-addr` has its default.
        """
        default = self.announce_addr == DEFAULT_ANNOUNCE_ADDR
        found = self.address if default else address(self.announce_addr)
        if found.host in _EVERY_INTERFACE:
            return ""
        return f"{self.scheme}://{found}"

    @property
    def internal_address(self) -> Address:
        """Return the address of the internal door: metrics and probes."""
        return address(self.internal_addr)

    @property
    def announced(self) -> tuple[Address, Address]:
        """Return what discovery announces of the manager door and the internal door.

        Each is where the door listens, unless its `announce-` setting is set. A door that listens
        on every interface is announced by the name of the host.
        """
        main = self.announce_addr
        internal = self.announce_internal_addr
        return (
            _reachable(self.address if main == DEFAULT_ANNOUNCE_ADDR else address(main)),
            _reachable(
                self.internal_address
                if internal == DEFAULT_ANNOUNCE_INTERNAL_ADDR
                else address(internal)
            ),
        )


class ApiTable(Table, frozen=True):
    """`[api]`."""

    manager: ManagerDoorTable
    client: ClientDoorTable = field(default_factory=ClientDoorTable)


class VolumeTable(Table, frozen=True):
    """`[volume.NAME]`: a backend and where its file system is mounted."""

    backend: str
    path: str
    fsprefix: str = "."
    options: dict[str, Any] | None = None

    @property
    def backend_options(self) -> dict[str, Any]:
        """Return the options that the class of the backend reads."""
        return self.options or {}


class ReferenceTables(Table, frozen=True):
    """All tables of the file, except our `[vfolder]`."""

    storage_proxy: StorageProxyTable
    api: ApiTable
    volume: dict[str, VolumeTable] = field(default_factory=dict)
    etcd: EtcdTable | None = None
    debug: dict[str, Any] = field(default_factory=dict)
    logging: dict[str, Any] = field(default_factory=dict)
    pyroscope: dict[str, Any] = field(default_factory=dict)
    otel: dict[str, Any] = field(default_factory=dict)
    service_discovery: dict[str, Any] = field(default_factory=dict)
    artifact_storages: dict[str, ArtifactStorageTable] = field(default_factory=dict)
    artifact_registries: dict[str, ArtifactRegistryTable] = field(default_factory=dict)
    artifact_verifiers: dict[str, ArtifactVerifierTable] = field(default_factory=dict)
    reservoir_client: ReservoirClientTable = field(default_factory=ReservoirClientTable)
