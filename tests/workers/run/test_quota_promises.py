"""What a job promises: again in each attempt, within a hard limit too, and never settled twice."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis

from backends.base import HasQuota
from backends.quota import soft_of
from core.jobs import State
from core.jobs.requests import CloneRequest, DeleteRequest, ExtractRequest, Request, RestoreRequest
from core.jobs.store import JobStore
from core.redis import Database, connect
from tests.support.doors import settings_in
from tests.support.loops import mounted
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


@pytest.fixture
def hard(tmp_path: Path, valkey: Valkey, redis_client: Redis) -> Iterator[Site]:
    """The same on a file system that enforces limits."""
    with mounted(tmp_path / "disk", ["mkfs.btrfs", "-q"], size_bytes=256 * MIB) as top:
        more = f'[volume.hard]\nbackend = "btrfs"\npath = "{top}"\n'
        settings = settings_in(tmp_path, valkey.url, more)
        with connect(settings, Database.JOBS) as client:
            store = JobStore(client, lambda _: None)
            store.set_slots("hard", 100, 100)
            yield Site(settings, store, "hard")


@pytest.mark.part("btrfs")
@pytest.mark.part("root")
def test_a_restore_over_a_hard_limit_is_refused(hard: Site) -> None:
    hard.backend.set_limit(hard.scope, 64 * MIB)
    (hard.path(hard.source) / "big").write_bytes(b"x" * 8 * MIB)
    delete = DeleteRequest(volume="hard", vfolder=hard.source, keep_seconds=3600)
    hard.end(hard.submit(delete))
    assert hard.backend.skill(HasQuota)
    hard.backend.set_limit(hard.scope, MIB)
    job = hard.submit(RestoreRequest(volume="hard", vfolder=hard.source))
    with pytest.raises(JobFailed):
        hard.run(job)
    error = hard.store.get(job.id).member("error") or {}
    assert error["title"] == "Quota exceeded"
    assert "over its limit" in error["detail"], "refused before anything was tried"
    assert not hard.path(hard.source).exists()
    hard.backend.set_limit(hard.scope, 64 * MIB)
    hard.end(hard.submit(RestoreRequest(volume="hard", vfolder=hard.source)))
    assert (hard.path(hard.source) / "big").stat().st_size == 8 * MIB
