"""OneFS's own ways: sessions with two tokens, quotas that change their kind, jobs, snapshots."""

import errno
import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.base import HardwareStatus, Mount, capabilities
from backends.fs import descriptors, layout
from backends.systems.onefs.backend import OneFsBackend
from contract.waiting import eventually
from core import errors
from core.names import QuotaScope, VFolderId
from simulators.arrays import onefs
from simulators.arrays.onefs import BASE, OneFsSim, Profile
from simulators.shelf import Shelf
from tests.backends.systems.arrays.simulated import Array, running, scope, vfolder_on
from tests.backends.systems.arrays.watching import Watch

MIB = 1 << 20


Running = AbstractContextManager[Array[OneFsSim, OneFsBackend]]


def array(top: Path, profile: Profile | None = None) -> Running:
    return running(OneFsSim(Shelf(top), profile or Profile()), top, OneFsBackend, onefs.options)


def quota_of(it: Array[OneFsSim, OneFsBackend], one: QuotaScope) -> dict[str, Any]:
    (found,) = (q for q in it.simulator.quotas.values() if q["path"] == f"{BASE}/{one.directory}")
    return found


@contextmanager
def in_trash(backend: OneFsBackend, vfolder: VFolderId) -> Iterator[int]:
    """Move a vfolder to the trash, as the verb `delete` does, under the name `job`."""
    trash = layout.trash(vfolder.scope, "job")
    with (
        backend.root() as root,
        descriptors.made(trash.parent, root, descriptors.HIDDEN_MODE) as directory,
        descriptors.opened(vfolder.directory.parent, root) as parent,
    ):
        descriptors.rename_new(vfolder.directory.name, parent, trash.name, directory)
        yield directory


# -- Scopes ----------------------------------------------------------------------------------------
def test_a_limit_that_goes_leaves_a_quota_that_counts(tmp_path: Path) -> None:
    """A quota that had a limit is refused as an accounting quota: it must be made again."""
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        old = quota_of(it, one)["id"]
        it.backend.unset_limit(one)
        assert quota_of(it, one)["enforced"] is False
        assert quota_of(it, one)["id"] != old
        assert all(entry.body != {"enforced": False} for entry in it.server.asked("PUT"))


def test_thresholds_of_an_administrator_stay_where_they_can(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, 8 * MIB)
        quota_of(it, one)["thresholds"] |= {"soft": 4 * MIB, "soft_grace": 60, "advisory": MIB}
        it.backend.set_limit(one, 6 * MIB)
        kept = {"soft": 4 * MIB, "soft_grace": 60, "advisory": MIB}
        assert quota_of(it, one)["thresholds"] == {"hard": 6 * MIB, **kept}
        it.backend.set_limit(one, 2 * MIB)
        assert quota_of(it, one)["thresholds"] == {"hard": 2 * MIB, "advisory": MIB}


def test_a_quota_of_the_same_path_never_holds_a_new_scope(tmp_path: Path) -> None:
    """It was left by a directory that an administrator removed."""
    with array(tmp_path) as it:
        one = scope()
        (tmp_path / one.directory).mkdir()
        old = {"path": f"{BASE}/{one.directory}", "include_snapshots": False, "enforced": True}
        it.simulator._new({**old, "thresholds": {"hard": MIB}})
        (tmp_path / one.directory).rmdir()
        it.backend.create_scope(one, 9 * MIB)
        assert it.backend.describe_scope(one).limit_bytes == 9 * MIB
        it.backend.delete_scope(one)
        (tmp_path / one.directory).mkdir()
        it.simulator._new({**old, "thresholds": {"hard": MIB}})
        (tmp_path / one.directory).rmdir()
        it.backend.create_scope(one)
        assert it.backend.describe_scope(one).limit_bytes is None


def test_a_quota_that_counts_snapshots_is_not_ours_and_its_limit_is_reported(
    tmp_path: Path,
) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, 8 * MIB)
        facts = {"path": f"{BASE}/{one.directory}", "include_snapshots": True, "enforced": True}
        it.simulator._new({**facts, "thresholds": {"hard": 2 * MIB}})
        assert it.backend.describe_scope(one).limit_bytes == 2 * MIB
        with pytest.raises(errors.Conflict, match="counts snapshots"):
            it.backend.set_limit(one, 4 * MIB)
        it.backend.delete_scope(one)
        assert [q["include_snapshots"] for q in it.simulator.quotas.values()] == [True]


def test_two_quotas_of_one_kind_are_refused(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, 8 * MIB)
        facts = {"path": f"{BASE}/{one.directory}", "include_snapshots": False, "enforced": False}
        it.simulator._new(facts)
        with pytest.raises(errors.BackendFailed, match="2 quotas"):
            it.backend.describe_scope(one)


def test_without_a_licence_there_is_no_quota(tmp_path: Path) -> None:
    with array(tmp_path, Profile(license="Expired")) as it:
        assert "quota" not in capabilities(it.backend)
        with pytest.raises(errors.BackendFailed, match="license is not active"):
            it.backend.create_scope(scope(), MIB)


# -- Absence ---------------------------------------------------------------------------------------
def test_a_directory_that_its_quota_holds_is_removed_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may refuse rmdir(2) of a directory with a quota."""
    with array(tmp_path) as it:
        one = scope()
        remove, full = os.rmdir, False

        def refused(name: Any, *, dir_fd: int | None = None) -> None:
            if name == one.directory and it.simulator.quotas:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            if name == one.directory and full:
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
            remove(name, dir_fd=dir_fd)

        it.backend.create_scope(one, MIB)
        monkeypatch.setattr(os, "rmdir", refused)
        full = True
        with pytest.raises(errors.QuotaScopeNotEmpty):
            it.backend.delete_scope(one)
        assert it.backend.describe_scope(one).limit_bytes == MIB
        full = False
        it.backend.delete_scope(one)
        assert it.simulator.quotas == {}


# -- Sessions --------------------------------------------------------------------------------------
def test_volumes_of_one_cluster_share_a_session_and_end_it(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        others = [it.another() for _ in range(3)]
        for backend in (it.backend, *others):
            backend.array_capacity()
        assert it.simulator.logins == 1
        del backend
        others.clear()
        gc.collect()
        assert it.simulator.logouts == 0
        it.backend = None  # type: ignore[assignment] # the last volume goes
        gc.collect()
        assert (it.simulator.logouts, it.simulator.sessions) == (1, {})


def test_a_user_and_a_password_in_each_request_need_no_session(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        mine = it.another(dell_auth="basic", dell_username=None, dell_admin=onefs.USER)
        mine.create_scope(scope(), MIB)
        assert it.simulator.logins == 0
        it.simulator.profile.basic = False
        with pytest.raises(errors.BackendFailed, match="user or the password"):
            mine.array_capacity()
        asked = len(it.server.journal)
        with pytest.raises(errors.BackendFailed, match="user or the password"):
            mine.array_capacity()
        assert len(it.server.journal) == asked


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dell_username": None}, "dell_username"),
        ({"dell_ifs_path": "/data"}, "/ifs"),
        ({"dell_api_version": "new"}, "dell_api_version"),
        ({"dell_endpoint": "http://onefs.example"}, "https"),
        ({"dell_passwort": "x"}, "dell_password"),
    ],
)
def test_options_that_are_wrong(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    options = {**onefs.options("https://onefs.example"), **given}
    with pytest.raises(errors.ConfigurationError, match=words):
        OneFsBackend(Mount("array", tmp_path, options))


def test_an_access_zone_is_checked_and_named(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        mine = it.another(dell_zone="research", dell_api_version=16)
        mine.probe()
        mine.create_scope(scope(), MIB)
        assert all(e.query["zone"] == "research" for e in it.server.asked("POST", "quotas"))
        it.simulator.profile.zone_path = "/ifs/other"
        with pytest.raises(errors.ConfigurationError, match="access zone research"):
            mine.probe()


# -- Figures ---------------------------------------------------------------------------------------
def test_health_rates_and_capacity(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        assert it.backend.hardware().status == HardwareStatus.HEALTHY
        found = it.backend.performance()
        assert (found.iops_read, found.iops_write, found.io_bytes_read) == (400, 50, 4 << 20)
        assert (found.io_usec_read, found.io_usec_write) == (350.0, 300.0)
        it.simulator.profile.idle = True
        assert it.backend.performance().io_usec_read == 0.0
        found_capacity = it.backend.array_capacity()
        assert (found_capacity.capacity_bytes, found_capacity.used_bytes) == (100 << 30, 10 << 30)
        it.simulator.profile.statistics = False
        assert it.backend.array_capacity().capacity_bytes == 148 << 30


@pytest.mark.parametrize("word", ["dead", "down", "smartfailed", "read-only"])
def test_a_node_that_is_ill_is_named(tmp_path: Path, word: str) -> None:
    with array(tmp_path, Profile(ill_node=word)) as it:
        found = it.backend.hardware()
        assert (found.status, found.status_info) == (
            HardwareStatus.DEGRADED,
            f"node 2 is {word}.",
        )


def test_events_that_are_open_degrade(tmp_path: Path) -> None:
    with array(tmp_path, Profile(severity="emergency")) as it:
        assert it.backend.hardware().status == HardwareStatus.DEGRADED
        it.simulator.profile.severity = "information"
        assert it.backend.hardware().status == HardwareStatus.HEALTHY


# -- Trees and snapshots ---------------------------------------------------------------------------
def test_onefs_removes_a_tree_once(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        mine = it.another(dell_tree_delete=True)
        vfolder = vfolder_on(mine)
        it.server.faults.next("drop after", "POST", "job/jobs")
        with in_trash(mine, vfolder) as trash:
            mine.before_purge(trash, "job", vfolder)
            assert os.listdir(trash) == []
        assert len(it.server.asked("POST", "job/jobs")) == 1


@pytest.mark.parametrize("state", ["failed", "cancelled_user", "failed_not_retried"])
def test_a_job_that_fails_is_named_and_leaves_the_tree(
    tmp_path: Path, state: str, watch: Watch
) -> None:
    with array(tmp_path, Profile(job_states=("running", "paused_policy", state))) as it:
        mine = it.another(dell_tree_delete=True)
        vfolder = vfolder_on(mine)
        with in_trash(mine, vfolder) as trash:
            mine.before_purge(trash, "job", vfolder)
            assert os.listdir(trash) == ["job"]
        number = next(iter(it.simulator.jobs))
        assert any(f"job {number} (TreeDelete) ended as {state}" in str(row) for row in watch.lines)


def test_snapshots_go_with_their_vfolder_unless_it_came_back(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        vfolder = vfolder_on(it.backend)
        it.backend.create_snapshot(vfolder, "one")
        with in_trash(it.backend, vfolder) as trash:
            it.backend.create_vfolder(vfolder)
            it.backend.before_purge(trash, "job", vfolder)
            assert [one.name for one in it.backend.list_snapshots(vfolder)] == ["one"]
            it.backend.vfolder_path(vfolder).rmdir()
            it.backend.before_purge(trash, "job", vfolder)
        assert it.simulator.snapshots == {}


def test_a_snapshot_of_another_directory_is_never_taken_for_ours(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        vfolder = vfolder_on(it.backend)
        it.backend.create_snapshot(vfolder, "one")
        for row in it.simulator.snapshots.values():
            row["name"] += "x"
        assert [one.name for one in it.backend.list_snapshots(vfolder)] == ["onex"]
        it.simulator.snapshots[1] = {
            **next(iter(it.simulator.snapshots.values())),
            "id": 1,
            "name": "of an administrator",
            "path": BASE,
        }
        assert [one.name for one in it.backend.list_snapshots(vfolder)] == ["onex"]


def test_snapshots_need_their_licence_and_an_export_that_shows_them(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        it.backend.probe()
        eventually(lambda: "snapshot" in capabilities(it.backend))
        it.simulator.profile.snapshot_license = "Unlicensed"
        assert "snapshot" not in capabilities(it.backend)
        it.simulator.profile.snapshot_license = None
        eventually(lambda: "snapshot" in capabilities(it.backend))
        (tmp_path / onefs.SNAPSHOTS).rmdir()
        assert "snapshot" not in capabilities(it.backend)
