"""Our own settings: the tables below `[vfolder]`. Durations are seconds, sizes bytes."""

from urllib.parse import quote

from msgspec import field

from core.settings.reference import Table
from core.settings.units import Address, address, size_bytes


class RedisTarget(Table, frozen=True):
    """One Redis or Valkey: a URL, an address, or a group of Sentinels that know the address."""

    #: `redis://` or `rediss://`, without a database number: that is ours to choose.
    url: str | None = None
    #: `host:port`, as the cluster's configuration has it.
    addr: str | None = None
    password: str | None = None
    #: `host:port,host:port`: ask these who is master of `service-name`.
    sentinel: str | None = None
    service_name: str = "mymaster"
    sentinel_password: str | None = None
    use_tls: bool = False
    #: Take any certificate: for tests and for networks that are trusted anyway.
    tls_skip_verify: bool = False
    #: The authority that signed the server's certificate; None trusts the system's.
    tls_ca: str | None = None

    @property
    def sentinels(self) -> list[Address]:
        """Where the Sentinels listen; empty when there are none."""
        return [address(text) for text in (self.sentinel or "").split(",") if text.strip()]

    @property
    def is_external(self) -> bool:
        """Whether it says where to go."""
        return bool(self.url or self.addr or self.sentinel)

    @property
    def secure(self) -> bool:
        """Whether the connection is TLS."""
        return self.use_tls or (self.url or "").startswith("rediss://")

    @property
    def plain_url(self) -> str:
        """The URL without a database number, for all but Sentinels."""
        if self.url:
            return self.url.rstrip("/")
        secret = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"{'rediss' if self.use_tls else 'redis'}://{secret}{self.addr}"


class RedisTable(RedisTarget, frozen=True):
    """`[vfolder.redis]`: the store of jobs, progress and tickets.

    Without `url`, `addr` or `sentinel`, `vfolder up` runs an embedded Valkey on 127.0.0.1:`port`
    with `password`, its data below `state-dir`. The roles of the cluster that may live elsewhere
    (`stream`: events; `live`: discovery; `bgtask`; `tus`) are named in `override-configs`.
    """

    port: int = 16379
    #: Give up on a connection after this many seconds; the doors answer 503 then.
    connect_timeout: float = 1.0
    #: Give up on an answer after this many seconds (a frozen server).
    answer_timeout: float = 2.0
    #: `[vfolder.redis.override-configs.ROLE]`: another target for one role of the cluster.
    override_configs: dict[str, RedisTarget] = field(default_factory=dict)

    def target(self, role: str = "") -> RedisTarget:
        """Where a role lives: its override, else this."""
        found: RedisTarget = self.override_configs.get(role, self)
        if found.is_external:
            return found
        return RedisTarget(addr=f"127.0.0.1:{self.port}", password=self.password)


class EtcdUseTable(Table, frozen=True):
    """`[vfolder.etcd]`: how much depends on the cluster's `[etcd]`."""

    #: Refuse to start when no member answers; otherwise the file stands alone then.
    required: bool = False


class JobsTable(Table, frozen=True):
    """`[vfolder.jobs]`: how jobs live and end."""

    #: A run that has not renewed its lease for this long is dead. Renewed every fifth of it.
    lease_seconds: float = 30.0
    #: A job whose run died this often is failed as poison instead of being tried again.
    max_losses: int = 5
    #: After a cancel, helper processes get this long before they are killed.
    cancel_grace_seconds: float = 10.0
    #: A doorbell older than this is rung again if its job still waits.
    ring_again_seconds: float = 60.0
    #: Ended jobs are forgotten after this many seconds, by state.
    keep_succeeded_seconds: float = 7 * 86_400.0
    keep_failed_seconds: float = 30 * 86_400.0
    #: Jobs that may run at once per volume and lane, over all nodes.
    fast_slots: int = 4
    bulk_slots: int = 2
    #: Another broker for doorbells (`amqp://…` for RabbitMQ); None uses Redis.
    broker: str | None = None


class WorkerTable(Table, frozen=True):
    """`[vfolder.worker]`: the hands of this node."""

    #: Jobs this node runs at once (processes).
    concurrency: int = 4
    #: Processes one job's tree walk may use; 0 means one per processor.
    tree_processes: int = 0
    #: How far the walks of bulk jobs give way to others of the processor (nice(2), 0 to 19).
    bulk_nice: int = 5
    #: Whether they get the disk only when nobody else wants it (ioprio_set(2), idle class).
    bulk_idle_io: bool = False
    #: Volumes this node serves; empty means all that prove to be mounted.
    volumes: list[str] = field(default_factory=list)
    #: How often each volume is proved to be there.
    prove_seconds: float = 10.0
    #: A volume whose answer takes longer is not served.
    prove_timeout: float = 5.0
    #: Where doors that do not run as root ask this node's worker about quota; empty is nowhere.
    quota_socket: str = ""


class MountsTable(Table, frozen=True):
    """`[vfolder.mounts]`: what the manager may have mounted below volumes (`do_volume_mount`)."""

    #: `TYPE SOURCE`, the source a pattern with `*`: `nfs nas1:/export/*`. Empty ignores the words.
    allowed: list[str] = field(default_factory=list)
    #: Options it may ask for; nosuid and nodev always hold.
    options: str = "ro,rw,noatime,hard,soft"
    #: mount(8) gets this long (seconds).
    timeout: float = 30.0


class DoorsTable(Table, frozen=True):
    """`[vfolder.doors]`: the HTTP processes of this node."""

    #: gunicorn processes per door; 0 means one per processor, four at most.
    processes: int = 0
    #: Threads per process: each holds one request.
    threads: int = 128
    #: Callers per process that may wait on a job's changes; each holds a thread.
    streams: int = 100
    #: The client door's URL as people reach it; empty means what the manager is told elsewhere.
    client_url: str = ""
    #: A call to a backend may take this long before it is answered 504.
    backend_timeout: float = 20.0
    #: Streams get this long to end after SIGTERM.
    grace_seconds: float = 10.0
    #: Directories outside of every volume that download tickets may name; empty gives none.
    unmanaged_roots: list[str] = field(default_factory=list)
    #: Let the proxy in front send the bytes: `X-Accel-Redirect` (nginx) or `X-Sendfile`; empty
    #: sends them from here. Its path is `handoff-prefix` and the volume's name, then the file.
    handoff_header: str = ""
    handoff_prefix: str = "/protected"
    #: Hops of trusted proxies in front (X-Forwarded-*); 0 trusts none.
    trusted_proxies: int = 0


class FlowerTable(Table, frozen=True):
    """`[vfolder.flower]`: the operators' view of tasks, read-only."""

    addr: str = "127.0.0.1:5555"
    user: str = "operator"
    password: str | None = None

    @property
    def address(self) -> Address:
        """Where it listens."""
        return address(self.addr)


class TrashTable(Table, frozen=True):
    """`[vfolder.trash]`: what becomes of deleted vfolders."""

    #: A deleted vfolder can be restored for this long; 0 purges at once. A request may say else.
    keep_seconds: float = 0.0
    #: Entries that one purge removes per second; 0 does not hold it back.
    purge_entries_per_second: float = 0.0


class SweepsTable(Table, frozen=True):
    """`[vfolder.sweeps]`: periodic upkeep of the volumes."""

    #: Each volume is rescanned about this often, give or take a tenth; 0 never does.
    rescan_seconds: float = 86_400.0


class OwnTables(Table, frozen=True):
    """`[vfolder]`: everything the reference has no words for."""

    #: Our own files: embedded store, beat's schedule, metrics; relative to the configuration file.
    state_dir: str = "."
    redis: RedisTable = field(default_factory=RedisTable)
    etcd: EtcdUseTable = field(default_factory=EtcdUseTable)
    jobs: JobsTable = field(default_factory=JobsTable)
    trash: TrashTable = field(default_factory=TrashTable)
    sweeps: SweepsTable = field(default_factory=SweepsTable)
    #: `[vfolder.bandwidth]`: bytes a second that the jobs and streams of a volume may
    #: move together.
    bandwidth: dict[str, int | str] = field(default_factory=dict)
    worker: WorkerTable = field(default_factory=WorkerTable)
    mounts: MountsTable = field(default_factory=MountsTable)
    doors: DoorsTable = field(default_factory=DoorsTable)
    flower: FlowerTable = field(default_factory=FlowerTable)

    def bytes_per_second(self, volume: str) -> int | None:
        """What `[vfolder.bandwidth]` says of a volume; None when nothing.

        Raises:
            ValueError: it is no size.
        """
        text = self.bandwidth.get(volume)
        return None if text is None else size_bytes(text)
