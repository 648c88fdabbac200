"""VAST's own ways: 403 for a token that is void, lists in two shapes, tasks, texts for errors."""

import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from uuid import uuid4

import pytest

from backends.base import HardwareStatus, capabilities
from backends.fs import PREFIX_MODE, descriptors, layout
from backends.quota import blame, check_space
from backends.systems.vast.backend import VastBackend, VastCloningBackend
from contract.waiting import eventually
from core import errors
from core.names import VFolderId
from simulators.arrays import vast
from simulators.arrays.vast import Profile, VastSim
from simulators.shelf import Shelf
from tests.backends.systems.arrays.simulated import Array, running, scope, vfolder_on
from tests.backends.systems.arrays.watching import Watch

MIB = 1 << 20


Running = AbstractContextManager[Array[VastSim, VastBackend]]


def array(top: Path, profile: Profile | None = None) -> Running:
    return running(VastSim(Shelf(top), profile or Profile()), top, VastBackend, vast.options)


def test_a_token_of_the_interface_needs_no_login(tmp_path: Path, watch: Watch) -> None:
    with array(tmp_path) as it:
        given = {"vast_username": None, "vast_password": None}
        mine = it.another(vast_api_token=vast.API_TOKEN, **given)
        mine.create_scope(scope(), MIB)
        assert it.simulator.logins == 0
        with pytest.raises(errors.BackendFailed):
            it.another(vast_api_token="another", **given).array_capacity()
        with pytest.raises(errors.ConfigurationError, match="vast_api_token"):
            it.another(**given)
        watch.holds(vast.API_TOKEN)


def test_health_rates_and_capacity(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        assert it.backend.hardware().status == HardwareStatus.HEALTHY
        it.simulator.profile.state = "UPGRADING"
        assert it.backend.hardware().status == HardwareStatus.DEGRADED
        assert it.backend.performance().iops_read == 100
        assert it.backend.array_capacity().used_bytes == 10 << 30
        it.another(vast_cluster_id=1).hardware()
        assert it.simulator.logins == 1, "volumes of a cluster share a login"
        it.simulator.profile.sampled = False
        with pytest.raises(errors.Unavailable, match="no sample"):
            it.backend.performance()


def test_the_marker_of_the_reference_is_no_content(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        full = vfolder_on(it.backend)
        empty = scope()
        it.backend.create_scope(empty, MIB)
        assert full.scope
        for one in (full.scope, empty):
            (tmp_path / one.directory / ".vast-quota-id").write_text("7")
        it.backend.delete_scope(empty)
        assert not (tmp_path / empty.directory).exists()
        with pytest.raises(errors.QuotaScopeNotEmpty):
            it.backend.delete_scope(full.scope)
        assert (tmp_path / full.scope.directory / ".vast-quota-id").exists()


# -- Limits ----------------------------------------------------------------------------------------
def test_a_scope_past_a_limit_says_so(tmp_path: Path) -> None:
    """Usage may lag behind: then VAST refuses to write before its figure reaches the limit."""
    with array(tmp_path) as it:
        one = vfolder_on(it.backend)
        assert one.scope
        it.backend.set_limit(one.scope, 8 * MIB)
        it.backend.set_soft_limit(one.scope, 4096)
        assert it.backend.describe_scope(one.scope).exceeded == "soft"
        check_space(it.backend, one, 1)
        it.backend.set_inode_limit(one.scope, 1)
        found = it.backend.describe_scope(one.scope)
        assert (found.exceeded, found.limit_inodes, found.used_bytes) == ("hard", 1, 4096)
        with pytest.raises(errors.QuotaExceeded, match="refuses to write"):
            check_space(it.backend, one, 1)
        refusal = blame(it.backend, one.scope, errors.NoSpace("full"))
        assert isinstance(refusal, errors.QuotaExceeded)


def test_limits_of_an_administrator_stay(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, 8 * MIB)
        (quota,) = it.simulator.quotas.values()
        quota |= {"soft_limit": 4 * MIB, "soft_limit_inodes": 7, "hard_limit_inodes": 9}
        it.backend.set_limit(one, 16 * MIB)
        found = it.backend.describe_scope(one)
        assert (found.soft_limit_bytes, found.limit_inodes) == (4 * MIB, 9)
        it.backend.set_limit(one, MIB)
        assert it.backend.describe_scope(one).soft_limit_bytes is None
        assert quota["soft_limit_inodes"] == 7


# -- Tenants ---------------------------------------------------------------------------------------
def test_a_tenant_is_found_by_its_name(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        mine = it.another(vast_tenant=vast.TENANT)
        one = scope()
        mine.create_scope(one, MIB)
        assert mine.describe_scope(one).limit_bytes == MIB
        made = it.server.asked("POST", "/quotas/")[-1]
        assert made.body["tenant_id"] == 1
        with pytest.raises(errors.ConfigurationError, match="no tenant 'none'"):
            it.another(vast_tenant="none", vast_api_token=vast.API_TOKEN).describe_scope(one)
        with pytest.raises(errors.ConfigurationError, match="not both"):
            it.another(vast_tenant=vast.TENANT, vast_tenant_id=1)


def test_a_user_of_a_tenant_logs_in_with_its_name(tmp_path: Path) -> None:
    with array(tmp_path, Profile(user_of=vast.TENANT)) as it:
        with pytest.raises(errors.BackendFailed, match="does not know this user"):
            it.backend.array_capacity()
        mine = it.another(vast_tenant=vast.TENANT)
        mine.create_scope(scope(), MIB)
        it.simulator.expire()
        mine.create_scope(scope(), MIB)


def test_a_path_of_several_tenants_is_not_guessed(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        ((number, quota),) = it.simulator.quotas.items()
        it.simulator.quotas[number + 1] = {**quota, "id": number + 1, "tenant_id": 2}
        with pytest.raises(errors.BackendFailed, match="Set vast_tenant"):
            it.backend.describe_scope(one)
        with pytest.raises(errors.BackendFailed, match="Set vast_tenant"):
            it.backend.set_limit(one, 2 * MIB)
        mine = it.another(vast_tenant=vast.TENANT)
        mine.set_limit(one, 2 * MIB)
        mine.delete_scope(one)
        assert [left["hard_limit"] for left in it.simulator.quotas.values()] == [MIB]


def test_a_mount_of_another_tenant_is_noticed(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        other = it.another(vast_tenant=vast.OTHER_TENANT)
        with pytest.raises(errors.BackendFailed, match="not the array's"):
            other.probe()


# -- Snapshots -------------------------------------------------------------------------------------
@pytest.mark.parametrize("tasks", [False, True])
@pytest.mark.parametrize("fault", ["", "drop after", "html 502 after", "wrong json"])
def test_a_snapshot_is_made_once(tmp_path: Path, fault: str, *, tasks: bool) -> None:
    with array(tmp_path, Profile(tasks=tasks, page_max=1)) as it:
        one = vfolder_on(it.backend)
        it.backend.create_snapshot(one, "before")
        if fault:
            it.server.faults.next(fault, "POST", "/snapshots/")
        it.backend.create_snapshot(one, "first")
        assert [each.name for each in it.backend.list_snapshots(one)] == ["before", "first"]
        assert len(it.simulator.snapshots) == 2
        (it.backend.vfolder_path(one) / "file").write_bytes(b"changed")
        with it.backend.open_snapshot(one, "first") as top:
            assert os.read(os.open("file", os.O_RDONLY, dir_fd=top), 100) == b"kept"
        it.backend.delete_snapshot(one, "first")
        assert [each.name for each in it.backend.list_snapshots(one)] == ["before"]


def test_snapshots_that_the_mount_hides_are_not_kept(tmp_path: Path) -> None:
    with array(tmp_path, Profile(shows_snapshots=False)) as it:
        mine = it.another(deadline_seconds=4.0)
        one = vfolder_on(mine)
        with pytest.raises(errors.Conflict, match="view policy"):
            mine.create_snapshot(one, "first")
        assert it.simulator.snapshots == {}


def test_without_the_right_there_are_no_snapshots(tmp_path: Path) -> None:
    with array(tmp_path, Profile(reads_snapshots=False)) as it:
        eventually(lambda: "quota" in capabilities(it.backend))
        assert "snapshot" not in capabilities(it.backend)


# -- The trash folder ------------------------------------------------------------------------------
def purged(it: Array[VastSim, VastBackend], backend: VastBackend, one: VFolderId) -> bool:
    """Do what the verb `delete` does; whether the tree is gone before a node removes it."""
    trash = layout.trash(one.scope, uuid4().hex)
    with (
        backend.root() as root,
        descriptors.made(trash.parent, root, PREFIX_MODE) as room,
        descriptors.opened(one.directory.parent, root) as parent,
    ):
        descriptors.rename_new(one.directory.name, parent, trash.name, room)
        backend.before_purge(room, trash.name, one)
    return not (it.top / trash).exists()


@pytest.mark.parametrize("tasks", [False, True])
def test_the_array_removes_a_purged_tree(tmp_path: Path, *, tasks: bool) -> None:
    with array(tmp_path, Profile(tasks=tasks)) as it:
        one = vfolder_on(it.backend)
        it.backend.create_snapshot(one, "first")
        assert purged(it, it.backend, one)
        assert it.simulator.snapshots == {}
        (tree,) = it.simulator.trashed
        assert tree.startswith(f"{one.scope and one.scope.directory}/{layout.HIDDEN}/")


def test_a_tree_stays_where_the_trash_folder_is_off(tmp_path: Path) -> None:
    with array(tmp_path, Profile(trash=False)) as it:
        for _ in range(2):
            assert not purged(it, it.backend, vfolder_on(it.backend))
        assert len(it.server.asked("DELETE", "delete_folder")) == 1, "asked once"
        never = it.another(vast_use_trash=False)
        assert not purged(it, never, vfolder_on(never))
        assert len(it.server.asked("DELETE", "delete_folder")) == 1


def test_a_tree_stays_where_the_mount_is_not_proved(tmp_path: Path) -> None:
    """Releases before 4.7 cannot say whether a path is theirs."""
    with array(tmp_path, Profile(stat_path=False)) as it:
        assert not purged(it, it.backend, vfolder_on(it.backend))
        assert not it.server.asked("DELETE", "delete_folder")


# -- Clones ----------------------------------------------------------------------------------------
Cloning = AbstractContextManager[Array[VastSim, VastCloningBackend]]


def cloning(top: Path, profile: Profile | None = None) -> Cloning:
    return running(VastSim(Shelf(top), profile or Profile()), top, VastCloningBackend, vast.options)


def places(it: Array[VastSim, VastCloningBackend]) -> tuple[VFolderId, PurePosixPath]:
    """A vfolder, and where its clone is made."""
    one = vfolder_on(it.backend)
    (it.backend.vfolder_path(one) / "sub").mkdir()
    staging = layout.staging(one.scope, "job")
    (it.top / staging).mkdir(parents=True)
    return one, staging / "tree"


def nothing_left(it: Array[VastSim, VastCloningBackend]) -> bool:
    return not it.simulator.streams and not it.simulator.snapshots


@pytest.mark.parametrize("tasks", [False, True])
@pytest.mark.parametrize("fault", ["", "drop after", "html 502 after", "truncate"])
def test_a_vfolder_is_cloned_once(tmp_path: Path, fault: str, *, tasks: bool) -> None:
    with cloning(tmp_path, Profile(tasks=tasks, clone_looks=3)) as it:
        eventually(lambda: "instant-clone" in capabilities(it.backend))
        one, target = places(it)
        if fault:
            it.server.faults.next(fault, "POST", "/clone/")
        it.backend.clone_tree(PurePosixPath(one.directory), target)
        assert (tmp_path / target / "file").read_bytes() == b"kept"
        assert (tmp_path / target / "sub").is_dir()
        assert [each for each in it.simulator.effects if each.startswith("clone")] == [
            f"clone {target}"
        ]
        assert nothing_left(it)


def test_a_snapshot_is_cloned_and_stays(tmp_path: Path) -> None:
    with cloning(tmp_path) as it:
        one, target = places(it)
        it.backend.create_snapshot(one, "first")
        (it.backend.vfolder_path(one) / "file").write_bytes(b"changed")
        ((_, kept),) = it.simulator.snapshots.items()
        place = PurePosixPath(one.directory) / vast.SNAPSHOTS / kept["name"]
        with pytest.raises(errors.Unsupported, match="complete snapshots"):
            it.backend.clone_tree(place / "sub", target)
        it.backend.clone_tree(place, target)
        assert (tmp_path / target / "file").read_bytes() == b"kept"
        assert [each.name for each in it.backend.list_snapshots(one)] == ["first"]
        assert not it.simulator.streams


@pytest.mark.parametrize(
    ("profile", "options"),
    [
        (Profile(clone_state="Suspended"), {}),
        (Profile(clone_looks=10**9), {"vast_clone_seconds": 5.0}),
        (Profile(clones=False), {}),
        (Profile(stat_path=False), {}),
    ],
    ids=["fails", "takes too long", "has no clones", "cannot prove the mount"],
)
def test_a_clone_that_fails_leaves_nothing(
    tmp_path: Path, profile: Profile, options: dict[str, float]
) -> None:
    with cloning(tmp_path, profile) as it:
        one, target = places(it)
        mine = it.another(**options)
        with pytest.raises(errors.Unsupported):
            mine.clone_tree(PurePosixPath(one.directory), target)
        assert not (tmp_path / target).exists()
        assert nothing_left(it)


def test_what_a_dead_process_left_is_removed_first(tmp_path: Path) -> None:
    with cloning(tmp_path, Profile(clone_looks=10**9)) as it:
        one, target = places(it)
        slow = it.another(vast_clone_seconds=5.0)
        slow._clones._clean = lambda _: None  # it dies before it cleans
        with pytest.raises(errors.Unsupported):
            slow.clone_tree(PurePosixPath(one.directory), target)
        assert it.simulator.streams
        it.simulator.profile.clone_looks = 1
        it.backend.clone_tree(PurePosixPath(one.directory), target)
        assert (tmp_path / target / "file").read_bytes() == b"kept"
        assert nothing_left(it)


def test_a_caller_may_remove_what_a_dead_process_left(tmp_path: Path) -> None:
    with cloning(tmp_path, Profile(clone_looks=10**9)) as it:
        one, target = places(it)
        slow = it.another(vast_clone_seconds=5.0)
        slow._clones._clean = lambda _: None
        with pytest.raises(errors.Unsupported):
            slow.clone_tree(PurePosixPath(one.directory), target)
        shutil.rmtree(tmp_path / target)
        it.simulator.profile.clone_looks = 1
        it.backend.clone_tree(PurePosixPath(one.directory), target)
        assert (tmp_path / target / "file").read_bytes() == b"kept"
        assert nothing_left(it)


@pytest.mark.parametrize("tasks", [False, True])
@pytest.mark.parametrize("fault", ["drop after", "html 502 after"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/snapshots/"), ("DELETE", "/globalsnapstreams/"), ("DELETE", "/snapshots/")],
)
def test_a_clone_survives_every_lost_answer(
    tmp_path: Path, method: str, path: str, fault: str, *, tasks: bool
) -> None:
    with cloning(tmp_path, Profile(tasks=tasks)) as it:
        one, target = places(it)
        it.server.faults.next(fault, method, path)
        it.backend.clone_tree(PurePosixPath(one.directory), target)
        assert (tmp_path / target / "file").read_bytes() == b"kept"
        assert nothing_left(it)


@pytest.mark.parametrize("fault", ["drop after", "html 502 after"])
def test_a_clone_that_fails_leaves_nothing_after_a_lost_answer(tmp_path: Path, fault: str) -> None:
    for method, path in (("PATCH", "/stop/"), ("DELETE", "/globalsnapstreams/")):
        with cloning(tmp_path, Profile(clone_state="Suspended", clone_looks=1)) as it:
            one, target = places(it)
            it.server.faults.next(fault, method, path)
            with pytest.raises(errors.Unsupported):
                it.backend.clone_tree(PurePosixPath(one.directory), target)
            assert not (tmp_path / target).exists()
            assert nothing_left(it)


def test_a_target_that_exists_is_not_touched(tmp_path: Path) -> None:
    with cloning(tmp_path) as it:
        one, target = places(it)
        (tmp_path / target).mkdir()
        (tmp_path / target / "mine").write_bytes(b"1")
        with pytest.raises(errors.Unsupported):
            it.backend.clone_tree(PurePosixPath(one.directory), target)
        assert (tmp_path / target / "mine").read_bytes() == b"1"
        assert nothing_left(it)
