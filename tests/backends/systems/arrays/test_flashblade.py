"""FlashBlade's own ways: two families of versions, sessions that end, deletes by the array."""

import gc
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends.base import HardwareStatus, capabilities
from backends.fs import descriptors, layout
from backends.systems.purestorage.backend import FAST_REMOVE, PureStorageBackend
from contract.waiting import eventually
from core import errors
from core.names import QuotaScope, ScopeKind, VFolderId
from simulators.arrays import flashblade
from simulators.arrays.flashblade import FlashBladeSim, Profile
from tests.backends.systems.arrays.simulated import Array, running

STAND_IN = Path(__file__).resolve().parents[4] / "simulators/programs/rapidfile.py"


Running = AbstractContextManager[Array[FlashBladeSim, PureStorageBackend]]


def array(top: Path, profile: Profile | None = None) -> Running:
    simulator = FlashBladeSim(top, profile or Profile())
    return running(simulator, top, PureStorageBackend, flashblade.options)


@pytest.fixture
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory where the stand-in is called `pdu` and `prm`."""
    directory = tmp_path_factory.mktemp("programs")
    for name in ("pdu", "prm"):
        (directory / name).symlink_to(STAND_IN)
    return directory


def vfolder(it: PureStorageBackend) -> VFolderId:
    made = VFolderId(QuotaScope(ScopeKind.USER, uuid4()), uuid4())
    assert made.scope
    it.create_scope(made.scope)
    it.create_vfolder(made)
    return made


@pytest.mark.parametrize("version", ["auto", "1.8", "2.9"])
@pytest.mark.parametrize("page", [1, 100])
def test_both_families_are_spoken(tmp_path: Path, version: str, page: int) -> None:
    with array(tmp_path, Profile(page=page)) as it:
        mine = it.another(purity_api_version=version)
        found = mine.array_capacity()
        assert (found.capacity_bytes, found.used_bytes) == (100 << 30, 10 << 30)
        assert mine.performance().io_usec_write == 300.0
        assert mine.hardware().metadata["blades"] == "2"
        chosen = "2.14" if version == "auto" else version
        assert it.server.asked("GET", f"/api/{chosen}/blades")


@pytest.mark.parametrize("provisioned", [0, "", None])
def test_a_file_system_without_a_size_may_fill_the_array(tmp_path: Path, provisioned: Any) -> None:
    with array(tmp_path, Profile(provisioned=provisioned)) as it:
        assert it.backend.array_capacity().capacity_bytes == 500 << 30


def test_a_busy_array_is_asked_until_it_has_time(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        for status in (429, 503, 429, 429):
            it.server.faults.next(f"status {status}")
        assert it.backend.array_capacity().capacity_bytes == 100 << 30


def test_a_session_is_ended_with_its_backend(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        mine = it.another()
        mine.array_capacity()
        assert len(it.simulator.tokens) == 1
        del mine
        gc.collect()  # a request that was tried again leaves a traceback, and that its frames
        eventually(lambda: it.simulator.tokens == [])
        assert it.simulator.logouts == 1


def test_a_wrong_token_is_told_and_not_shown(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        with pytest.raises(errors.BackendFailed) as error:
            it.another(purity_api_token="wr0ng").array_capacity()
        assert "wr0ng" not in repr(error.value)
        with pytest.raises(errors.ConfigurationError):
            it.another(purity_fs_name="another").array_capacity()
        it.simulator.profile.destroyed = True
        with pytest.raises(errors.ConfigurationError):
            it.backend.array_capacity()


def test_health(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        assert it.backend.hardware().status == HardwareStatus.HEALTHY
        it.simulator.profile.blades["CH1.FB2"] = "critical"
        it.simulator.profile.alerts.append("warning")
        found = it.backend.hardware()
        assert found.status == HardwareStatus.DEGRADED
        assert "CH1.FB2" in (found.status_info or "")


def test_nobody_limits_a_directory(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        assert "quota" not in capabilities(it.backend)
        one = vfolder(it.backend)
        assert one.scope
        assert it.backend.describe_scope(one.scope).limit_bytes is None


def test_what_is_deleted_is_moved_where_the_array_removes_it(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        trash = tmp_path / layout.trash(None, "job").parent
        for offered in (False, True):
            (trash / "job").mkdir(parents=True)
            (trash / "job/file").write_bytes(b"x")
            if offered:
                (tmp_path / FAST_REMOVE).mkdir()
            parent = layout.trash(None, "job").parent
            with it.backend.root() as root, descriptors.opened(parent, root) as room:
                it.backend.before_purge(room, "job")
            assert (trash / "job").exists() is not offered
            if not offered:
                (trash / "job/file").unlink()
                (trash / "job").rmdir()
        it.simulator.clean()
        assert list((tmp_path / FAST_REMOVE).iterdir()) == []


@pytest.mark.parametrize("version", ["1", "2"])
def test_pdu_counts(
    tmp_path: Path, programs: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAPIDFILE_VERSION", version)
    with array(tmp_path) as it:
        mine = it.another(rapidfile_dir=str(programs))
        eventually(lambda: "fast-size" in capabilities(mine))
        one = vfolder(mine)
        top = mine.vfolder_path(one)
        (top / "new\nline").mkdir()
        (top / "new\nline/a").write_bytes(b"12345")
        (top / "b").symlink_to("nowhere")
        found = mine.fast_usage(one)
        assert (found.file_count, found.used_bytes, found.complete) == (3, 5, True)


@pytest.mark.parametrize("fault", ["fail", "garbage"])
def test_pdu_that_fails_is_not_believed(
    tmp_path: Path, programs: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAPIDFILE_FAULT", fault)
    with array(tmp_path) as it:
        mine = it.another(rapidfile_dir=str(programs))
        with pytest.raises(errors.BackendFailed):
            mine.fast_usage(vfolder(mine))


def test_another_program_of_that_name_is_not_taken_for_it(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "pdu").write_text("#!/bin/sh\necho pdu 0.9\n")
    (programs / "pdu").chmod(0o755)
    with array(tmp_path) as it:
        assert "fast-size" not in capabilities(it.another(rapidfile_dir=str(programs)))


@pytest.mark.parametrize("version", ["1.8", "2.14"])
@pytest.mark.parametrize("full_names", [False, True])
def test_snapshots_are_made_shown_and_eradicated(
    tmp_path: Path, version: str, *, full_names: bool
) -> None:
    with array(tmp_path, Profile(full_names=full_names)) as it:
        mine = it.another(purity_api_version=version)
        assert "snapshot" in capabilities(mine)
        one, name = vfolder(mine), "at:2026-11-29T12:00:00+01:00_x."
        (mine.vfolder_path(one) / "file").write_bytes(b"kept")
        mine.create_snapshot(one, name)
        assert [snapshot.name for snapshot in mine.list_snapshots(one)] == [name]
        with mine.open_snapshot(one, name) as kept:
            assert os.listdir(kept) == ["file"]
        it.simulator.snapshots["hourly"] = {"suffix": "hourly", "created": 1, "destroyed": False}
        mine.delete_snapshot(one, name)
        assert list(it.simulator.snapshots) == ["hourly"]
        with pytest.raises(errors.InvalidName, match="at most"):
            mine.create_snapshot(one, "x" * 60)


def test_a_destroyed_snapshot_that_stays_is_not_listed(tmp_path: Path) -> None:
    with array(tmp_path, Profile(eradicates=False)) as it:
        one = vfolder(it.backend)
        it.backend.create_snapshot(one, "a")
        it.backend.delete_snapshot(one, "a")
        assert it.backend.list_snapshots(one) == []
        with pytest.raises(errors.StorageError, match="Eradication is disabled"):
            it.backend.create_snapshot(one, "a")
        it.simulator.profile.eradicates = True
        it.backend.create_snapshot(one, "a")


def test_a_mount_without_snapshots_lacks_the_capability(tmp_path: Path) -> None:
    with array(tmp_path, Profile(shows_snapshots=False)) as it:
        assert "snapshot" not in capabilities(it.backend)
        one = vfolder(it.backend)
        with pytest.raises(errors.Conflict, match="mount does not show it"):
            it.another(purity_attribute_seconds=0.3).create_snapshot(one, "a")
        assert it.simulator.snapshots == {}


def test_quotas_of_the_services_own_user_and_group_are_told(tmp_path: Path) -> None:
    quotas = [("users", os.geteuid(), 100, 40), ("groups", os.getegid(), 100, 100)]
    with array(tmp_path, Profile(quotas=[*quotas, ("users", 4711, 10, 10)], page=1)) as it:
        found = it.backend.hardware()
        assert found.metadata["user_quota"] == "40 of 100 bytes"
        assert found.status == HardwareStatus.DEGRADED
        assert f"the quota of group {os.getegid()}" in (found.status_info or "")
        it.simulator.profile.quotas.clear()
        assert it.backend.hardware().status == HardwareStatus.HEALTHY


@pytest.mark.parametrize(
    ("allowed", "fault", "gone"), [(True, "", True), (True, "fail", False), (False, "", False)]
)
def test_rapidfile_removes_trees_where_it_may(
    tmp_path: Path,
    programs: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    allowed: bool,
    fault: str,
    gone: bool,
) -> None:
    monkeypatch.setenv("RAPIDFILE_FAULT", fault)
    with array(tmp_path) as it:
        mine = it.another(rapidfile_dir=str(programs), rapidfile_remove=allowed)
        (tmp_path / "trash/tree/sub").mkdir(parents=True)
        (tmp_path / "trash/tree/link").symlink_to("/etc")
        parent = os.open(tmp_path / "trash", os.O_RDONLY | os.O_DIRECTORY)
        try:
            mine.before_purge(parent, "tree")
        finally:
            os.close(parent)
        assert (tmp_path / "trash/tree").exists() is not gone
        assert Path("/etc").is_dir()
