"""Two worker nodes that share one volume and one store, and the faults that tests cause."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
from celery import Celery
from redis.exceptions import RedisError

from backends.base import Mount
from backends.mounted import PosixBackend
from core.cluster import BandwidthStore, NodeStore
from core.jobs import Job, State
from core.jobs.requests import CloneRequest, DeleteRequest, UsageRequest
from core.jobs.store import Doorbell, JobLists, JobStore, Submission
from core.names import QuotaScope, VFolderId
from core.settings import Settings, load
from tests.chaos.check import ledger
from tests.chaos.node import ExerciseRequest, hold_of
from tests.support import preloaded
from tests.support.node import wait_for
from tests.support.valkey import Valkey
from workers.node import ringer_of

ROOT = Path(__file__).resolve().parents[2]
VOLUME = "shared"
#: Long enough for a process that a busy machine does not schedule for some seconds.
LEASE_SECONDS = 10.0
#: For tests that do not count losses: faults follow faster.
BRISK_LEASE_SECONDS = 2.0
SLOTS = 3
#: Most losses of a job on the node with the brittle volume.
BRITTLE_LOSSES = 2
_CONFIG = """
[storage-proxy]
node-id = "{node}"
secret = "s"
session-expire = "1d"
[api.manager]
secret = "s"
[volume.{volume}]
backend = "vfs"
path = "{path}"
[vfolder.redis]
url = "{url}"
[vfolder.jobs]
lease-seconds = {lease}
max-losses = {max_losses}
ring-again-seconds = 1.0
fast-slots = 6
bulk-slots = 6
{jobs}
[vfolder.worker]
concurrency = {slots}
{worker}
"""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The settings of one node: its store, its volume, its environment and more."""

    store: str = ""
    path: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    max_losses: int = 100_000
    lease_seconds: float = LEASE_SECONDS
    #: Further lines of `[vfolder.jobs]` and `[vfolder.worker]`.
    jobs: str = ""
    worker: str = ""


class Worker:
    """The worker process of one node; `revive` starts it again after its end, like a supervisor."""

    def __init__(
        self, site: "Site", name: str, arguments: tuple[str, ...] = (), setup: Setup = Setup()
    ) -> None:
        self.name = name
        self.setup = setup
        self.directory = site.directory / name
        self.directory.mkdir()
        self.config = self.directory / "storage-proxy.toml"
        self.config.write_text(
            _CONFIG.format(
                node=name,
                volume=VOLUME,
                path=setup.path or site.volume,
                url=setup.store or site.valkey.url,
                lease=setup.lease_seconds,
                slots=SLOTS,
                max_losses=setup.max_losses,
                jobs=setup.jobs,
                worker=setup.worker,
            )
        )
        self._arguments = arguments
        self.process: preloaded.Running | None = None

    @property
    def settings(self) -> Settings:
        return load(self.config, {})

    def start(self) -> None:
        with (self.directory / "output").open("ab") as output:
            self.process = preloaded.start(
                "worker",
                ["tests.chaos.node", *self._arguments],
                output=output,
                environment={
                    **os.environ,
                    "VFOLDER_CONFIG": str(self.config),
                    **self.setup.environment,
                },
                new_session=True,
            )

    @property
    def output(self) -> str:
        return (self.directory / "output").read_text("utf-8", "replace")

    def children(self) -> list[psutil.Process]:
        """Return the processes of the pool."""
        assert self.process is not None
        try:
            return psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []

    def send(self, number: int) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)

    def revive(self) -> None:
        """Start it again if it has ended."""
        if self.process is None or self.process.poll() is not None:
            self.start()

    def stop(self) -> None:
        if self.process is None:
            return
        self.send(signal.SIGCONT)
        for child in self.children():
            with suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


TWO_NODES: Mapping[str, Setup] = {"one": Setup(), "two": Setup()}
BRISK_NODES: Mapping[str, Setup] = {
    name: Setup(lease_seconds=BRISK_LEASE_SECONDS) for name in TWO_NODES
}


class Site:
    """Two nodes, one volume, one store; `random` makes all random decisions."""

    def __init__(
        self,
        directory: Path,
        valkey: Valkey,
        seed: int,
        arguments: tuple[str, ...] = (),
        *,
        setups: Mapping[str, Setup] = TWO_NODES,
        volume: Path | None = None,
    ) -> None:
        self.directory = directory
        self.valkey = valkey
        self.random = random.Random(seed)
        self.volume = volume or directory / "volume"
        self.volume.mkdir(exist_ok=True)
        self.backend = PosixBackend(Mount(VOLUME, self.volume))
        self.workers = [Worker(self, name, arguments, setup) for name, setup in setups.items()]
        self._app = Celery(broker=f"{valkey.url}/2")
        self._app.conf.broker_transport_options = {
            "priority_steps": list(range(10)),
            "queue_order_strategy": "priority",
        }
        self.ring: Callable[[Doorbell], None] = ringer_of(self._app)
        self.client = valkey.client(1)
        self.nodes = NodeStore(self.client)
        self.store = JobStore(self.client, self.ring)
        self.budgets = BandwidthStore(self.client)
        self._lease_seconds = max(setup.lease_seconds for setup in setups.values())
        self._stopped: list[tuple[float, psutil.Process]] = []
        self.faults: list[str] = []
        #: The faults that are still to come before all kinds come again.
        self._deck: list[Callable[[], None]] = []

    def start(self) -> None:
        for worker in self.workers:
            worker.start()

    def ready(self) -> None:
        """Repair what an earlier test broke, and wait until every node serves."""
        self.wake(everything=True)
        # A worker may end a moment later, of what an earlier test did to it.
        self.wait_for_nodes(*(worker.name for worker in self.workers), meanwhile=self.revive)

    def stop(self) -> None:
        self.wake(everything=True)
        for worker in self.workers:
            worker.stop()
        self._app.close()
        self.client.close()

    def vfolder(self) -> VFolderId:
        scope = QuotaScope.parse(f"user:{UUID(int=self.random.getrandbits(2))}")
        if not (self.volume / scope.directory).exists():
            self.backend.create_scope(scope)
        return VFolderId(scope, uuid4())

    def filled(self, files: int) -> VFolderId:
        """Return a new vfolder with a tree of small files, links and hard links."""
        vfolder = self.vfolder()
        self.backend.create_vfolder(vfolder)
        path = self.backend.vfolder_path(vfolder)
        for number in range(files):
            folder = path / f"d{number % 23}"
            folder.mkdir(exist_ok=True)
            (folder / f"f{number}").write_bytes(self.random.randbytes(self.random.randrange(3000)))
        (path / "link").symlink_to("d1/f1")
        os.link(path / "d1" / "f1", path / "again")
        return vfolder

    def exercise(self, items: int, milliseconds: int = 20, **more: int) -> Job:
        request = ExerciseRequest(
            volume=VOLUME,
            vfolder=str(self.vfolder()),
            items=items,
            milliseconds=milliseconds,
            **more,
        )
        return self.submit(request)

    def held(self, items: int, milliseconds: int = 20, *, at: int = -1) -> ExerciseRequest:
        """Return an exercise that waits before an item (default: the last) until `let_go`."""
        request = ExerciseRequest(
            volume=VOLUME,
            vfolder=str(self.vfolder()),
            items=items,
            milliseconds=milliseconds,
            held_at=at % items,
        )
        (self.volume / hold_of(request.vfolder)).touch()
        return request

    def let_go(self, job: Job) -> None:
        """Let an exercise continue that is held."""
        (self.volume / hold_of(job.member("request")["vfolder"])).unlink()

    def clone(self, source: VFolderId, target: VFolderId, **more: Any) -> Job:
        request = CloneRequest(volume=VOLUME, source=str(source), target=str(target), **more)
        return self.submit(request)

    def delete(self, vfolder: VFolderId) -> Job:
        return self.submit(DeleteRequest(volume=VOLUME, vfolder=str(vfolder)))

    def usage(self, vfolder: VFolderId) -> Job:
        return self.submit(UsageRequest(volume=VOLUME, vfolder=str(vfolder)))

    def submit(self, request: object) -> Job:
        return self.store.submit(Submission(request, ring_again_seconds=1.0))  # type: ignore[arg-type] # any request

    # -- Observing ---------------------------------------------------------------------------------
    def worker(self, name: str) -> Worker:
        return next(worker for worker in self.workers if worker.name == name)

    def look(self, job: Job) -> Job:
        """Return the current record; wait while the store is away."""
        return wait_for(lambda: self._look(job))

    def _look(self, job: Job) -> Job | None:
        try:
            return self.store.get(job.id)
        except RedisError:
            return None

    def wait_for_state(self, job: Job, state: State, seconds: float = 60.0) -> Job:
        wait_for(lambda: self.look(job).state is state, seconds, self.story(job))
        return self.look(job)

    def wait_for_end(self, job: Job, seconds: float = 120.0) -> Job:
        wait_for(lambda: self.look(job).state.ended, seconds, self.story(job))
        return self.look(job)

    def wait_for_items(self, job: Job, items: int, seconds: float = 60.0) -> None:
        """Wait until the ledger of an exercise has this number of lines."""
        wait_for(lambda: len(ledger(self.volume, job.id)) >= items, seconds, self.story(job))

    def wait_for_nodes(
        self, *names: str, seconds: float = 60.0, meanwhile: Callable[[], None] | None = None
    ) -> None:
        """Wait until exactly these nodes are alive and serve the volume."""

        def serving() -> bool:
            if meanwhile is not None:
                meanwhile()
            try:
                return {node.id for node in self.nodes.serving(VOLUME)} == set(names)
            except RedisError:
                return False

        wait_for(serving, seconds, f"not exactly {names} serve the volume")

    def story(self, job: Job) -> Callable[[], str]:
        """Return a function that describes a job, for the failure of a test."""
        return lambda: f"{self.look(job).document()}\n{JobLists(self.client).log(job.id)}"

    # -- Faults ------------------------------------------------------------------------------------
    def fault(self) -> None:
        """Cause one random fault; `revive` and `wake` repair what it broke.

        The kinds come in rounds: each round has all of them, in an order by chance.
        """
        if not self._deck:
            self._deck = list(self._kinds())
            self.random.shuffle(self._deck)
        kind = self._deck.pop()
        kind()
        self.faults.append(kind.__name__)

    def _kinds(self) -> tuple[Callable[[], None], ...]:
        return (
            self.kill_child,
            self.kill_child,
            self.kill_worker,
            self.freeze_child,
            self.drain_worker,
            self.quit_worker,
            self.kill_store,
            self.freeze_store,
            self.reset_connections,
            self.lose_bells,
            self.ring_thrice,
        )

    def _child(self) -> psutil.Process | None:
        children = self.random.choice(self.workers).children()
        return self.random.choice(children) if children else None

    def kill_child(self) -> None:
        if child := self._child():
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def freeze_child(self) -> None:
        """Stop a process (SIGSTOP) for longer than a lease."""
        if child := self._child():
            with suppress(psutil.NoSuchProcess):
                child.suspend()
                self._stopped.append((time.monotonic() + 1.6 * self._lease_seconds, child))

    def kill_worker(self) -> None:
        self.random.choice(self.workers).send(signal.SIGKILL)

    def drain_worker(self) -> None:
        self.random.choice(self.workers).send(signal.SIGTERM)

    def quit_worker(self) -> None:
        self.random.choice(self.workers).send(signal.SIGQUIT)

    def kill_store(self) -> None:
        self.valkey.kill()
        self.valkey.start()

    def freeze_store(self) -> None:
        assert self.valkey.process is not None
        self.valkey.process.send_signal(signal.SIGSTOP)
        time.sleep(1.2 * self._lease_seconds)  # the fault: away for longer than a lease
        self.valkey.process.send_signal(signal.SIGCONT)

    def reset_connections(self) -> None:
        with self.valkey.client() as client:
            client.execute_command("CLIENT KILL TYPE normal SKIPME yes")

    def lose_bells(self) -> None:
        with self.valkey.client(2) as client:
            for key in client.scan_iter("vol.*"):
                client.delete(key)

    def ring_thrice(self) -> None:
        for job in list(self.client.zrange("vf:ix:state:running", 0, -1))[:3]:
            found = self.store.get(str(job))
            doorbell = Doorbell(found.id, f"vol.{VOLUME}.bulk", 5, found.verb, "again")
            for _ in range(3):
                self.ring(doorbell)

    def wake(self, *, everything: bool = False) -> None:
        """Continue the processes that were stopped long enough; with `everything` all of them."""
        now = time.monotonic()
        for entry in list(self._stopped):
            until, process = entry
            if everything or now >= until:
                self._stopped.remove(entry)
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def revive(self) -> None:
        for worker in self.workers:
            worker.revive()

    # -- Faults of one job's process, or of its node -----------------------------------------------
    def process_of(self, job: Job) -> psutil.Process:
        """Return the process of the pool that runs a job."""
        return psutil.Process(int(self.look(job).fields["process"].partition(":")[2]))

    def worker_of(self, job: Job) -> Worker:
        return self.worker(self.look(job).fields["node"])

    def other_than(self, worker: Worker) -> Worker:
        return next(other for other in self.workers if other is not worker)
