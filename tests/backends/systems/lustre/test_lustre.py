"""Lustre by a stand-in `lfs`: every form of its answers, and limits that nothing enforces."""

import os
import subprocess
import time
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import Enforcement, HardwareStatus, Mount, capabilities
from backends.fs import layout
from backends.systems.lustre import LustreBackend, proof
from contract.waiting import eventually
from core import errors
from core.names import VFolderId
from tests.backends.systems.lustre.conftest import LONG, MIB, Lustre, scope

pytestmark = pytest.mark.part("root")


@pytest.mark.parametrize("delimiter", [False, True], ids=["columns", "delimiter"])
def test_a_scope_lives_and_goes(lustre: Lustre, delimiter: bool) -> None:  # noqa: FBT001 - the table's column
    lustre.change(delimiter=delimiter, fault="default")
    backend, one = lustre.backend, scope()
    backend.probe()
    backend.create_scope(one, 3 * MIB + 1)
    found = backend.describe_scope(one)
    assert (found.limit_bytes, found.requested_bytes) == (3 * MIB + 1024, 3 * MIB + 1)
    assert found.enforced == "unknown", "nothing was tried"
    vfolder = VFolderId(one, uuid4())
    backend.create_vfolder(vfolder)
    (backend.vfolder_path(vfolder) / "file").write_bytes(b"x" * MIB)
    assert MIB <= (backend.describe_scope(one).used_bytes or 0) < MIB + 65536
    backend.set_limit(one, 8 * MIB)
    assert backend.describe_scope(one).limit_bytes == 8 * MIB
    backend.unset_limit(one)
    assert backend.describe_scope(one).limit_bytes is None
    (backend.vfolder_path(vfolder) / "file").unlink()
    for directory in (vfolder.directory, *list(vfolder.directory.parents)[:2]):
        (lustre.top / directory).rmdir()
    backend.set_limit(one, 8 * MIB)
    backend.delete_scope(one)
    assert lustre.limits() == {}
    assert all(call["locale"] == "C" for call in lustre.calls())
    assert any("--delimiter=," in call["argv"] for call in lustre.calls()) == delimiter


@LONG
def test_a_scope_that_is_over_its_limit_is_described(lustre: Lustre) -> None:
    backend, one = lustre.backend, scope()
    backend.create_scope(one, 1)
    (lustre.top / one.directory / "file").write_bytes(b"x" * MIB)
    found = backend.describe_scope(one)
    assert (found.limit_bytes, found.requested_bytes) == (1024, 1)
    assert (found.used_bytes or 0) > MIB - 1


@LONG
def test_targets_that_do_not_answer_leave_the_usage_unknown(lustre: Lustre) -> None:
    backend, one = lustre.backend, scope()
    backend.create_scope(one, MIB)
    lustre.change(unanswered=True)
    found = backend.describe_scope(one)
    assert (found.used_bytes, found.limit_bytes) == (None, MIB)
    with pytest.raises(errors.BackendFailed, match="Not all targets"):
        backend.create_scope(scope(), MIB)


@LONG
@pytest.mark.parametrize("fault", ["garbage", "away"])
def test_an_answer_that_is_none_is_never_no_limit(lustre: Lustre, fault: str) -> None:
    backend, one = lustre.backend, scope()
    backend.create_scope(one, MIB)
    if fault == "garbage":
        lustre.change(fault=fault)
    else:
        (lustre.home / "lfs").unlink()
    with pytest.raises(errors.BackendFailed):
        backend.describe_scope(one)


@LONG
def test_a_tool_that_hangs_is_ended(lustre: Lustre, monkeypatch: pytest.MonkeyPatch) -> None:
    one = scope()
    lustre.backend.create_scope(one, MIB)
    monkeypatch.setattr("backends.systems.lustre.lfs.ANSWER_SECONDS", 0.5)
    lustre.change(fault="hang")
    with pytest.raises(errors.BackendFailed, match="did not end in time"):
        lustre.backend.describe_scope(one)
    running = subprocess.run(["pgrep", "-f", str(lustre.home)], capture_output=True, check=False)
    assert running.stdout == b""


@LONG
def test_without_project_quota_the_volume_works_without_limits(lustre: Lustre) -> None:
    lustre.change(projects=False)
    lustre.backend.probe()
    assert "quota" not in capabilities(lustre.another(lfs_prove=True))
    with pytest.raises(errors.BackendFailed, match="does not enforce quota"):
        lustre.backend.create_scope(scope(), MIB)


@LONG
def test_missing_rights_are_named(lustre: Lustre) -> None:
    one = scope()
    lustre.backend.create_scope(one, MIB)
    lustre.change(fault="denied")
    with pytest.raises(errors.BackendFailed, match="needs root"):
        lustre.backend.set_limit(one, 2 * MIB)
    assert lustre.backend.describe_scope(one).limit_bytes == MIB


@LONG
def test_another_file_system_is_refused(lustre: Lustre, tmp_path: Path) -> None:
    given = {"lfs_path": str(lustre.home / "lfs")}
    with pytest.raises(errors.BackendFailed, match="is no Lustre"):
        LustreBackend(Mount("lustre", tmp_path, given)).probe()


@LONG
def test_limits_that_nothing_enforces_are_told_apart(lustre: Lustre) -> None:
    """Servers store limits and enforce none by default; a trial finds that out, once an hour."""
    backend, one = lustre.another(lfs_prove=True), scope()
    backend.create_scope(one, 5 * MIB)
    found = backend.describe_scope(one)
    assert (found.limit_bytes, found.enforced) == (5 * MIB, "off")
    before = len(lustre.calls())
    assert "quota" not in capabilities(backend)
    assert len(lustre.calls()) == before
    assert backend.hardware().metadata["limits"] == "off"
    assert os.listdir(lustre.top / proof.PLACE) == ["result"]
    before = len(lustre.calls())
    assert lustre.another(lfs_prove=True)._enforcement() == "off", "of another process"
    assert len(lustre.calls()) == before
    assert len(lustre.limits()) == 1


@LONG
@pytest.mark.parametrize(
    ("own", "other", "verdict"),
    [
        (True, None, "hard"),
        (False, True, "not for root"),
        (False, False, "off"),
        (False, None, "unknown"),
        (None, None, "unknown"),
    ],
)
def test_a_trial_is_judged(
    lustre: Lustre,
    monkeypatch: pytest.MonkeyPatch,
    own: bool | None,  # noqa: FBT001 - the table's column
    other: bool | None,  # noqa: FBT001 - same
    verdict: Enforcement,
) -> None:
    monkeypatch.setattr(proof, "_stops", lambda _: own)
    monkeypatch.setattr(proof, "_stops_nobody", lambda _: other)
    backend = lustre.another(lfs_prove=True)
    assert backend._enforcement() == verdict
    enforced = verdict in ("hard", "not for root")
    eventually(lambda: ("quota" in capabilities(backend)) == enforced)


@LONG
def test_a_full_volume_proves_nothing(lustre: Lustre) -> None:
    (lustre.top / "big").write_bytes(bytes(450 * MIB))
    assert lustre.another(lfs_prove=True)._enforcement() == "unknown"


@LONG
def test_what_a_killed_trial_left_is_removed(lustre: Lustre) -> None:
    old = lustre.top / proof.PLACE / "1-1-1"
    old.mkdir(parents=True)
    (old / "own").write_bytes(b"x")
    os.utime(old, (time.time() - 3600,) * 2)
    lustre.another(lfs_prove=True)._enforcement()
    assert not old.exists()


@LONG
def test_an_existing_tree_is_adopted(lustre: Lustre) -> None:
    one = scope()
    vfolder = VFolderId(one, uuid4())
    (lustre.top / one.directory).mkdir()
    lustre.backend.create_vfolder(vfolder)
    top = lustre.backend.vfolder_path(vfolder)
    (top / "old").write_bytes(b"x" * MIB)
    (top / "link").symlink_to("old")
    lustre.backend.set_limit(one, 8 * MIB)
    found = lustre.backend.describe_scope(one)
    assert found.limit_bytes == 8 * MIB
    assert (found.used_bytes or 0) >= MIB


@LONG
def test_an_adoption_can_be_stopped(lustre: Lustre) -> None:
    one = scope()
    (lustre.top / one.directory / "deep").mkdir(parents=True)
    lustre.change(slow_tree=True)

    def stop() -> None:
        raise errors.Conflict("stopped")

    with pytest.raises(errors.Conflict, match="stopped"):
        lustre.backend.adopt_scope(one, MIB, stop)
    lustre.change(slow_tree=False)
    lustre.backend.adopt_scope(one, MIB)
    assert lustre.backend.describe_scope(one).limit_bytes == MIB


@LONG
def test_the_reference_s_scope_is_continued_and_removed(lustre: Lustre) -> None:
    """The reference keeps the id in a file of the scope, and gives ids from 100 on."""
    one = scope()
    directory = lustre.top / one.directory
    directory.mkdir()
    (directory / "project_id").write_text("100")
    lfs = lustre.home / "lfs"
    subprocess.run([lfs, "project", "-p", "100", "-s", "-r", directory], check=True)
    subprocess.run([lfs, "setquota", "-p", "100", "-b", "0", "-B", "2048", lustre.top], check=True)
    assert lustre.backend.describe_scope(one).limit_bytes == 2 * MIB
    lustre.backend.set_limit(one, 4 * MIB)
    assert lustre.limits() == {"100": [0, 4096, 0, 0]}
    lustre.backend.delete_scope(one)
    assert not directory.exists()
    assert lustre.limits() == {}


@LONG
def test_limits_of_inodes_stay(lustre: Lustre) -> None:
    one = scope()
    lustre.backend.create_scope(one, MIB)
    (project,) = lustre.limits()
    lfs = lustre.home / "lfs"
    subprocess.run([lfs, "setquota", "-p", project, "-I", "77", lustre.top], check=True)
    lustre.backend.set_limit(one, 2 * MIB)
    assert lustre.limits()[project] == [0, 2048, 0, 77]


@LONG
def test_a_file_system_that_counts_late_gives_each_scope_an_id(lustre: Lustre) -> None:
    lustre.change(lag=True)
    for _ in range(3):
        lustre.backend.create_scope(scope(), MIB)
    assert len(lustre.limits()) == 3


@LONG
def test_targets_that_are_away_are_named(lustre: Lustre) -> None:
    assert lustre.backend.hardware().status == HardwareStatus.HEALTHY
    whole = lustre.backend.array_capacity()
    lustre.change(away=["OST0001"])
    found = lustre.backend.hardware()
    assert (found.status, found.status_info) == (
        HardwareStatus.DEGRADED,
        "Targets are away: OST0001.",
    )
    assert lustre.backend.array_capacity().capacity_bytes == (whole.capacity_bytes or 0) // 2


@LONG
def test_words_of_the_tool_stay_inside(lustre: Lustre) -> None:
    lustre.change(fault="garbage")
    with pytest.raises(errors.BackendFailed) as error:
        lustre.backend.create_scope(scope(), MIB)
    assert str(lustre.top) not in error.value.detail


@LONG
def test_hidden_directories_stay_at_the_top(lustre: Lustre) -> None:
    one = scope()
    lustre.backend.create_scope(one, MIB)
    assert os.listdir(lustre.top / layout.area(None, layout.MAKING)) == []
