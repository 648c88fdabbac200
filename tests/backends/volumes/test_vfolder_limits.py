"""The limit of one vfolder, from its record, where the storage system limits scopes itself."""

from pathlib import Path
from uuid import uuid4

import pytest
from msgspec import structs
from redis import Redis

from backends.base import DEFAULT_MODE, Backend, HasQuota
from backends.entries import access_files
from backends.quota import ledger_of, soft, soft_of
from backends.volumes import Volumes, operations, quota_views, registry, vfolder_limits
from core.access import Seals, records
from core.errors import QuotaExceeded
from core.names import QuotaScope, VFolderId
from tests.support.doors import TICKET_SECRET, settings_in
from tests.support.valkey import Valkey
from tests.workers.run.test_quota_promises import Grace

SCOPE = QuotaScope.parse(f"user:{uuid4()}")


@pytest.fixture(params=["local", "hard"])
def backend(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    valkey: Valkey,
    redis_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> Backend:
    """A volume whose scopes this service limits, and one that limits them itself."""
    monkeypatch.setitem(registry._BUILT_IN, "grace", Grace)
    monkeypatch.setattr(Grace, "limit_bytes", None)
    (tmp_path / "hard").mkdir()
    more = '[volume.hard]\nbackend = "grace"\npath = "hard"\n[vfolder.access]\nhome = "local"\n'
    return Volumes(settings_in(tmp_path, valkey.url, more)).get(request.param)


def made(backend: Backend, limit: int | None) -> VFolderId:
    """A vfolder with five bytes, whose record has this limit."""
    vfolder = VFolderId(SCOPE, uuid4())
    operations.create_vfolder(backend, vfolder, DEFAULT_MODE, None, automatic=True)
    (backend.mount.path / vfolder.directory / "a").write_text("hello")
    limited(backend, vfolder, limit)
    return vfolder


def limited(backend: Backend, vfolder: VFolderId, limit: int | None) -> None:
    """Write a record with this limit; a process that read the former one has it for a second."""
    volume = backend.mount.volume
    record = structs.replace(records.implied(volume, vfolder), limit_bytes=limit, revision=1)
    text = Seals([TICKET_SECRET]).seal(record, records.place_of(volume, vfolder))
    before = access_files.digest(access_files.read(backend, vfolder).text)
    access_files.replace(backend, vfolder, text, before)


def test_a_limit_holds_on_volumes_of_every_kind(backend: Backend) -> None:
    vfolder = made(backend, 100)
    assert ledger_of(backend) is not None
    assert (soft_of(backend) is None) == (backend.skill(HasQuota) is not None)
    soft.reserve(backend, vfolder, "a", 95)
    with pytest.raises(QuotaExceeded, match="The vfolder has 0 bytes left") as error:
        soft.reserve(backend, vfolder, "b", 1)
    assert error.value.facts["limited_by"] == "vfolder"
    soft.reserve(backend, SCOPE, "c", 10**9)  # a complete vfolder that comes or goes
    soft.reserve(backend, made(backend, None), "d", 10**9)
    soft.settle(backend, vfolder, "a", 50)
    view = quota_views.vfolder_view(backend, vfolder)
    assert view is not None
    assert (view.limit_bytes, view.used_bytes, view.enforced) == (100, 55, "soft")
    assert soft.is_counted(backend, vfolder)
    soft.settle(backend, vfolder, "e", -50)
    soft.reserve(backend, vfolder, "b", 95)


def test_a_limit_begins_and_ends_with_the_record(backend: Backend) -> None:
    vfolder = made(backend, 100)
    assert quota_views.follow_vfolder_limit(backend, vfolder, new=True)
    view = quota_views.vfolder_view(backend, vfolder)
    assert view is not None
    assert view.used_bytes == 5
    limited(backend, vfolder, None)
    assert quota_views.follow_vfolder_limit(backend, vfolder, new=True)
    assert quota_views.vfolder_view(backend, vfolder) is None
    soft.reserve(backend, vfolder, "a", 10**9)
    (backend.mount.path / vfolder.directory / "b").write_text("more")
    limited(backend, vfolder, 100)
    assert quota_views.follow_vfolder_limit(backend, vfolder, new=True)
    view = quota_views.vfolder_view(backend, vfolder)
    assert view is not None
    assert view.used_bytes == 9, "it is counted again, not remembered"


def test_a_record_that_was_changed_by_hand_limits_nothing(backend: Backend) -> None:
    vfolder = made(backend, 100)
    path = backend.mount.path / SCOPE.directory / ".vfolder/meta" / f"{vfolder.id.hex}.access"
    path.write_bytes(path.read_bytes().replace(b'"limit_bytes":100', b'"limit_bytes":900'))
    assert not soft.is_counted(backend, vfolder)
    assert quota_views.vfolder_view(backend, vfolder) is None


def test_a_limit_is_read_once_a_second(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request of an upload asks for it."""
    vfolder, now = made(backend, 100), 1000.0
    found = ledger_of(backend)
    assert found is not None
    monkeypatch.setattr(vfolder_limits.time, "monotonic", lambda: now)
    assert found.account_of(vfolder) is not None
    limited(backend, vfolder, None)
    now += vfolder_limits.REMEMBER_SECONDS - 0.1
    assert found.account_of(vfolder) is not None
    now += 0.1
    assert found.account_of(vfolder) is None
    limited(backend, vfolder, 5)
    account = found.account_of(vfolder, fresh=True)
    assert account is not None
    assert found.account_of(vfolder) == account
