"""The tables of `storage-proxy.toml` as the reference defines them (keys in kebab-case).

Every key of the reference is read. Those that steer what this service does not have (its event
loop, its debug consoles, its watcher process) are accepted and have no effect; they are marked
«no effect» here, and `vfolder config check` says so.
"""

from typing import Any

from msgspec import Struct, field

from core.settings.units import Address, address, seconds, size_bytes

DEFAULT_SCANDIR_LIMIT = 1000
DEFAULT_MAX_UPLOAD_SIZE = "100g"
DEFAULT_ANNOUNCE_ADDR = "127.0.0.1:6022"
#: A door listens here on every interface; no other node can connect to it by this name.
_EVERY_INTERFACE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, never bound


class Table(Struct, frozen=True, rename="kebab", forbid_unknown_fields=True, kw_only=True):
    """Base of all tables: unknown keys are refused."""


class EtcdTable(Table, frozen=True):
    """`[etcd]`: where the cluster's configuration lives, when it is used."""

    namespace: str = "local"
    addr: str | dict[str, Any] | list[str | dict[str, Any]] = "127.0.0.1:2379"
    user: str | None = None
    password: str | None = None


class VolumeStatsTable(Table, frozen=True):
    """`[storage-proxy.volume-stats]`: how often a volume's speed is asked and how long kept (s)."""

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
    #: As whom the doors run; see `core.process.identity`.
    user: str | int | None = None
    group: str | int | None = None
    aiomonitor_port: int | None = None  # no effect
    aiomonitor_termui_port: int | None = None  # no effect
    aiomonitor_webui_port: int | None = None  # no effect
    use_watcher: bool = False  # no effect: workers hold the privilege
    watcher_insock_path_prefix: str | None = None  # no effect
    watcher_outsock_path_prefix: str | None = None  # no effect
    allow_auto_quota_scope_creation: bool = True
    volume_stats: VolumeStatsTable = field(default_factory=VolumeStatsTable)

    @property
    def session_expire_seconds(self) -> float:
        """How long a ticket is good for."""
        return seconds(self.session_expire)

    @property
    def max_upload_bytes(self) -> int:
        """The largest upload that gets a ticket."""
        return size_bytes(self.max_upload_size)


class ClientDoorTable(Table, frozen=True):
    """`[api.client]`: the door for people."""

    service_addr: str | dict[str, Any] = "127.0.0.1:6021"
    ssl_enabled: bool = False
    ssl_cert: str | None = None
    ssl_privkey: str | None = None

    @property
    def address(self) -> Address:
        """Where it listens."""
        return address(self.service_addr)


class ManagerDoorTable(Table, frozen=True):
    """`[api.manager]`: the door for the manager service, and the internal one."""

    secret: str
    service_addr: str | dict[str, Any] = "127.0.0.1:6022"
    announce_addr: str | dict[str, Any] = DEFAULT_ANNOUNCE_ADDR
    internal_addr: str | dict[str, Any] = "127.0.0.1:16023"
    announce_internal_addr: str | dict[str, Any] = "host.docker.internal:6023"
    ssl_enabled: bool = False
    ssl_cert: str | None = None
    ssl_privkey: str | None = None

    @property
    def address(self) -> Address:
        """Where it listens."""
        return address(self.service_addr)

    @property
    def url(self) -> str:
        """Where the doors of other nodes find this one; empty where its addresses do not say.

        `announce-addr`, or the address where the door listens when `announce-addr` has its default.
        """
        default = self.announce_addr == DEFAULT_ANNOUNCE_ADDR
        host, port = self.address if default else address(self.announce_addr)
        if host in _EVERY_INTERFACE:
            return ""
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self.ssl_enabled else 'http'}://{shown}:{port}"

    @property
    def internal_address(self) -> Address:
        """Where metrics and probes listen."""
        return address(self.internal_addr)


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
        """What the backend's own class reads."""
        return self.options or {}


class ReferenceTables(Table, frozen=True):
    """The whole file, less our own `[vfolder]`."""

    storage_proxy: StorageProxyTable
    api: ApiTable
    volume: dict[str, VolumeTable] = field(default_factory=dict)
    etcd: EtcdTable | None = None
    debug: dict[str, Any] = field(default_factory=dict)
    logging: dict[str, Any] = field(default_factory=dict)
    pyroscope: dict[str, Any] = field(default_factory=dict)
    otel: dict[str, Any] = field(default_factory=dict)
    service_discovery: dict[str, Any] = field(default_factory=dict)
    artifact_storages: dict[str, Any] = field(default_factory=dict)
    artifact_registries: dict[str, Any] = field(default_factory=dict)
    reservoir_client: dict[str, Any] = field(default_factory=dict)
    storages: list[dict[str, Any]] = field(default_factory=list)
    registries: list[dict[str, Any]] = field(default_factory=list)
