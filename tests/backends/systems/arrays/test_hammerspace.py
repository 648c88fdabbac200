"""Hammerspace's own ways: tasks that end in many ways, objects that are written back, sessions."""

import os
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends.base import HardwareStatus, Mount, capabilities
from backends.systems.hammerspace.backend import HammerspaceBackend, HammerspaceBaseBackend
from contract.waiting import eventually
from core import errors
from core.names import QuotaScope, VFolderId
from simulators.arrays import hammerspace
from simulators.arrays.hammerspace import HammerspaceSim, Profile
from simulators.shelf import Shelf
from tests.backends.systems.arrays.simulated import Array, running, scope

MIB = 1 << 20

Running = AbstractContextManager[Array[HammerspaceSim, HammerspaceBackend]]


def array(top: Path, profile: Profile | None = None) -> Running:
    simulator = HammerspaceSim(Shelf(top), profile or Profile())
    return running(simulator, top, HammerspaceBackend, hammerspace.options)


def vfolder_of(it: Array[HammerspaceSim, HammerspaceBackend], one: QuotaScope) -> VFolderId:
    found = VFolderId(one, uuid4())
    it.backend.create_vfolder(found)
    return found


def test_a_change_of_the_limit_keeps_everything_else(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        share = it.simulator.share(one.directory)
        share["comment"] = "of the administrator"
        exports = [{"subnet": "10.0.0.0/8", "accessPermissions": "RW", "rootSquash": False}]
        assert share["exportOptions"] == exports, "as the share around it"
        it.backend.set_limit(one, 2 * MIB)
        assert (share["comment"], share["exportOptions"]) == ("of the administrator", exports)


@pytest.mark.parametrize("end", ["failed", "invalid", "cancelled"])
def test_a_task_that_fails_is_named_and_leaves_nothing(tmp_path: Path, end: str) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.simulator.next_task(end)
        with pytest.raises(errors.BackendFailed, match=r"task [0-9a-f-]{36}"):
            it.backend.create_scope(one, MIB)
        assert it.simulator.quotas == {}
        it.backend.create_scope(one, MIB)
        assert it.backend.describe_scope(one).limit_bytes == MIB
        it.simulator.next_task(end)
        with pytest.raises(errors.BackendFailed, match=r"task [0-9a-f-]{36}"):
            it.backend.set_limit(one, 2 * MIB)
        assert it.backend.describe_scope(one).limit_bytes == MIB


@pytest.mark.parametrize(
    "end", ["failed, done", "halted, done", "resumed, done", "forgotten, done"]
)
def test_a_task_is_judged_by_its_effect(tmp_path: Path, end: str) -> None:
    with array(tmp_path) as it:
        one = scope()
        for change in (
            lambda: it.backend.create_scope(one, MIB),
            lambda: it.backend.set_limit(one, 2 * MIB),
            lambda: it.backend.delete_scope(one),
        ):
            it.simulator.next_task(end)
            change()
        assert it.simulator.quotas == {}


def test_a_task_that_stays_halted_is_named(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        mine = it.another(deadline_seconds=1.0, share_query_retry=0)
        mine.making_seconds = 0.0
        it.simulator.next_task("halted")
        with pytest.raises(errors.BackendFailed, match=r"is HALTED .*resume or cancel"):
            mine.set_limit(one, 2 * MIB)


def test_a_creation_that_another_process_began_is_awaited(tmp_path: Path) -> None:
    with array(tmp_path, Profile(task_seconds=1.0)) as it:
        one = scope()
        mine = it.another(deadline_seconds=0.5)
        mine.making_seconds = 0.0
        with pytest.raises(errors.DeadlineExceeded):
            mine.create_scope(one, MIB)
        it.backend.create_scope(one, 2 * MIB)
        assert len(it.server.asked("POST", "/shares")) == 1
        assert it.backend.describe_scope(one).limit_bytes == 2 * MIB


def test_volumes_of_one_anvil_share_a_session(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        others = [it.another() for _ in range(3)]
        for one in others:
            one.array_capacity()
        assert it.simulator.logins == 1


def test_two_volumes_have_shares_of_their_own(tmp_path: Path) -> None:
    """Names of shares are unique in the cluster: a scope may exist on two volumes of it."""
    with array(tmp_path, Profile(mounted="/deep/below")) as it:
        one = scope()
        it.simulator.add(one.directory, f"/{one.directory}")
        mine = it.another(base_path="/deep/below/")
        mine.create_scope(one, MIB)
        assert mine.describe_scope(one).limit_bytes == MIB
        mine.delete_scope(one)
        assert it.simulator.share(one.directory)["shareState"] == "PUBLISHED"


def test_a_share_that_is_not_published_holds_no_limit_for_sure(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        assert it.backend.describe_scope(one).enforced == "hard"
        it.simulator.share(one.directory)["shareState"] = "UNPUBLISHED"
        found = it.backend.describe_scope(one)
        assert (found.limit_bytes, found.enforced) == (MIB, "unknown")


def test_a_share_of_another_path_is_never_taken(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.simulator.add(one.directory, "/something/else", shareSizeLimit=MIB)
        for change in (it.backend.create_scope, it.backend.delete_scope):
            with pytest.raises(errors.Conflict, match="another directory"):
                change(one)
        assert it.simulator.share(one.directory)["shareState"] == "PUBLISHED"


def test_the_share_of_the_reference_is_adopted(tmp_path: Path) -> None:
    """The reference makes a share by the scope's name at the root, without a mark."""
    with array(tmp_path) as it:
        one = scope()
        (tmp_path / one.directory).mkdir()
        it.simulator.add(one.directory, f"/{one.directory}", shareSizeLimit=3 * MIB)
        assert it.backend.describe_scope(one).limit_bytes == 3 * MIB
        it.backend.set_limit(one, 2 * MIB)
        assert it.backend.describe_scope(one).requested_bytes == 2 * MIB
        assert len(it.simulator.quotas) == 1


def test_a_plain_directory_gets_a_share_with_its_limit(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        (tmp_path / one.directory).mkdir()
        (tmp_path / one.directory / "old").write_bytes(b"x" * MIB)
        assert it.backend.describe_scope(one).limit_bytes is None
        it.backend.set_limit(one, 8 * MIB)
        found = it.backend.describe_scope(one)
        assert (found.limit_bytes, found.used_bytes) == (8 * MIB, MIB)


def test_a_scope_that_fills_while_it_is_removed_stays(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        removed = it.simulator._remove

        def meanwhile(*parts: Any) -> Any:
            (tmp_path / one.directory / "new").write_bytes(b"x")
            return removed(*parts)

        it.simulator._remove = meanwhile  # type: ignore[method-assign]
        with pytest.raises(errors.QuotaScopeNotEmpty):
            it.backend.delete_scope(one)
        assert (tmp_path / one.directory / "new").read_bytes() == b"x"
        assert it.backend.describe_scope(one).limit_bytes == MIB


def test_a_directory_that_only_the_mount_lost_keeps_its_share(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        answer = it.simulator._file

        def full(ask: Any) -> Any:
            found = answer(ask)
            if ask.query["path"].endswith(one.directory):
                return type(found)(200, {"name": "x", "children": [{"name": "kept"}]})
            return found

        it.simulator._file = full  # type: ignore[method-assign]
        (tmp_path / one.directory).rmdir()
        with pytest.raises(errors.Conflict, match="has files in it"):
            it.backend.delete_scope(one)
        assert len(it.simulator.quotas) == 1


@pytest.mark.part("root")
def test_a_directory_that_the_client_mounted_by_itself_is_removed(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        place = tmp_path / one.directory
        subprocess.run(["mount", "-t", "tmpfs", "share", place], check=True)
        try:
            it.backend.delete_scope(one)
        finally:
            subprocess.run(["umount", "-l", place], capture_output=True, check=False)
        assert not place.exists()


def test_an_ill_anvil_is_not_an_empty_one(tmp_path: Path) -> None:
    """A 500 means a missing path only while the Anvil knows the top of the volume."""
    with array(tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        (tmp_path / one.directory).rmdir()
        ill = hammerspace._refusal(500, "Internal server error")
        it.simulator._file = lambda _: ill  # type: ignore[method-assign]
        with pytest.raises(errors.BackendFailed, match="status 500"):
            it.backend.delete_scope(one)
        assert len(it.simulator.quotas) == 1


@pytest.mark.parametrize("bare", [False, True], ids=["json", "bare text"])
def test_snapshots_lost_answers_and_all(tmp_path: Path, bare: bool) -> None:  # noqa: FBT001 - the table's column
    with array(tmp_path, Profile(bare_names=bare)) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        vfolder = vfolder_of(it, one)
        (it.backend.vfolder_path(vfolder) / "file").write_bytes(b"kept")
        it.server.faults.next("drop after", "POST", "snapshot-create")
        made = it.backend.create_snapshot(vfolder, "first")
        assert len(it.server.asked("POST", "snapshot-create")) == 1
        assert made.created_at is not None
        with it.backend.open_snapshot(vfolder, "first") as kept:
            assert os.listdir(kept) == ["file"]
        it.server.faults.next("drop after", "POST", "snapshot-delete")
        it.backend.delete_snapshot(vfolder, "first")
        assert it.backend.list_snapshots(vfolder) == []


def test_a_plain_directory_has_no_snapshots(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        one = scope()
        (tmp_path / one.directory).mkdir()
        vfolder = vfolder_of(it, one)
        assert it.backend.list_snapshots(vfolder) == []
        with pytest.raises(errors.Unsupported):
            it.backend.create_snapshot(vfolder, "first")


def test_health_and_capacity(tmp_path: Path) -> None:
    with array(tmp_path) as it:
        expected = {"quota", "snapshot", "fast-fs-size"}
        eventually(lambda: expected <= set(capabilities(it.backend)))
        assert it.backend.hardware().status == HardwareStatus.HEALTHY
        it.simulator.profile.volume_state = "DOWN"
        found = it.backend.hardware()
        assert found.status == HardwareStatus.DEGRADED
        assert found.status_info == "volume dsx1-1 is DOWN/OK."
        it.simulator.profile.node_state = "UNMANAGED"
        assert "node dsx1 is UNMANAGED" in (it.backend.hardware().status_info or "")
        it.simulator.profile.permitted = False
        assert it.backend.hardware().status == HardwareStatus.HEALTHY, "what this user may see"
        assert it.backend.array_capacity().used_bytes == 1 << 30
        assert not {"quota", "snapshot"} & set(capabilities(it.backend))


@pytest.mark.parametrize(
    "address", ["anvil.example", "https://anvil.example:8443/mgmt/v1.2/rest2/"]
)
def test_the_address_may_name_the_path_of_the_interface(tmp_path: Path, address: str) -> None:
    given = {"address": address, "username": "u", "password": "p"}
    backend = HammerspaceBackend(Mount("array", tmp_path, given))
    path = backend._anvil.request("GET", "/shares").path
    assert path == ("/mgmt/v1.2/rest/shares" if "/" not in address else "/mgmt/v1.2/rest2/shares")


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": "http://anvil.example"},
        {"ssl_config": {"cert_file": "/a"}},
        {"no_such_option": "x"},
    ],
)
def test_options_that_are_wrong(tmp_path: Path, wrong: dict[str, Any]) -> None:
    given = {"address": "anvil.example", "username": "u", "password": "p", **wrong}
    with pytest.raises(errors.ConfigurationError):
        HammerspaceBackend(Mount("array", tmp_path, given))


def test_the_base_is_a_plain_mount(tmp_path: Path) -> None:
    backend = HammerspaceBaseBackend(Mount("array", tmp_path))
    one = scope()
    backend.create_scope(one, MIB)
    assert backend.describe_scope(one).enforced == "soft"
    assert set(capabilities(backend)) <= {"vfolder", "reflink", "metric"}
