"""ONTAP's own ways: jobs that lie, pages that are empty, quota that is off, volumes of one name."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import HardwareStatus, Mount, capabilities
from backends.systems.netapp.backend import NetAppBackend
from backends.transfer.xcp import exported
from backends.tree import remove_tree
from backends.volumes import backend_factory
from backends.volumes.wrappers import HelperRequest, perform
from contract.waiting import eventually
from core import errors
from core.jobs import Unattended
from core.names import QuotaScope, VFolderId
from simulators.arrays import ontap
from simulators.arrays.ontap import JobFailure, OntapSim, Profile
from simulators.serving import Faults, certificate
from simulators.shelf import Shelf
from tests.backends.systems.arrays.simulated import PATIENT, Array, running, scope, vfolder_on
from tests.backends.systems.arrays.watching import Watch

MIB = 1 << 20


Running = AbstractContextManager[Array[OntapSim, NetAppBackend]]


def array(top: Path, profile: Profile, faults: Faults | None = None) -> Running:
    simulator = OntapSim(Shelf(top), replace(profile, nodes=dict(profile.nodes)))
    return running(simulator, top, NetAppBackend, ontap.options, faults)


ON = Profile(quota="on")


def test_a_limit_in_a_volume_that_initialises_for_long_is_told_as_not_held(
    tmp_path: Path,
) -> None:
    with array(tmp_path, Profile(initialising_seconds=3600.0)) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        found = it.backend.describe_scope(one)
        assert (found.limit_bytes, found.used_bytes, found.enforced) == (MIB, None, None)
        assert "quota" not in capabilities(it.backend)
        it.simulator.initialised()
        eventually(lambda: it.backend.describe_scope(one).enforced == "hard")


def test_a_job_that_fails_and_leaves_its_rule(tmp_path: Path) -> None:
    with array(tmp_path, replace(ON, never_inline=True)) as it:
        one = scope()
        it.simulator.job_faults.append(("create rule", ontap.RESIZE_FAILED, True))
        it.backend.create_scope(one, MIB)
        assert it.backend.describe_scope(one).enforced == "hard"
        assert it.simulator.effects.count(f"create rule {one.directory}") == 1


def test_a_rule_that_is_not_active_says_what_helps(tmp_path: Path) -> None:
    with array(tmp_path, ON) as it:
        one = scope()
        it.simulator.job_faults.append(("create rule", ontap.NOT_ACTIVE, True))
        with pytest.raises(errors.BackendFailed, match="netapp_quota_reinit"):
            it.another(deadline_seconds=60.0).create_scope(one, MIB)
        it.another(netapp_quota_reinit="auto", deadline_seconds=60.0).create_scope(one, MIB)
        assert it.backend.describe_scope(one).enforced == "hard"


def test_what_another_change_keeps_waiting_is_done_after_it(tmp_path: Path) -> None:
    with array(tmp_path, replace(ON, never_inline=True)) as it:
        one = scope()
        for _ in range(2):
            it.simulator.job_faults.append(("create rule", ontap.QUOTA_BUSY, False))
        it.backend.create_scope(one, MIB)
        assert it.backend.describe_scope(one).limit_bytes == MIB


def test_a_volume_of_the_same_name_elsewhere(tmp_path: Path) -> None:
    with array(tmp_path, replace(ON, twin=True)) as it:
        with pytest.raises(errors.ConfigurationError, match="svm1, svm2"):
            it.backend.create_scope(scope())
        it.another(netapp_svm="svm1").create_scope(scope(), MIB)


def test_an_array_that_is_not_trusted_is_not_talked_to(tmp_path: Path) -> None:
    with array(tmp_path, ON) as it:
        for ca in (None, str(certificate("other")[0])):
            with pytest.raises(errors.BackendFailed, match="certificate"):
                it.another(ca_bundle=ca).create_scope(scope())
        assert it.server.journal == []
        it.another(ca_bundle=None, verify_tls=False).create_scope(scope())


def test_many_scopes_and_one_scope_by_many(tmp_path: Path) -> None:
    with array(tmp_path, replace(ON, job_seconds=0.01)) as it:
        scopes = [scope() for _ in range(20)]
        same = scope()

        def outcome(one: QuotaScope) -> str:
            try:
                it.another(deadline_seconds=60.0).create_scope(one, MIB)
            except errors.QuotaScopeExists:
                return "exists"
            return "made"

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(outcome, scopes)) == {"made"}
        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(outcome, [same] * 20)) == ["exists"] * 19 + ["made"]
        made = [e for e in it.simulator.effects if e.startswith("create qtree")]
        assert len(made) == len(set(made)) == 21
        it.server.most_in_flight = 0  # each backend here was an array's only client


def test_health_and_rates(tmp_path: Path) -> None:
    with array(tmp_path, ON) as it:
        assert it.backend.hardware().status == HardwareStatus.HEALTHY
        rates = [it.backend.performance() for _ in range(2)]
        assert max(rate.iops_read for rate in rates) < 110
        assert rates[0].io_usec_write == 50
        capacity = it.backend.array_capacity()
        assert (capacity.capacity_bytes, capacity.used_bytes) == (95 << 30, 10 << 30)
        it.simulator.profile.nodes["node-2"] = "down"
        assert it.backend.hardware().status == HardwareStatus.DEGRADED
        it.simulator.volume_state = "offline"
        assert it.backend.hardware().status == HardwareStatus.OFFLINE
        it.simulator.profile.cluster_user = False
        assert it.backend.hardware().metadata["nodes"] == "unknown"
    found = it.another(deadline_seconds=1.0).hardware()
    assert found.status == HardwareStatus.UNAVAILABLE


def test_usage_by_analytics_or_not_at_all(tmp_path: Path) -> None:
    with array(tmp_path, ON) as it:
        one = VFolderId(scope(), uuid4())
        assert one.scope
        it.backend.create_scope(one.scope)
        it.backend.create_vfolder(one)
        (it.backend.vfolder_path(one) / "a").write_bytes(b"12345")
        found = it.backend.fast_usage(one)
        assert (found.file_count, found.used_bytes) == (1, 5)
        it.simulator.profile.incomplete = True
        assert not it.backend.fast_usage(one).complete
        it.simulator.profile.analytics = "off"
        assert not it.backend.fast_usage(one).complete
        assert "fast-size" not in capabilities(it.backend)


@pytest.mark.parametrize("seconds", [0.0, 3600.0])
def test_a_tree_is_removed_by_the_array_or_from_here(tmp_path: Path, seconds: float) -> None:
    with array(tmp_path, replace(ON, delete_seconds=seconds)) as it:
        patience = 5.0 if seconds else PATIENT["deadline_seconds"]
        mine = it.another(netapp_async_delete=True, deadline_seconds=patience)
        room = tmp_path / "scope/.vfolder/trash"
        for number in range(100):
            (room / f"job/{number}").mkdir(parents=True)
            (room / f"job/{number}/file").write_bytes(b"x")
        parent = os.open(room, os.O_RDONLY | os.O_DIRECTORY)
        try:
            mine.before_purge(parent, "job")
            assert (room / "job").exists() is (seconds > 0)
            assert remove_tree(parent, "job", control=Unattended()).complete
        finally:
            os.close(parent)
        assert not (room / "job").exists()
        assert len(it.server.asked("DELETE", "%2Evfolder%2Ftrash%2Fjob")) == 1


def test_any_backend_can_be_made_to_fail(tmp_path: Path) -> None:
    with array(tmp_path, ON) as it:
        file = tmp_path / "faults.toml"
        options = {**it.backend.mount.options, "backend": "netapp", "faults": str(file)}
        mine = backend_factory("faulty")(Mount("array", tmp_path, options))
        one = scope()
        mine.create_scope(one, MIB)
        file.write_text('error = "EIO"')
        with pytest.raises(errors.StorageError):
            mine.describe_scope(one)
        file.write_text("full = true")
        with pytest.raises(errors.NoSpace):
            mine.create_scope(scope())
        assert mine.describe_scope(one).limit_bytes == MIB


def test_an_interface_that_is_away_takes_neither_data_nor_words(
    tmp_path: Path, watch: Watch
) -> None:
    with array(tmp_path, ON) as it:
        it.backend.probe()
        one = scope()
        it.backend.create_scope(one, MIB)
    mine = it.another(deadline_seconds=3.0)
    assert mine.probe() == it.backend.probe()
    with pytest.raises(errors.Unavailable) as error:
        mine.describe_scope(one)
    assert error.value.retriable
    asked = perform(mine, HelperRequest("describe_scope", "array", str(one)))
    assert asked.refusal == "Unavailable"
    assert ontap.PASSWORD not in repr(error.value)
    watch.holds(ontap.PASSWORD)


def test_options_that_are_wrong_are_named_without_their_values(tmp_path: Path) -> None:
    with array(tmp_path, ON) as it:
        xcp = {"netapp_nfs_host": "10.0.0.5", "netapp_xcp_cmd": ["xcp"], "xcp_catalog": "h:/c"}
        assert it.another(**xcp).mount.options["netapp_xcp_cmd"] == ["xcp"]
        with pytest.raises(errors.ConfigurationError, match="netapp_svm"):
            it.another(netapp_svn="svm1")
        with pytest.raises(errors.ConfigurationError) as error:
            it.another(netapp_ontap_password=12345)
        assert "12345" not in error.value.detail
        with pytest.raises(errors.ConfigurationError, match="https"):
            it.another(netapp_ontap_endpoint="http://array")


@pytest.mark.parametrize(("way", "listed"), [("shown", True), ("hidden", False)])
def test_snapshots_are_a_capability_where_the_mount_shows_them(
    tmp_path: Path, way: str, *, listed: bool
) -> None:
    with array(tmp_path, replace(ON, snapshots=way)) as it:
        assert ("snapshot" in capabilities(it.backend)) is listed
        one = vfolder_on(it.backend)
        name = "at:2026-11-29T12:00:00+01:00_x.y"
        mine = it.another(netapp_attribute_seconds=0.3)
        if not listed:
            with pytest.raises(errors.Conflict, match="mount does not show it"):
                mine.create_snapshot(one, name)
            assert it.simulator.snapshots == {}
            return
        mine.create_snapshot(one, name)
        assert [snapshot.name for snapshot in mine.list_snapshots(one)] == [name]
        assert all(c.isalnum() or c in "_-" for made in it.simulator.snapshots for c in made)
        with mine.open_snapshot(one, name) as kept:
            assert os.listdir(kept) == ["file"]


def test_snapshots_that_are_not_ours_are_neither_listed_nor_deleted(tmp_path: Path) -> None:
    with array(tmp_path, ON) as it:
        one = vfolder_on(it.backend)
        kept = {"uuid": str(uuid4()), "name": "hourly.2026-11-29_1205"}
        it.simulator.snapshots[kept["name"]] = kept
        it.backend.create_snapshot(one, "a")
        assert [snapshot.name for snapshot in it.backend.list_snapshots(one)] == ["a"]
        with pytest.raises(errors.InvalidName, match="at most"):
            it.backend.create_snapshot(one, "x" + "_" * 127)
        it.backend.delete_snapshot(one, "a")
        assert list(it.simulator.snapshots) == [kept["name"]]


def test_a_user_who_may_not_make_snapshots_is_told_so(tmp_path: Path) -> None:
    with array(tmp_path, replace(ON, snapshots="denied")) as it:
        one = vfolder_on(it.backend)
        with pytest.raises(errors.BackendFailed, match="not authorized"):
            it.backend.create_snapshot(one, "a")


def test_an_administrators_soft_limit_stays(tmp_path: Path) -> None:
    with array(tmp_path, ON) as it:
        one = scope()
        it.backend.create_scope(one, 8 * MIB)
        rule = next(r for r in it.simulator.rules.values() if r["qtree"]["name"])
        rule["space"]["soft_limit"], rule["files"]["hard_limit"] = 2 * MIB, 500
        it.backend.set_limit(one, 4 * MIB)
        found = it.backend.describe_scope(one)
        assert (found.limit_bytes, found.soft_limit_bytes) == (4 * MIB, 2 * MIB)
        assert (found.limit_inodes, found.used_inodes) == (500, 1)
        it.backend.set_limit(one, MIB)
        found = it.backend.describe_scope(one)
        assert (found.limit_bytes, found.soft_limit_bytes) == (MIB, None)
        assert found.limit_inodes == 500


def test_a_door_without_rights_has_limits_set_by_the_worker(tmp_path: Path) -> None:
    with array(tmp_path, ON) as it:
        one = scope()
        it.backend.create_scope(one, 8 * MIB)
        for verb, limit in (("set_inode_limit", 100), ("set_soft_limit", MIB)):
            assert not perform(it.backend, HelperRequest(verb, "array", str(one), limit)).refusal  # type: ignore[arg-type] # a name of a verb
        found = it.backend.describe_scope(one)
        assert (found.limit_inodes, found.soft_limit_bytes) == (100, MIB)


def test_new_scopes_get_the_export_policy_and_the_security_style(tmp_path: Path) -> None:
    with array(tmp_path, ON) as it:
        one = scope()
        options = {"netapp_export_policy": "vfolders", "netapp_security_style": "mixed"}
        it.another(**options).create_scope(one, MIB)
        assert it.simulator.qtree_facts[one.directory] == {
            "export_policy": {"name": "vfolders"},
            "security_style": "mixed",
        }
        with pytest.raises(errors.BackendFailed, match="export policy does not exist"):
            it.another(netapp_export_policy="none", deadline_seconds=5.0).create_scope(scope())
        it.backend.create_scope(plain := scope())
        assert it.simulator.qtree_facts[plain.directory] == {}


def test_severe_events_of_the_last_hour_degrade(tmp_path: Path) -> None:
    with array(tmp_path, replace(ON, page=1)) as it:
        it.simulator.events = [
            ("raid.disk.fail", "emergency", 7200.0),
            ("callhome.spares.low", "error", 10.0),
        ]
        found = it.backend.hardware()
        assert (found.status, found.metadata["events"]) == (HardwareStatus.HEALTHY, "0")
        it.simulator.events.append(("monitor.volume.full", "alert", 10.0))
        found = it.backend.hardware()
        assert found.status == HardwareStatus.DEGRADED
        assert "monitor.volume.full" in (found.status_info or "")
        it.simulator.profile.cluster_user = False
        found = it.backend.hardware()
        assert (found.status, found.metadata["events"]) == (HardwareStatus.HEALTHY, "unknown")


@pytest.mark.parametrize("junction", ["/ml/research", "/research", None])
def test_the_export_for_xcp_is_the_junction(tmp_path: Path, junction: str | None) -> None:
    with array(tmp_path, replace(ON, junction=junction)) as it:
        assert exported(it.backend) is None
        mine = it.another(netapp_nfs_host="10.0.0.5", netapp_xcp_cmd=["xcp"])
        found = exported(mine)
        assert (found and str(found.top)) == junction
    assert (
        exported(it.another(netapp_nfs_host="h", netapp_xcp_cmd=["x"], deadline_seconds=1)) is None
    )


def test_a_qtree_of_the_reference_is_used_with_its_rule(tmp_path: Path) -> None:
    """The reference makes a qtree and a rule, and removes the directory only."""
    with array(tmp_path, ON) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        (tmp_path / ".vfolder/limits" / one.directory).unlink()
        found = it.backend.describe_scope(one)
        assert (found.limit_bytes, found.enforced) == (MIB, "hard")
        it.backend.set_limit(one, 2 * MIB)
        assert it.backend.describe_scope(one).limit_bytes == 2 * MIB
        (tmp_path / one.directory).rmdir()
        it.backend.create_scope(one, 4 * MIB)
        assert it.backend.describe_scope(one).limit_bytes == 4 * MIB
        rules = [r["qtree"]["name"] for r in it.simulator.rules.values()]
        assert rules.count(one.directory) == 1


def test_a_failed_job_is_named(tmp_path: Path) -> None:
    with array(tmp_path, replace(ON, never_inline=True)) as it:
        failure = JobFailure("5242886", "The operation failed.")
        it.simulator.job_faults.append(("create qtree", failure, False))
        with pytest.raises(errors.BackendFailed, match="The operation failed") as error:
            it.backend.create_scope(scope())
        assert any(uuid in error.value.detail for uuid in it.simulator.jobs)


def test_a_volume_made_again_under_its_name_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with array(tmp_path, ON) as it:
        one, other = scope(), scope()
        it.backend.create_scope(one, MIB)
        it.simulator.uuid = str(uuid4())
        for rule in it.simulator.rules.values():
            rule["volume"]["uuid"] = it.simulator.uuid
        assert it.backend.array_capacity().used_bytes == 10 << 30  # the answer is: not found
        assert it.backend.describe_scope(one).limit_bytes == MIB
        it.simulator.uuid = str(uuid4())
        monkeypatch.setattr("backends.systems.netapp.volume.IDENTITY_SECONDS", 0.0)
        it.backend.create_scope(other, MIB)
        assert it.backend.describe_scope(other).limit_bytes == MIB


def test_snapshots_are_opened_while_the_interface_is_away(tmp_path: Path) -> None:
    with array(tmp_path, ON) as it:
        one = vfolder_on(it.backend)
        it.backend.create_snapshot(one, "a")
    away = it.another(deadline_seconds=1.0)
    with away.open_snapshot(one, "a") as kept:
        assert os.listdir(kept) == ["file"]
