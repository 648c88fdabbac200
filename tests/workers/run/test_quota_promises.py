"""What a job promises: again in each attempt, within a hard limit too, and never settled twice."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis

from backends.base import HasQuota, QuotaUsage
from backends.mounted import PosixBackend
from backends.quota import soft_of
from backends.volumes import registry
from core.errors import QuotaScopeExists
from core.jobs import State
from core.jobs.requests import CloneRequest, DeleteRequest, ExtractRequest, Request, RestoreRequest
from core.jobs.store import JobStore
from core.names import QuotaScope
from core.redis import Database, connect
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
    soft.reserve(site.scope, job.id, 100, MIB)
    soft.ledger.settle(name, job.id)
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
