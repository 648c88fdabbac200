"""The tables below `[vfolder]`, which only this service has. Durations are seconds."""

from typing import Literal
from urllib.parse import quote

from msgspec import field

from core.settings.access import AccessTable
from core.settings.notices import NoticesTable
from core.settings.reference import Table
from core.settings.units import Address, address, size_bytes


class RedisTarget(Table, frozen=True):
    """One Redis or Valkey: a URL, an address, or Sentinels that know the address."""

    #: `redis://` or `rediss://`, without a database number: this service chooses the databases.
    url: str | None = None
    #: `host:port`, as in the cluster's configuration.
    addr: str | None = None
    password: str | None = None
    #: `host:port,host:port`: these Sentinels know the master of `service-name`.
    sentinel: str | None = None
    service_name: str = "mymaster"
    sentinel_password: str | None = None
    use_tls: bool = False
    #: Accept any certificate: for tests and for trusted networks.
    tls_skip_verify: bool = False
    #: The authority of the server's certificate; None trusts those of the system.
    tls_ca: str | None = None

    @property
    def sentinels(self) -> list[Address]:
        """Return the addresses of the Sentinels; empty when there are none."""
        return [address(text) for text in (self.sentinel or "").split(",") if text.strip()]

    @property
    def is_external(self) -> bool:
        """Return whether it names a server outside this node."""
        return bool(self.url or self.addr or self.sentinel)

    @property
    def secure(self) -> bool:
        """Return whether connections use TLS."""
        return self.use_tls or (self.url or "").startswith("rediss://")

    @property
    def plain_url(self) -> str:
        """Return the URL without a database number; not for Sentinels."""
        if self.url:
            return self.url.rstrip("/")
        secret = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"{'rediss' if self.use_tls else 'redis'}://{secret}{self.addr}"


class RedisTable(RedisTarget, frozen=True):
    """`[vfolder.redis]`: the store of jobs, progress and tickets.

    Without `url`, `addr` and `sentinel`, `vfolder up` runs an embedded Valkey on 127.0.0.1:`port`
    with `password`; its data is below `state-dir`. `override-configs` names other servers for roles
    of the cluster (`stream`: events; `live`: discovery; `bgtask`; `tus`).
    """

    port: int = 16379
    #: Longest wait for a connection (seconds); after it the doors answer 503.
    connect_timeout: float = 1.0
    #: Longest wait for an answer (seconds), for example of a frozen server.
    answer_timeout: float = 2.0
    #: `[vfolder.redis.override-configs.ROLE]`: another target for one role of the cluster.
    override_configs: dict[str, RedisTarget] = field(default_factory=dict)

    def target(self, role: str = "") -> RedisTarget:
        """Return the server of a role: its override, else this one."""
        target: RedisTarget = self.override_configs.get(role, self)
        if target.is_external:
            return target
        return RedisTarget(addr=f"127.0.0.1:{self.port}", password=self.password)


class EtcdUseTable(Table, frozen=True):
    """`[vfolder.etcd]`: whether this node needs the cluster's `[etcd]`."""

    #: Start nothing while no member answers; otherwise the file is used alone then.
    required: bool = True


class JobsTable(Table, frozen=True):
    """`[vfolder.jobs]`: leases, ends and slots of jobs."""

    #: A run that does not renew its lease for this long is dead. It renews every fifth of this.
    lease_seconds: float = 30.0
    #: A job whose runs died more often than this fails as poison and is not tried again.
    max_losses: int = 5
    #: After a cancel, helper processes are killed when they do not end within this time.
    cancel_grace_seconds: float = 10.0
    #: The doorbell of a job that still waits after this time is sent again.
    ring_again_seconds: float = 60.0
    #: Ended jobs are removed after this time, by state.
    keep_succeeded_seconds: float = 7 * 86_400.0
    keep_failed_seconds: float = 30 * 86_400.0
    #: Jobs that may run at once per volume and lane, over all nodes.
    fast_slots: int = 4
    bulk_slots: int = 2
    #: Another broker for doorbells (`amqp://…` for RabbitMQ); None uses Redis.
    broker: str | None = None


class WorkerTable(Table, frozen=True):
    """`[vfolder.worker]`: the worker of this node."""

    #: Jobs that this node runs at once, each in a process of its own.
    concurrency: int = 4
    #: Processes that the tree walk of one job may use; 0 means one per processor.
    tree_processes: int = 0
    #: Priority of the tree walks of bulk jobs: 0 to 19, a higher number gives way (nice(2)).
    bulk_nice: int = 5
    #: Whether they use the disk only when no other process does (ioprio_set(2), idle class).
    bulk_idle_io: bool = False
    #: Volumes that this node serves; empty means all whose mount is proved.
    volumes: list[str] = field(default_factory=list)
    #: The mount of each volume is proved this often.
    prove_seconds: float = 10.0
    #: A volume that takes longer to answer is not served.
    prove_timeout: float = 5.0
    #: Socket where the worker sets quota for doors that do not run as root; empty: none.
    quota_socket: str = ""

    def serves(self, volume: str) -> bool:
        """Return whether this node serves a volume of its file."""
        return not self.volumes or volume in self.volumes


class MountsTable(Table, frozen=True):
    """`[vfolder.mounts]`: which volumes are mounts, and what the manager may mount below them."""

    #: Volumes whose path must be a mount point, by name; true for all.
    require_mount: bool | list[str] = False
    #: `TYPE SOURCE`, the source a pattern with `*`: `nfs nas1:/export/*`. Empty permits no mount.
    allowed: list[str] = field(default_factory=list)
    #: Options that the manager may set; nosuid and nodev are always set.
    options: str = "ro,rw,noatime,hard,soft"
    #: Longest time of mount(8) (seconds).
    timeout: float = 30.0

    def requires(self, volume: str) -> bool:
        """Return whether the path of a volume must be a mount point."""
        required = self.require_mount
        return required if isinstance(required, bool) else volume in required


class DoorsTable(Table, frozen=True):
    """`[vfolder.doors]`: the HTTP processes of this node."""

    #: gunicorn processes per door; 0 means one per processor, four at most.
    processes: int = 0
    #: Threads per process: each holds one request.
    threads: int = 128
    #: Open event streams per process; each holds a descriptor and no thread.
    streams: int = 2000
    #: Callers per process that may wait for the end of a job; each holds a thread.
    waits: int = 100
    #: The client door's URL for people; empty: tickets carry none, the manager knows the URL.
    client_url: str = ""
    #: Longest time of a call to a backend; after it the door answers 504.
    backend_timeout: float = 20.0
    #: After SIGTERM, streams have this long to end.
    grace_seconds: float = 10.0
    #: Origins (`https://ui.example`) whose pages may read what the client door answers. Empty:
    #: every origin, but only at the routes where a ticket is the one credential.
    origins: list[str] = field(default_factory=list)
    #: Directories outside all volumes that download tickets may name; empty: none.
    unmanaged_roots: list[str] = field(default_factory=list)
    #: The header that lets the proxy in front send the file: `X-Accel-Redirect` (nginx) or
    #: `X-Sendfile`; empty: the door sends it. The path in it is `handoff-prefix`, volume, file.
    handoff_header: str = ""
    handoff_prefix: str = "/protected"
    #: Number of trusted proxies in front (X-Forwarded-*); 0 trusts none.
    trusted_proxies: int = 0
    #: The head of a request must be there after this long; else the door closes the connection.
    head_seconds: float = 20.0
    #: A body that is no upload must be there after this long; else the door answers 408.
    body_seconds: float = 60.0
    #: Connections of one address per process that wait for a head or are kept alive; with more, the
    #: oldest is closed. 0 is no limit. A proxy is one address.
    waiting_per_address: int = 512


class UploadsTable(Table, frozen=True):
    """`[vfolder.uploads]`: how many uploads may be open at a time; 0 is no bound.

    An upload is open from its creation to its last byte, its end by DELETE, or a day of silence.
    """

    #: Open uploads that the holder of one ticket may have.
    per_ticket: int = 1_000
    #: What they may announce together, as a multiple of the ticket's size.
    sizes_per_ticket: int = 4
    #: The same for a ticket for a directory, whose size is that of the largest file.
    sizes_per_tree_ticket: int = 64
    #: Open uploads in one quota scope of a volume, and those that one node opened.
    per_scope: int = 200_000
    per_node: int = 500_000


class EntriesTable(Table, frozen=True):
    """`[vfolder.entries]`: what files and directories are like that callers create and replace."""

    #: Who owns a new entry: the user of the service, or the owner and group of its directory, for
    #: vfolders of other users. That needs root or the capability CAP_CHOWN.
    owner: Literal["service", "directory"] = "service"
    #: A file that an upload replaces keeps its mode, owner, ACL and xattrs, or is as a new one.
    overwrite: Literal["keep", "new"] = "keep"


class FlowerTable(Table, frozen=True):
    """`[vfolder.flower]`: Flower, the read-only view of tasks for operators."""

    addr: str = "127.0.0.1:5555"
    user: str = "operator"
    password: str | None = None
    #: The path below which it answers, behind a proxy that has other services too.
    url_prefix: str = ""

    @property
    def address(self) -> Address:
        """Return the address where it listens."""
        return address(self.addr)

    @property
    def path(self) -> str:
        """Return the path of its first page."""
        prefix = self.url_prefix.strip("/")
        return f"/{prefix}/" if prefix else "/"


class TrashTable(Table, frozen=True):
    """`[vfolder.trash]`: how long deleted vfolders are kept."""

    #: A deleted vfolder can be restored for this long; 0 purges at once. A request may set another.
    keep_seconds: float = 0.0
    #: Most entries that one purge removes per second; 0 is no limit.
    purge_entries_per_second: float = 0.0


class UsageTable(Table, frozen=True):
    """`[vfolder.usage]`: how the usage of a big vfolder is answered."""

    #: A caller waits this long for a count; keep it below the manager's patience (300 s).
    answer_seconds: float = 240.0
    #: Figures of an earlier count are returned for this long; 0 counts for every call.
    reuse_seconds: float = 600.0


class SweepsTable(Table, frozen=True):
    """`[vfolder.sweeps]`: periodic upkeep of the volumes."""

    #: Pause between two rescans of a volume, plus or minus a tenth; 0 is never.
    rescan_seconds: float = 86_400.0


class ConsoleTable(Table, frozen=True):
    """`[vfolder.console]`: the console in the browser, where the client door has people."""

    enabled: bool = True


class OwnTables(Table, frozen=True):
    """`[vfolder]`: all settings that the reference service does not have."""

    #: Directory of our own files (embedded store, beat's schedule, metrics), relative to the
    #: configuration file.
    state_dir: str = "."
    redis: RedisTable = field(default_factory=RedisTable)
    etcd: EtcdUseTable = field(default_factory=EtcdUseTable)
    jobs: JobsTable = field(default_factory=JobsTable)
    trash: TrashTable = field(default_factory=TrashTable)
    usage: UsageTable = field(default_factory=UsageTable)
    sweeps: SweepsTable = field(default_factory=SweepsTable)
    #: `[vfolder.bandwidth]`: bytes per second that the jobs and streams of a volume share.
    bandwidth: dict[str, int | str] = field(default_factory=dict)
    worker: WorkerTable = field(default_factory=WorkerTable)
    mounts: MountsTable = field(default_factory=MountsTable)
    doors: DoorsTable = field(default_factory=DoorsTable)
    uploads: UploadsTable = field(default_factory=UploadsTable)
    entries: EntriesTable = field(default_factory=EntriesTable)
    flower: FlowerTable = field(default_factory=FlowerTable)
    #: `[vfolder.access]` turns on the API for people; without it there is none.
    access: AccessTable | None = None
    console: ConsoleTable = field(default_factory=ConsoleTable)
    notices: NoticesTable = field(default_factory=NoticesTable)

    def bytes_per_second(self, volume: str) -> int | None:
        """Return the budget of a volume in `[vfolder.bandwidth]`; None when it has none.

        Raises:
            ValueError: the value is not a size.
        """
        text = self.bandwidth.get(volume)
        return None if text is None else size_bytes(text)
