"""What a job promises: again in each attempt, within a hard limit too, and never settled twice."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from backends.base import HasQuota, QuotaUsage
from backends.entries import entries
from backends.mounted import PosixBackend
from backends.quota import SoftQuota, soft_of
from backends.uploads import staging as uploads
from backends.volumes import registry
from core.errors import QuotaScopeExists
from core.jobs import State
from core.jobs.requests import (
    CloneRequest,
    DeleteFilesRequest,
    DeleteRequest,
    ExtractRequest,
    Request,
    RescanRequest,
    RestoreRequest,
)
from core.jobs.store import JobStore
from core.names import QuotaScope, VFolderId, VFolderPath
from core.quota import Account
from core.redis import Database, connect
from core.uploads import Upload, UploadStore
from tests.support.doors import settings_in
from tests.support.valkey import Valkey
from tests.workers.run.conftest import VOLUME, Site
from workers.runner import JobFailed

MIB = 1 << 20


def clone(site: Site) -> Request:
    return CloneRequest(volume=VOLUME, source=site.source, target=site.absent())


def extract(site: Site) -> Request:
    return ExtractRequest(
        volume=VOLUME, vfolder=site.source, target="new", archive="tar", source="x.tar"
    )


@pytest.mark.parametrize("verb", [clone, extract])
def test_a_second_attempt_promises_again(site: Site, verb: Callable[[Site], Request]) -> None:
    """The first attempt died with its promise; what others wrote since may leave no space."""
    job = site.submit(verb(site))
    soft = soft_of(site.backend)
    assert soft
    assert site.store.claim(job.id, "former", "node", 60, "former:1") == "ok"
    name = site.scope.directory
    soft.reserve([Account(name, MIB, name)], job.id, 100)
    soft.ledger.settle([name], job.id)
    site.store.lose(job.id, "former", "killed", 10)
    site.backend.set_limit(site.scope, site.bytes_held + 1)
    with pytest.raises(JobFailed):
        site.run(job)
    ended = site.store.get(job.id)
    assert ended.state is State.FAILED
    assert (ended.member("error") or {})["title"] == "Quota exceeded"
    site.clean()


@pytest.mark.parametrize("verb", [clone, extract])
def test_a_job_that_died_after_it_settled_is_settled_once(
    site: Site, verb: Callable[[Site], Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = site.submit(verb(site))
    with monkeypatch.context() as dying:
        dying.setattr(JobStore, "finish", _die)
        with suppress(SystemExit):
            site.run(job)
    site.store.lose(job.id, site.store.get(job.id).run, "killed", 10)
    assert site.store.get(job.id).state is State.QUEUED
    site.run(job)
    assert site.store.get(job.id).state is State.SUCCEEDED
    site.clean()


def _die(*_: object) -> bool:
    raise SystemExit


def delete(site: Site) -> None:
    source, site.source = site.source, site.absent()  # the scope has another vfolder
    site.path(site.source).mkdir(parents=True)
    (site.path(site.source) / "a").write_bytes(b"a" * 100_000)
    site.count()
    site.end(site.submit(DeleteRequest(volume=VOLUME, vfolder=source, keep_seconds=0)))


def delete_files(site: Site) -> None:
    paths = ["a", "sub"]
    site.end(
        site.submit(
            DeleteFilesRequest(volume=VOLUME, vfolder=site.source, paths=paths, recursive=True)
        )
    )


def remove_at_a_door(site: Site) -> None:
    paths = [VFolderPath.parse("a"), VFolderPath.parse("sub")]
    vfolder = VFolderId.parse(site.source)
    entries.remove_entries(site.backend, vfolder, paths, recursive=True)


def upload_a_shorter_file(site: Site) -> None:
    name = uuid4().hex
    upload = Upload(id=name, volume=VOLUME, vfolder=site.source, path="a", session=name, length=10)
    with connect(site.settings, Database.UPLOADS) as client:
        known = uploads.begin(site.backend, UploadStore(client, "node1"), upload)
    with uploads.opened(site.backend, known) as staging:
        os.write(staging.descriptor, b"b" * 10)
        staging.publish(VFolderPath.parse("a"))


@pytest.mark.parametrize("remove", [delete, delete_files, remove_at_a_door, upload_a_shorter_file])
def test_what_a_count_saw_removed_is_not_subtracted_again(
    site: Site, remove: Callable[[Site], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count ends between a removal and its settlement."""
    settle = SoftQuota.settle

    def counted_before(soft: SoftQuota, *args: Any, **more: Any) -> None:
        site.count()
        settle(soft, *args, **more)

    monkeypatch.setattr(SoftQuota, "settle", counted_before)
    remove(site)
    site.clean()


class Grace(PosixBackend):
    """A storage system that lets writers pass a limit for a while, as arrays do (grace period)."""

    limit_bytes = 0

    def enforces_quota(self) -> bool:
        return True

    def effective_limit(self, limit_bytes: int) -> int:
        return limit_bytes

    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        with suppress(QuotaScopeExists):
            self.create_scope(scope)
        type(self).limit_bytes = limit_bytes

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        files = (self.mount.path / scope.directory).rglob("*")
        used = sum(path.stat().st_size for path in files if path.is_file())
        return QuotaUsage(used, self.limit_bytes, self.limit_bytes, "hard")


@pytest.fixture
def hard(
    tmp_path: Path, valkey: Valkey, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """The same where the storage system enforces limits."""
    monkeypatch.setitem(registry._BUILT_IN, "grace", Grace)
    (tmp_path / "hard").mkdir()
    more = '[volume.hard]\nbackend = "grace"\npath = "hard"\n'
    settings = settings_in(tmp_path, valkey.url, more)
    with connect(settings, Database.JOBS) as client:
        store = JobStore(client, lambda _: None)
        store.set_slots("hard", 100, 100)
        yield Site(settings, store, "hard")


def test_a_restore_over_a_hard_limit_is_refused(hard: Site) -> None:
    (hard.path(hard.source) / "big").write_bytes(b"x" * MIB)
    assert hard.backend.skill(HasQuota)
    hard.backend.set_limit(hard.scope, 2 * MIB)
    hard.end(hard.submit(DeleteRequest(volume="hard", vfolder=hard.source, keep_seconds=3600)))
    hard.backend.set_limit(hard.scope, MIB)
    job = hard.submit(RestoreRequest(volume="hard", vfolder=hard.source))
    with pytest.raises(JobFailed):
        hard.run(job)
    error = hard.store.get(job.id).member("error") or {}
    assert error["title"] == "Quota exceeded"
    assert not hard.path(hard.source).exists()
    hard.backend.set_limit(hard.scope, 2 * MIB)
    hard.end(hard.submit(RestoreRequest(volume="hard", vfolder=hard.source)))
    assert (hard.path(hard.source) / "big").stat().st_size == MIB


def test_a_rescan_knows_the_marker_of_the_volume(site: Site) -> None:
    ended = site.end(site.submit(RescanRequest(volume=VOLUME)))
    assert ended.member("result")["found"] == {}
