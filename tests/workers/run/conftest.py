"""A volume with a soft limit, and a store; only the test runs jobs."""

import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from celery.exceptions import Ignore
from redis import Redis

from backends.fs import layout
from backends.quota import soft_of
from backends.volumes import Volumes
from core.jobs import Job, State
from core.jobs.requests import Request
from core.jobs.store import JobStore, Submission
from core.names import QuotaScope, ScopeKind, VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.support.doors import settings_in
from tests.support.valkey import Valkey
from workers.runner import Runner

VOLUME = "local"
LIMIT = 1 << 20
#: More attempts than any outage costs.
ATTEMPTS_MAX = 6
HIDDEN = (layout.STAGING, layout.UPLOADS, layout.JOBS)


class Site:
    """A volume with a soft limit, and a store; only the test runs jobs."""

    def __init__(self, settings: Settings, store: JobStore, volume: str = VOLUME) -> None:
        self.settings = settings
        self.store = store
        self.scope = QuotaScope(ScopeKind.USER, uuid4())
        self.backend = Volumes(settings).get(volume)
        self.backend.probe()
        self.backend.set_limit(self.scope, LIMIT)
        self.source = self.absent()
        self.top = settings.volume_path(settings.volume[volume])
        path = self.path(self.source)
        (path / "sub").mkdir(parents=True)
        (path / "a").write_bytes(b"a" * 1000)
        (path / "sub" / "b").write_bytes(b"b" * 500)
        with tarfile.open(path / "x.tar", "w") as packed:
            packed.add(path / "sub", "sub")
        if soft_of(self.backend):
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
