"""The limit of one vfolder, from its record, where the storage system limits scopes itself."""

from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from msgspec import structs
from redis import Redis

from backends.base import DEFAULT_MODE, Backend, HasQuota, MountedBackend
from backends.entries import access_files
from backends.quota import ledger_of, soft, soft_of
from backends.volumes import Volumes, operations, quota_views, registry, vfolder_limits
from core.access import Seals, SubjectRecord, records
from core.errors import QuotaExceeded
from core.names import QuotaScope, VFolderId
from core.quota import QuotaLedger
from core.settings import load
from tests.support.doors import TICKET_SECRET, settings_in
from tests.support.valkey import Valkey
from tests.workers.run.test_quota_promises import Grace
from workers.verbs.record_index import RecordIndex

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
    monkeypatch.setattr(vfolder_limits, "time", SimpleNamespace(monotonic=lambda: now))
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


def test_a_total_counts_what_volumes_of_every_kind_hold(
    backend: Backend,
) -> None:
    quota, vfolder = ledger_of(backend), made(backend, None)
    assert quota is not None
    assert quota.totals is not None
    quota.totals.set({SCOPE.directory: 100}, [backend.mount.volume, "elsewhere"])
    assert quota_views.follow_total(backend, SCOPE), "it is counted"
    soft.reserve(backend, vfolder, "a", 90)
    QuotaLedger(quota.ledger._redis, "elsewhere").record_count(SCOPE.directory, 3, 0)
    with pytest.raises(QuotaExceeded, match="over all volumes, has 2 bytes left") as error:
        soft.reserve(backend, vfolder, "b", 3)
    assert error.value.facts["limited_by"] == "total"
    soft.settle(backend, vfolder, "a", 90)
    soft.reserve(backend, vfolder, "b", 2)
    quota.end(SCOPE.directory)  # the limit of the scope goes; the total still counts it
    assert quota.balance(SCOPE.directory).settled_bytes == 95
    quota.end(SCOPE.directory, gone=True)
    assert quota.balance(SCOPE.directory).settled_bytes == 0
    quota.totals.set({SCOPE.directory: None}, ["elsewhere"])
    assert quota_views.follow_total(backend, SCOPE)
    soft.reserve(backend, vfolder, "c", 10**9)


def test_a_rescan_of_the_home_volume_knows_totals_again(backend: Backend, tmp_path: Path) -> None:
    """The store may have lost them; the records are the truth."""
    settings = load(tmp_path / "storage-proxy.toml", environ={})
    record = SubjectRecord(kind="user", id=SCOPE.id, total_limit_bytes=100)
    text = Seals([TICKET_SECRET]).seal(record, records.subject_place("local", SCOPE.id))
    home = Volumes(settings).get("local")
    access_files.replace_subject(home, SCOPE, text, "")
    quota = ledger_of(backend)
    assert quota is not None
    assert quota.total(SCOPE.directory) is None
    RecordIndex(settings, mounted(backend), print).rebuild(lambda: None, repair=False)
    assert quota.totals is not None
    quota.totals.forget()
    known = quota.total(SCOPE.directory)
    assert (known is not None) == (backend.mount.volume == "local")
    assert backend.mount.volume in quota.totals.volumes()


def mounted(backend: Backend) -> MountedBackend:
    found = backend.skill(MountedBackend)
    assert found is not None
    return found
