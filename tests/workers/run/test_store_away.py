"""The store is away, dies before its answer, or is full, at each call of each verb.

Every job ends as succeeded; no promise of quota, no staging and no manifest is left.
"""

import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from celery.exceptions import Ignore
from redis import Redis

from backends.fs import layout
from backends.quota import soft_of
from backends.volumes import Volumes
from core.jobs import Job, State
from core.jobs.requests import (
    AssistRequest,
    CloneRequest,
    DeleteFilesRequest,
    DeleteRequest,
    ExtractRequest,
    PurgeRequest,
    Request,
    RescanRequest,
    RestoreRequest,
    TransferRequest,
    UsageRequest,
)
from core.jobs.store import JobStore, Submission
from core.names import QuotaScope, ScopeKind, VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.support.doors import settings_in
from tests.support.outage import answer_lost, away, full, outage
from tests.support.valkey import Valkey
from workers.node import Sweep
from workers.runner import Runner

VOLUME = "local"
LIMIT = 1 << 20
#: More attempts than any outage costs.
ATTEMPTS_MAX = 6
#: More calls than any sweep of so small a volume makes.
CALLS_MAX = 100
LEASE_SECONDS = 1.0
HIDDEN = (layout.STAGING, layout.UPLOADS, layout.JOBS)


class Site:
    """A volume with a soft limit, and a store; only the test runs jobs."""

    def __init__(self, settings: Settings, store: JobStore) -> None:
        self.settings = settings
        self.store = store
        self.scope = QuotaScope(ScopeKind.USER, uuid4())
        self.backend = Volumes(settings).get(VOLUME)
        self.backend.set_limit(self.scope, LIMIT)
        self.source = self.absent()
        self.top = settings.volume_path(settings.volume[VOLUME])
        path = self.path(self.source)
        (path / "sub").mkdir(parents=True)
        (path / "a").write_bytes(b"a" * 1000)
        (path / "sub" / "b").write_bytes(b"b" * 500)
        with tarfile.open(path / "x.tar", "w") as packed:
            packed.add(path / "sub", "sub")
        self.count()

    def absent(self) -> str:
        return str(VFolderId(self.scope, uuid4()))

    def path(self, vfolder: str) -> Path:
        return self.top / VFolderId.parse(vfolder).directory

    @property
    def bytes_held(self) -> int:
        """The lengths of the files of all vfolders of the scope."""
        total = 0
        for directory, names, files in os.walk(self.top / self.scope.directory):
            names[:] = [name for name in names if name != layout.HIDDEN]
            total += sum((Path(directory) / name).stat().st_size for name in files)
        return total

    def count(self) -> None:
        soft = soft_of(self.backend)
        assert soft
        soft.ledger.record_count(self.scope.directory, self.bytes_held, 0)

    def submit(self, request: Request) -> Job:
        return self.store.submit(Submission(request))

    def run(self, job: Job, runner: Runner | None = None) -> None:
        with suppress(Ignore):
            (runner or self.runner())(job.id, lambda _: None)

    def runner(self) -> Runner:
        return Runner(self.settings, self.store, lambda _: None)

    def end(self, job: Job) -> Job:
        for _ in range(ATTEMPTS_MAX):
            if (found := self.store.get(job.id)).state.ended:
                break
            self.run(job)
        found = self.store.get(job.id)
        assert found.state is State.SUCCEEDED, found.document()
        assert found.losses == 0
        return found

    def clean(self) -> None:
        """Nothing is promised or staged, and the ledger knows what the scope holds."""
        soft = soft_of(self.backend)
        assert soft
        balance = soft.ledger.read(self.scope.directory)
        assert (balance.settled_bytes, balance.held_bytes) == (self.bytes_held, 0)
        for area in HIDDEN:
            path = self.top / layout.area(self.scope, area)
            left = [one.name for one in path.iterdir()] if path.exists() else []
            assert [name for name in left if not name.endswith(layout.REPORT_SUFFIX)] == []


@pytest.fixture
def site(tmp_path: Path, valkey: Valkey, redis_client: Redis) -> Iterator[Site]:
    settings = settings_in(tmp_path, valkey.url)
    with connect(settings, Database.JOBS) as client:
        store = JobStore(client, lambda _: None)
        store.set_slots(VOLUME, 100, 100)
        yield Site(settings, store)


def usage(site: Site) -> Request:
    return UsageRequest(volume=VOLUME, vfolder=site.source)


def clone(site: Site) -> Request:
    return CloneRequest(volume=VOLUME, source=site.source, target=site.absent())


def transfer(site: Site) -> Request:
    return TransferRequest(volume=VOLUME, source=site.source, target=site.absent())


def copy_of_source(site: Site) -> str:
    """Another vfolder of the scope, counted."""
    target = site.absent()
    site.end(site.submit(CloneRequest(volume=VOLUME, source=site.source, target=target)))
    return target


def delete(site: Site) -> Request:
    return DeleteRequest(volume=VOLUME, vfolder=copy_of_source(site), keep_seconds=0)


def delete_files(site: Site) -> Request:
    vfolder = copy_of_source(site)
    paths = ["a", "sub"]
    return DeleteFilesRequest(volume=VOLUME, vfolder=vfolder, paths=paths, recursive=True)


def extract(site: Site) -> Request:
    vfolder = copy_of_source(site)  # it runs alone on its vfolder
    return ExtractRequest(
        volume=VOLUME, vfolder=vfolder, target="new", archive="tar", source="x.tar"
    )


def trashed(site: Site) -> tuple[str, str]:
    vfolder = copy_of_source(site)
    job = site.submit(DeleteRequest(volume=VOLUME, vfolder=vfolder, keep_seconds=3600))
    return vfolder, site.end(job).id


def restore(site: Site) -> Request:
    return RestoreRequest(volume=VOLUME, vfolder=trashed(site)[0])


def purge(site: Site) -> Request:
    vfolder, trash = trashed(site)
    return PurgeRequest(volume=VOLUME, vfolder=vfolder, trash=trash)


def rescan(site: Site) -> Request:
    return RescanRequest(volume=VOLUME)


def assist(site: Site) -> Request:
    return AssistRequest(volume=VOLUME, job=str(UUID(int=0)), number=0)


VERBS = (usage, rescan, clone, transfer, delete, delete_files, extract, restore, purge, assist)


def fail_each_call(
    site: Site, below: str, kind: Callable[..., None], request: Callable[[Site], Request]
) -> int:
    """Run a job of a verb for each of its calls of the store; return how many it makes."""
    at = 0
    while True:
        at += 1
        job, runner = site.submit(request(site)), site.runner()
        with outage(below, at, kind) as failed:
            site.run(job, runner)
        site.end(job)
        site.clean()
        if failed.calls < at:
            return at - 1


CASES = [(verb, answer_lost) for verb in VERBS]
CASES += [(verb, away) for verb in (usage, clone, delete_files)]
CASES += [(verb, full) for verb in (rescan, delete, extract)]


@pytest.mark.parametrize(("verb", "kind"), CASES)
def test_a_verb_waits_for_the_store(
    site: Site, verb: Callable[[Site], Request], kind: Callable[..., None]
) -> None:
    assert fail_each_call(site, "_work", kind, verb) >= (verb is not purge)


@pytest.mark.parametrize("kind", [away, answer_lost, full])
def test_claim_and_end_wait_for_the_store(site: Site, kind: Callable[..., None]) -> None:
    assert fail_each_call(site, "__call__", kind, usage) >= 5


def test_a_sweep_is_put_off_while_the_store_is_away(site: Site) -> None:
    for at in range(1, CALLS_MAX):
        with outage("_sweep", at, away) as failed:
            said = Sweep(site.settings, site.store, VOLUME)()
        if failed.calls < at:
            break
        assert "put off" in said
    assert failed.calls >= 3
    assert "put off" not in said


def test_a_full_store_is_waited_for_past_the_lease(tmp_path: Path, valkey: Valkey) -> None:
    """The real store refuses for longer than a lease; nothing fails, no loss is counted."""
    settings = settings_in(tmp_path, valkey.url, "[vfolder.jobs]\nlease-seconds = 1.0\n")
    with connect(settings, Database.JOBS) as client:
        site = Site(settings, JobStore(client, lambda _: None))
        site.store.set_slots(VOLUME, 9, 9)
        jobs = [site.submit(verb(site)) for verb in (usage, delete_files, clone)]
        client.config_set("maxmemory", "1")
        runs = [threading.Thread(target=site.run, args=(job, site.runner())) for job in jobs]
        try:
            for run in runs:
                run.start()
            threading.Event().wait(2 * LEASE_SECONDS)
        finally:
            client.config_set("maxmemory", "0")
        for run in runs:
            run.join()
        for job in jobs:
            site.end(job)
        site.clean()


def test_the_store_dies_under_every_verb(site: Site, valkey: Valkey) -> None:
    """Kill -9 and a start with its file, again and again while jobs of all verbs run."""
    jobs = [site.submit(verb(site)) for verb in VERBS]
    runs = [threading.Thread(target=site.run, args=(job, site.runner())) for job in jobs]
    for number, run in enumerate(runs):
        run.start()
        if number % 3 == 0:
            valkey.restart()
    for run in runs:
        run.join()
    for job in jobs:
        site.end(job)
    site.clean()
