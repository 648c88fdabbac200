"""WEKA's own ways, and with it the logins of arrays that have them."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from backends.base import HardwareStatus, HasFastUsage, Mount, capabilities
from backends.fs import layout
from backends.retention import SnapshotNotFound
from backends.systems.weka.backend import WekaBackend
from backends.systems.weka.backend import weka as make
from contract.waiting import eventually
from core import errors
from core.names import VFolderId
from simulators.arrays import weka
from simulators.arrays.weka import Profile, WekaSim
from simulators.serving import Faults, serving
from simulators.shelf import Shelf
from tests.backends.systems.arrays.simulated import Array, running, scope, vfolder_on

MIB = 1 << 20


Running = AbstractContextManager[Array[WekaSim, WekaBackend]]


def array(top: Path, profile: Profile | None = None) -> Running:
    return running(WekaSim(Shelf(top), profile or Profile()), top, WekaBackend, weka.options)


def below(top: Path, **more: Any) -> Running:
    """The directory `research` of a file system whose top is `top`."""
    (top / "research").mkdir()

    def backend(mount: Mount) -> WekaBackend:
        return make(Mount(mount.volume, top / "research", {**more, **mount.options}))

    return running(WekaSim(Shelf(top)), top, backend, weka.options)


def quota_of(it: Array[WekaSim, WekaBackend]) -> weka.Quota:
    """The only quota."""
    (found,) = it.simulator.quotas.values()
    return found


def test_a_child_logs_in_for_itself(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        it.backend.array_capacity()
        number = os.fork()
        if number == 0:
            try:
                os._exit(0 if it.backend.array_capacity().capacity_bytes else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0
        it.backend.array_capacity()
        assert (it.simulator.logins, it.simulator.refreshes) == (2, 0)


def test_volumes_of_a_cluster_share_a_login(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        for volume in (it.backend, it.another(), it.another(weka_fs_name="other")):
            volume.hardware()
        assert it.simulator.logins == 1


def test_another_endpoint_serves_when_one_is_away(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        ill = Faults(seed=1)
        with serving(it.simulator, ill) as other:
            for _ in range(3):
                ill.next("status 503")
            mine = it.another(weka_endpoint=other.url, weka_endpoints=[it.server.url])
            mine.create_scope(scope(), MIB)
        mine.create_scope(scope(), MIB)


def test_clusters_before_4_3_are_asked_by_inode_numbers(tmp_path: Path) -> None:
    with array(tmp_path, Profile(resolves=False, old_lists=True)) as it:
        with pytest.raises(errors.ConfigurationError, match=r"4\.1\.0\.71 resolves no paths"):
            it.backend.probe()
        mine, one = it.another(weka_inode_source="stat"), scope()
        mine.probe()
        mine.create_scope(one, MIB)
        number = str((tmp_path / one.directory).stat().st_ino)
        assert list(it.simulator.quotas) == [number]
        assert mine.describe_scope(one).limit_bytes == MIB
        mine.delete_scope(one)
        assert it.simulator.quotas == {}


def test_no_quota_for_what_holds_something_without_data_services(tmp_path: Path) -> None:
    with array(tmp_path, Profile(data_service=False)) as it:
        one = scope()
        (tmp_path / one.directory).mkdir()
        (tmp_path / one.directory / "old").write_bytes(b"x")
        with pytest.raises(errors.Conflict, match="data services"):
            it.backend.set_limit(one, MIB)


def test_limits_of_an_administrator_stay(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        quota_of(it).soft, quota_of(it).grace, quota_of(it).owner = 4096, 86400, "ops"
        it.backend.set_limit(one, 2 * MIB)
        assert (quota_of(it).limit, quota_of(it).soft) == (2 * MIB, 4096)
        assert (quota_of(it).grace, quota_of(it).owner) == (86400, "ops")
        it.backend.unset_limit(one)
        assert quota_of(it).soft == 4096


def test_a_soft_limit_that_is_passed_is_reported(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        assert it.backend.describe_scope(one).exceeded is None
        quota_of(it).soft, quota_of(it).over = 4096, 10
        assert it.backend.describe_scope(one).exceeded == "soft"
        quota_of(it).grace = 5
        found = it.backend.describe_scope(one)
        assert (found.soft_limit_bytes, found.exceeded) == (4096, "hard")


def test_a_file_system_made_again_is_looked_up_again(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        it.simulator.remake()
        assert it.backend.describe_scope(one).limit_bytes is None
        it.backend.set_limit(one, MIB)
        assert it.backend.describe_scope(one).limit_bytes == MIB
        gone = it.another(weka_fs_name="gone")
        with pytest.raises(errors.ConfigurationError, match="no file system 'gone'"):
            gone.describe_scope(one)


# -- Mounts of a directory -------------------------------------------------------------------------
def test_a_directory_of_a_file_system_is_a_volume(tmp_path: Path) -> None:
    with below(tmp_path, weka_path="/research") as it:
        it.backend.probe()
        one = scope()
        it.backend.create_scope(one, MIB)
        assert quota_of(it).path == f"research/{one.directory}"
        assert it.backend.describe_scope(one).limit_bytes == MIB
        assert "snapshot" not in capabilities(it.backend)
        it.backend.delete_scope(one)
        assert it.simulator.quotas == {}


def test_another_directory_than_the_mounted_one_is_noticed(tmp_path: Path) -> None:
    with below(tmp_path, weka_path="/elsewhere") as it:
        with pytest.raises(errors.BackendFailed, match="not the array's"):
            it.backend.probe()
        with pytest.raises(errors.BackendFailed, match="not the array's"):
            it.backend.create_scope(scope(), MIB)


def test_snapshots_may_be_shown_elsewhere(tmp_path: Path) -> None:
    shown = str(tmp_path / weka.SNAPSHOTS)
    with below(tmp_path, weka_path="research/", weka_snapshots_path=shown) as it:
        eventually(lambda: "snapshot" in capabilities(it.backend))
        one = vfolder_on(it.backend)
        it.backend.create_snapshot(one, "first")
        (it.backend.vfolder_path(one) / "file").write_bytes(b"changed")
        assert kept(it.backend, one, "first") == b"kept"
        it.backend.delete_snapshot(one, "first")
        assert "snapshot" in it.another(weka_snapshots_path="/no/such").lacking()


# -- Snapshots -------------------------------------------------------------------------------------
def kept(backend: WekaBackend, one: VFolderId, name: str) -> bytes:
    """What the file of a vfolder holds in a snapshot."""
    with backend.open_snapshot(one, name) as top:
        return os.read(os.open("file", os.O_RDONLY, dir_fd=top), 100)


def test_a_name_is_free_before_weka_has_removed_its_snapshot(tmp_path: Path) -> None:
    with array(tmp_path, Profile(removing_seconds=3600.0)) as it:
        one = vfolder_on(it.backend)
        for _ in range(2):
            it.backend.create_snapshot(one, "x" * 128)
            assert [each.name for each in it.backend.list_snapshots(one)] == ["x" * 128]
            it.backend.delete_snapshot(one, "x" * 128)
            assert it.backend.list_snapshots(one) == []
        assert len(it.simulator.snapshots) == 2
        assert not list((tmp_path / layout.HIDDEN / layout.SNAPSHOTS).iterdir())


@pytest.mark.parametrize("fault", ["drop after", "html 502 after", "truncate"])
def test_a_snapshot_whose_answer_is_lost_is_made_once(tmp_path: Path, fault: str) -> None:
    with array(tmp_path) as it:
        one = vfolder_on(it.backend)
        it.server.faults.next(fault, "POST", "/snapshots")
        it.backend.create_snapshot(one, "first")
        assert len(it.simulator.snapshots) == 1
        it.backend.delete_snapshot(one, "first")


def test_snapshots_of_a_lost_file_system_are_not_ours(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = vfolder_on(it.backend)
        it.backend.create_snapshot(one, "first")
        it.simulator.remake()
        assert it.backend.list_snapshots(one) == []
        with pytest.raises(SnapshotNotFound):
            it.backend.delete_snapshot(one, "first")


def test_a_refused_snapshot_leaves_no_name(tmp_path: Path) -> None:
    with array(tmp_path, Profile(reads_snapshots=False)) as it:
        one = vfolder_on(it.backend)
        assert it.backend.lacking() == {"snapshot"}
        with pytest.raises(errors.BackendFailed, match="Forbidden"):
            it.backend.create_snapshot(one, "first")
        assert not list((tmp_path / layout.HIDDEN).glob("snapshots/*"))
        assert it.backend.list_snapshots(one) == []


# -- Usage of a vfolder ----------------------------------------------------------------------------
def test_a_quota_of_a_vfolder_counts_its_bytes(tmp_path: Path) -> None:
    with array(tmp_path, Profile(counting_seconds=3600.0)) as it:
        assert it.backend.skill(HasFastUsage) is None
        counting = make(Mount("v", tmp_path, {**it.backend.mount.options, COUNTS: True}))
        eventually(lambda: "fast-size" in capabilities(counting))
        one, counter = vfolder_on(counting), counting.skill(HasFastUsage)
        assert counter is not None
        assert not counter.fast_usage(one).complete
        it.simulator.give_quota(str(one.directory))
        assert not counter.fast_usage(one).complete, "it is still being counted"
        it.simulator.count_all()
        found = counter.fast_usage(one)
        assert (found.complete, found.file_count, found.used_bytes) == (True, None, 4096)


COUNTS = "weka_vfolder_quotas"


# -- Health ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("profile", "status", "words"),
    [
        (Profile(), HardwareStatus.HEALTHY, None),
        (Profile(status="REBUILDING"), HardwareStatus.DEGRADED, "status is REBUILDING"),
        (Profile(status="UNAVAILABLE"), HardwareStatus.OFFLINE, "status is UNAVAILABLE"),
        (Profile(io_status="STOPPED"), HardwareStatus.DEGRADED, "I/O is STOPPED"),
        (Profile(lost_drives=1), HardwareStatus.DEGRADED, "5 of 6 drives are active"),
        (
            Profile(alerts=[{"type": "NodeDown", "severity": "MAJOR", "title": "A node is down"}]),
            HardwareStatus.DEGRADED,
            "Alert: A node is down.",
        ),
        (
            Profile(alerts=[{"type": f"T{n}", "severity": "CRITICAL"} for n in range(5)]),
            HardwareStatus.DEGRADED,
            "Alert: T2. 2 more alerts.",
        ),
        (
            Profile(alerts=[{"type": "T", "severity": "CRITICAL", "muted": True}]),
            HardwareStatus.HEALTHY,
            None,
        ),
        (Profile(alerts=[{"type": "T", "severity": "MINOR"}]), HardwareStatus.HEALTHY, None),
        (Profile(reads_alerts=False), HardwareStatus.HEALTHY, None),
    ],
)
def test_health_is_more_than_the_status(
    tmp_path: Path, profile: Profile, status: HardwareStatus, words: str | None
) -> None:
    with array(tmp_path, profile) as it:
        found = it.backend.hardware()
        assert found.status == status
        assert (words is None) == (found.status_info is None)
        assert (words or "") in (found.status_info or "")
        alerts = sum(not alert.get("muted") for alert in profile.alerts)
        assert found.metadata["alerts"] == (str(alerts) if profile.reads_alerts else "unknown")


def test_health_rates_and_capacity(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        assert it.backend.hardware().status == HardwareStatus.HEALTHY
        rates = it.backend.performance()
        assert (rates.iops_read, rates.io_usec_read, rates.io_usec_write) == (200, 200.0, 300.0)
        it.simulator.profile.sampled = "some"
        assert it.backend.performance().iops_read == 100
        it.simulator.profile.sampled = "no"
        with pytest.raises(errors.Unavailable, match="no sample"):
            it.backend.performance()
        assert it.backend.array_capacity().capacity_bytes == 100 << 30
        eventually(lambda: "quota" in capabilities(it.backend))
        it.simulator.profile.password_change_required = True
        it.simulator.expire()
        assert it.backend.hardware().status == HardwareStatus.UNAVAILABLE


@pytest.mark.parametrize("fault", ["stuck", "truncate", "empty", "wrong json", "slow"])
def test_answers_that_are_none_are_asked_for_again(tmp_path: Path, fault: str) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        mine = it.another(answer_seconds=1.0)
        it.server.faults.next(fault, "GET", "quota")
        assert mine.describe_scope(one).limit_bytes == MIB
