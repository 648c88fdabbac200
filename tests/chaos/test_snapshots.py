"""Jobs on snapshots, killed before each call that changes anything: the next run completes them."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

import pytest
from celery.exceptions import Ignore

from backends.base import Mount
from backends.fs import layout
from backends.retention import snapshots
from backends.systems.btrfs.backend import BtrfsBackend
from contract.deaths import child, deaths
from core.jobs import Job, State
from core.jobs.requests import SnapshotRequest
from core.jobs.store import JobStore, Submission
from core.names import QuotaScope, ScopeKind, VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.support.doors import settings_in
from tests.support.loops import mounted
from tests.support.trees import snapshot
from tests.support.valkey import Valkey
from workers.runner import Runner

pytestmark = [pytest.mark.part("btrfs"), pytest.mark.part("strace"), pytest.mark.slow]

VOLUME = "kept"
NAME = "it"
MORE = """
[volume.kept]
backend = "btrfs"
path = "btrfs/top"
[vfolder.jobs]
lease-seconds = 600
"""
#: Calls whose effects are visible outside the process, on the volume and in the store. A death
#: before any other call equals one before the next of these.
CHANGES = (
    "ioctl",
    "mkdirat",
    "pwrite64",
    "write",
    "renameat",
    "renameat2",
    "unlinkat",
    "utimensat",
    "flock",
    "sendto",
)
#: What they do without an effect: questions to a file, to the volume and to the store, the start of
#: a connection, and a directory that is already there.
IDLE = (
    r"TCGETS|FIONBIO|BTRFS_IOC_TREE_SEARCH|EEXIST|ENOENT"
    r"|\\r\\n(HELLO|CLIENT|SELECT|HGETALL|HMGET|HGET|GET)\\r\\n"
)
#: Every operation makes more of them.
DEATHS_MIN = 8


class Bench:
    """A btrfs volume with one vfolder, and a store; only the test runs jobs."""

    def __init__(self, settings: Settings, backend: BtrfsBackend, store: JobStore) -> None:
        self.settings = settings
        self.backend = backend
        self.store = store
        self.scope = QuotaScope(ScopeKind.USER, uuid4())
        self.vfolder = self.another()
        backend.create_scope(self.scope)
        backend.create_vfolder(self.vfolder)
        top = backend.vfolder_path(self.vfolder)
        (top / "sub").mkdir()
        (top / "sub" / "file").write_bytes(b"kept" * 1000)
        (top / "link").symlink_to("sub/file")
        self.was = snapshot(top)

    def another(self) -> VFolderId:
        """The id of a vfolder that does not exist."""
        return VFolderId(self.scope, uuid4())

    def submit(self, action: str, name: str = NAME, **more: object) -> Job:
        facts = {"volume": VOLUME, "vfolder": str(self.vfolder), "action": action, "name": name}
        request = SnapshotRequest(**facts, **more)  # type: ignore[arg-type] # any request
        return self.store.submit(Submission(request))

    def run(self, job: Job) -> None:
        """Run one job as the process of a worker does."""
        with connect(self.settings, Database.JOBS) as client:
            store = JobStore(client, lambda _: None)
            with suppress(Ignore):
                Runner(self.settings, store, lambda _: None)(job.id, lambda _: None)

    def finish(self, job: Job) -> Job:
        """Take a job back from its dead run, and run it to its end in another process."""
        record = self.store.get(job.id)
        if not record.state.ended:
            self.store.lose(job.id, record.run, "killed", 1000)
            number = child(lambda: self.run(job))
            os.kill(number, signal.SIGCONT)
            os.waitpid(number, 0)
        ended = self.store.get(job.id)
        assert ended.state is State.SUCCEEDED, ended.document()
        return ended

    def names(self) -> list[str]:
        return [one.name for one in self.backend.list_snapshots(self.vfolder)]

    def noted(self) -> list[str]:
        with self.backend.root() as root:
            return [one.name for one in snapshots.kept(root, self.scope.directory)]

    def staged(self) -> list[Path]:
        staging = self.backend.mount.path / layout.area(self.scope, layout.STAGING)
        return sorted(staging.iterdir()) if staging.exists() else []


@pytest.fixture
def bench(tmp_path: Path, valkey_alone: Valkey) -> Iterator[Bench]:
    make = ["mkfs.btrfs", "-q", "-m", "single", "-d", "single"]
    with ExitStack() as held:
        top = held.enter_context(mounted(tmp_path / "btrfs", make, size_bytes=256 << 20))
        settings = settings_in(tmp_path, valkey_alone.url, MORE)
        backend = BtrfsBackend(Mount(VOLUME, top))
        backend.probe()
        client = held.enter_context(connect(settings, Database.JOBS))
        yield Bench(settings, backend, JobStore(client, lambda _: None))


def died(bench: Bench, made: Callable[[], Job], right: Callable[[Job], None]) -> None:
    """Kill such a job at every call, complete it with the next run, and check the result."""
    count = 0
    bench.finish(made())  # the store has the scripts from now on
    for job in deaths(bench.run, made, CHANGES, idle=IDLE):
        count += 1
        right(bench.finish(job))
    assert count > DEATHS_MIN


def test_a_snapshot_job_is_killed_while_it_creates(bench: Bench) -> None:
    def made() -> Job:
        for name in bench.names():
            bench.backend.delete_snapshot(bench.vfolder, name)
        return bench.submit("create", keep_seconds=1000.0)

    def right(job: Job) -> None:
        assert job.member("result")["snapshot"]["expires_at"]
        assert bench.names() == bench.noted() == [NAME]
        with bench.backend.open_snapshot(bench.vfolder, NAME) as kept:
            assert snapshot(Path(f"/proc/self/fd/{kept}")) == bench.was

    died(bench, made, right)


def test_a_snapshot_job_is_killed_while_it_deletes(bench: Bench) -> None:
    def made() -> Job:
        if not bench.names():
            bench.backend.create_snapshot(bench.vfolder, NAME)
        with bench.backend.root() as root:
            snapshots.keep(root, bench.vfolder, NAME, 1000.0)
        return bench.submit("delete")

    def right(_: Job) -> None:
        assert bench.names() == bench.noted() == []

    died(bench, made, right)


def test_a_snapshot_job_is_killed_while_it_restores(bench: Bench) -> None:
    bench.backend.create_snapshot(bench.vfolder, NAME)

    def right(job: Job) -> None:
        target = VFolderId.parse(job.member("request")["target"])
        assert snapshot(bench.backend.vfolder_path(target)) == bench.was
        assert bench.staged() == []

    died(bench, lambda: bench.submit("restore", target=str(bench.another())), right)
