"""Storage Scale's own ways: jobs, a database that follows, filesets that are linked, root."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from backends.base import HardwareStatus, Mount, capabilities
from backends.systems.gpfs.backend import GpfsBackend, decoded, encoded
from backends.volumes import backend_factory
from contract.waiting import eventually
from core import errors
from simulators.arrays import scale
from simulators.arrays.scale import BASE, Profile, ScaleSim
from simulators.arrays.scale_cluster import UNLINKED, Cluster
from simulators.serving import serving
from simulators.shelf import Shelf
from tests.backends.systems.arrays.simulated import Array, running, scope, vfolder_on

MIB = 1 << 20


Scale = Array[ScaleSim, GpfsBackend]


def array(
    top: Path, profile: Profile | None = None, **cluster: Any
) -> AbstractContextManager[Scale]:
    simulator = ScaleSim(Cluster(Shelf(top), **cluster), profile or Profile())
    return running(simulator, top, GpfsBackend, scale.options)


# -- Scopes ----------------------------------------------------------------------------------------
def test_the_kind_of_quota_may_change(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        it.simulator.cluster.per_fileset = True
        it.backend.set_limit(one, 2 * MIB)
        assert it.backend.describe_scope(one).limit_bytes == 2 * MIB


@pytest.mark.parametrize(
    ("cluster", "config", "word"),
    [
        ({"root_held": True}, True, "hard"),
        ({"root_held": False}, True, "not for root"),
        ({"root_held": None}, True, "not for root"),
        ({"root_held": True}, False, "unknown"),
        ({"enforced": False}, True, "off"),
    ],
)
def test_who_is_held_to_a_limit_is_asked(
    tmp_path: Path, cluster: dict[str, Any], *, config: bool, word: str
) -> None:
    with array(tmp_path, Profile(config=config), **cluster) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        assert it.backend.describe_scope(one).enforced == word
        eventually(lambda: ("quota" in capabilities(it.backend)) == (word != "off"))


def test_a_default_limit_is_reported_and_stays(tmp_path: Path) -> None:
    with array(tmp_path, default_limit=4 * MIB) as it:
        one = scope()
        it.backend.create_scope(one)
        assert it.backend.describe_scope(one).limit_bytes == 4 * MIB
        it.backend.set_limit(one, 8 * MIB)
        assert it.backend.describe_scope(one).limit_bytes == 8 * MIB
        it.backend.unset_limit(one)
        assert it.backend.describe_scope(one).limit_bytes == 4 * MIB


def test_the_fileset_of_another_tool_is_found_by_its_path(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.simulator.cluster.create("by hand", f"{os.geteuid()}:{os.getegid()}", 0o755, "new")
        it.simulator.cluster.link("by hand", f"{BASE}/{one.directory}")
        it.simulator.cluster.set_limit("by hand", 2 * MIB)
        it.backend.set_limit(one, 8 * MIB)
        assert it.another().describe_scope(one).limit_bytes == 8 * MIB
        it.backend.delete_scope(one)
        assert it.simulator.quotas == {}


def test_a_plain_directory_gets_no_limit(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        (tmp_path / one.directory).mkdir()
        with pytest.raises(errors.Conflict, match="not a fileset"):
            it.backend.set_limit(one, MIB)
        for limited in (it.backend.set_inode_limit, it.backend.set_soft_limit):
            with pytest.raises(errors.Conflict, match="not a fileset"):
                limited(one, MIB)
            limited(one, None)
        it.backend.unset_limit(one)
        it.backend.delete_scope(one)
        assert not (tmp_path / one.directory).exists()


def test_an_old_fileset_never_becomes_a_new_scope_unnoticed(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        elsewhere, full = scope(), scope()
        owner = f"{os.geteuid()}:{os.getegid()}"
        it.simulator.cluster.create(elsewhere.directory, owner, 0o755, "new")
        it.simulator.cluster.link(elsewhere.directory, f"{BASE}/elsewhere")
        with pytest.raises(errors.Conflict, match="linked at another directory"):
            it.backend.create_scope(elsewhere, MIB)
        it.simulator.cluster.create(full.directory, owner, 0o755, "new")
        (tmp_path / UNLINKED / full.directory / "old").write_bytes(b"x")
        with pytest.raises(errors.Conflict, match="holds files"):
            it.backend.create_scope(full, MIB)


def test_limits_of_an_administrator_stay(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, 8 * MIB)
        name = one.directory
        it.simulator.cluster.set_block(name, 4 * MIB, 8 * MIB)
        it.simulator.cluster.set_files(name, 7, 9)
        it.backend.set_limit(one, 16 * MIB)
        found = it.backend.describe_scope(one)
        assert (found.soft_limit_bytes, found.limit_inodes) == (4 * MIB, 9)
        it.backend.set_limit(one, MIB)
        assert it.backend.describe_scope(one).soft_limit_bytes is None
        it.backend.set_inode_limit(one, 100)
        assert it.simulator.cluster.further[name] == {"files": 100, "files_soft": 7}
        it.backend.set_inode_limit(one, 5)
        assert it.simulator.cluster.further[name] == {"files": 5}


def test_a_passed_soft_limit_is_reported(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, 8 * MIB)
        it.backend.set_soft_limit(one, MIB)
        assert it.backend.describe_scope(one).exceeded is None
        (tmp_path / one.directory / "big").write_bytes(b"x" * 2 * MIB)
        assert it.backend.describe_scope(one).exceeded == "soft"
        it.simulator.cluster.expired.append(one.directory)
        assert it.backend.describe_scope(one).exceeded == "hard"


# -- Absence ---------------------------------------------------------------------------------------
def test_a_full_fileset_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vfolder is made between the look at the scope and its removal."""
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        unlink = it.simulator.cluster.unlink

        def late(name: str, *, force: bool = False) -> None:
            (tmp_path / one.directory / "late").mkdir()
            unlink(name, force=force)

        monkeypatch.setattr(it.simulator.cluster, "unlink", late)
        with pytest.raises(errors.QuotaScopeNotEmpty):
            it.backend.delete_scope(one)
        assert (tmp_path / one.directory / "late").is_dir()
        assert it.backend.describe_scope(one).limit_bytes == MIB


def test_a_fileset_in_use_stays(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        it.simulator.cluster.in_use.append(one.directory)
        with pytest.raises(errors.BackendFailed, match=r"job \d+ failed.*busy") as caught:
            it.backend.delete_scope(one)
        assert BASE not in caught.value.detail
        assert (tmp_path / one.directory).is_dir()
        it.simulator.cluster.in_use.clear()
        it.backend.delete_scope(one)


def test_a_removal_that_died_between_its_jobs_is_continued(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        it.simulator.cluster.unlink(one.directory)
        it.backend.delete_scope(one)
        assert it.simulator.quotas == {}


# -- Credentials and nodes -------------------------------------------------------------------------
def test_another_node_answers_when_one_is_away_and_has_other_jobs(tmp_path: Path) -> None:
    """The node goes after it accepted a job; the other one has a job of that number."""
    with array(tmp_path) as it:
        other = ScaleSim(it.simulator.cluster)
        other.jobs[1001] = {
            "jobId": 1001,
            "status": "FAILED",
            "polls": 0,
            "request": {"type": "DELETE", "url": "https://gui/scalemgmt/v2/filesystems/fs9"},
            "result": {"exitCode": 1, "stderr": ["of another request"]},
        }
        with serving(other) as second:
            mine = it.another(gpfs_endpoints=[second.url])
            for _ in range(3):
                it.server.faults.next("drop before", "GET", "jobs")
            mine.create_scope(scope(), MIB)
        assert len(it.simulator.cluster.filesets) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"gpfs_endpoint": None}, "gpfs_endpoint"),
        ({"gpfs_owner": "root"}, "gpfs_owner"),
        ({"gpfs_fileset_prefix": "a:b"}, "gpfs_fileset_prefix"),
        ({"gpfs_inode_space": "old"}, "gpfs_inode_space"),
    ],
)
def test_options_that_are_wrong(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    options = {**scale.options("https://gui.example"), **given}
    with pytest.raises(errors.ConfigurationError, match=words):
        GpfsBackend(Mount("array", tmp_path, options))


def test_both_names_lead_to_it() -> None:
    mount = Mount("array", Path("/gpfs/fs1"), scale.options("https://gui.example"))
    names = ("gpfs", "spectrumscale")
    assert [backend_factory(name)(mount).name for name in names] == list(names)


@pytest.mark.parametrize(
    "given", [{"gpfs_fs_name": "fs9"}, {"gpfs_path": "/elsewhere"}], ids=["name", "path"]
)
def test_a_file_system_that_is_not_there(tmp_path: Path, given: dict[str, str]) -> None:
    with array(tmp_path) as it, pytest.raises(errors.ConfigurationError):
        it.another(**given).probe()


def test_a_read_whose_node_was_lost_is_made_again_a_few_times(tmp_path: Path) -> None:
    with array(tmp_path, Profile(lost=2)) as it:
        it.backend.create_scope(scope(), MIB)
    with array(tmp_path, Profile(lost=9)) as it:
        with pytest.raises(errors.BackendFailed, match=r"job \d+ failed.*EFSSG0999C"):
            it.backend.create_scope(scope(), MIB)
        assert len(it.server.asked("GET", "/directory/")) == 3


# -- Figures ---------------------------------------------------------------------------------------
def test_health_rates_and_capacity(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        assert it.backend.hardware().status == HardwareStatus.HEALTHY
        found = it.backend.performance()
        assert (found.iops_read, found.iops_write) == (200, 100)
        assert (found.io_bytes_read, found.io_bytes_write) == (2 * MIB, MIB)
        assert (found.io_usec_read, found.io_usec_write) == (500.0, 2000.0)
        it.simulator.profile.idle = True
        assert it.backend.performance().io_usec_read == 0.0
        it.simulator.profile.sampled = False
        with pytest.raises(errors.Unavailable, match="no complete sample"):
            it.backend.performance()
        room = it.backend.array_capacity()
        total, used = 101 << 30, (10 << 30) + (512 << 20)
        assert (room.capacity_bytes, room.used_bytes) == (total, used)


@pytest.mark.parametrize("state", ["DEGRADED", "FAILED", "UNKNOWN"])
def test_a_node_that_is_ill_is_named(tmp_path: Path, state: str) -> None:
    with array(tmp_path, Profile(node_state=state)) as it:
        found = it.backend.hardware()
        words = f"node node2 is {state} (GPFS {state})."
        assert (found.status, found.status_info) == (HardwareStatus.DEGRADED, words)


def test_hints_are_no_illness(tmp_path: Path) -> None:
    with array(tmp_path, Profile(node_state="TIPS")) as it:
        assert it.backend.hardware().status == HardwareStatus.HEALTHY


# -- Snapshots -------------------------------------------------------------------------------------
def test_names_of_snapshots_are_without_separators_on_the_cluster(tmp_path: Path) -> None:
    name = "c:2026-11-21T10:00:00+00:00"
    assert decoded(encoded(name)) == name
    with array(tmp_path) as it:
        vfolder = vfolder_on(it.backend)
        it.backend.create_snapshot(vfolder, name)
        assert vfolder.scope
        it.simulator.cluster.keep(vfolder.scope.directory, "of_an_administrator")
        assert [one.name for one in it.backend.list_snapshots(vfolder)] == [name]
        with it.backend.open_snapshot(vfolder, name) as kept:
            assert os.listdir(kept) == ["file"]
        it.backend.delete_snapshot(vfolder, name)
        (left,) = it.simulator.cluster.snapshots[vfolder.scope.directory]
        assert left["name"] == "of_an_administrator"


def test_dependent_filesets_have_no_snapshots(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        mine = it.another(gpfs_inode_space="root")
        mine.probe()
        assert "snapshot" not in capabilities(mine)
        vfolder = vfolder_on(mine)
        with pytest.raises(errors.BackendFailed, match="not independent"):
            mine.create_snapshot(vfolder, "one")


def test_a_snapshot_whose_job_failed_is_not_there(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        vfolder = vfolder_on(it.backend)
        assert vfolder.scope
        fileset = it.simulator.cluster.filesets[vfolder.scope.directory]
        fileset["independent"] = False
        with pytest.raises(errors.BackendFailed, match=r"job \d+ failed"):
            it.backend.create_snapshot(vfolder, "one")
        assert it.backend.list_snapshots(vfolder) == []
        fileset["independent"] = True
        it.backend.create_snapshot(vfolder, "one")
