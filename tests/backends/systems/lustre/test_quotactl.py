"""Lustre without the tool `lfs`: limits and ids by the ioctls of the client, on a FUSE stand-in."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends.base import HardwareStatus, Mount, capabilities
from backends.systems.lustre import LustreBackend, quotactl
from core import errors
from core.names import QuotaScope, ScopeKind, VFolderId
from tests.support import lustrefs
from tests.support.lustrefs import LustreFS

pytestmark = [pytest.mark.part("root"), pytest.mark.part("fuse")]
MIB = 1 << 20


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LustreFS]:
    with lustrefs.mounted(tmp_path_factory.mktemp("lustre")) as found:
        yield found


@pytest.fixture
def lustre(mount: LustreFS) -> Iterator[LustreFS]:
    yield mount
    mount.change(**lustrefs.DEFAULTS)


def volume(lustre: LustreFS, **options: Any) -> LustreBackend:
    """A new volume, on a node without the tool."""
    top = lustre.path / uuid4().hex
    top.mkdir()
    given = {"lfs_path": "/nonexistent/lfs", "lfs_prove": False}
    return LustreBackend(Mount("lustre", top, {**given, **options}))


def scope() -> QuotaScope:
    return QuotaScope(ScopeKind.PROJECT, uuid4())


def directory(backend: LustreBackend, one: QuotaScope) -> Path:
    return backend.mount.path / one.directory


def test_a_scope_lives_and_goes(lustre: LustreFS) -> None:
    backend, one, before = volume(lustre), scope(), lustre.limits
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
    for path in (vfolder.directory, *list(vfolder.directory.parents)[:2]):
        (backend.mount.path / path).rmdir()
    backend.set_limit(one, 8 * MIB)
    backend.delete_scope(one)
    assert lustre.limits == before


def test_limits_are_tried_and_hold(lustre: LustreFS) -> None:
    backend, one = volume(lustre, lfs_prove=True), scope()
    backend.create_scope(one, MIB)
    assert backend.describe_scope(one).enforced == "hard"
    assert "quota" in capabilities(backend)
    with pytest.raises(OSError, match="quota"):
        (directory(backend, one) / "big").write_bytes(bytes(2 * MIB))


@pytest.mark.parametrize(("held", "verdict"), [("not root", "not for root"), ("none", "off")])
def test_limits_that_do_not_hold_us_are_told_apart(
    lustre: LustreFS, held: str, verdict: str
) -> None:
    lustre.change(enforced=held)
    backend, one = volume(lustre, lfs_prove=True), scope()
    backend.create_scope(one, MIB)
    assert backend.describe_scope(one).enforced == verdict
    assert ("quota" in capabilities(backend)) == (verdict == "not for root")


def test_targets_that_do_not_answer_leave_the_usage_unknown(lustre: LustreFS) -> None:
    backend, one = volume(lustre), scope()
    backend.create_scope(one, MIB)
    lustre.change(missing=["space"])
    found = backend.describe_scope(one)
    assert (found.used_bytes, found.limit_bytes) == (None, MIB)
    with pytest.raises(errors.BackendFailed, match="Not all targets"):
        backend.create_scope(scope(), MIB)


@pytest.mark.parametrize("fault", [{"missing": ["limits"]}, {"error": "EIO"}, {"error": "EINVAL"}])
def test_an_answer_that_is_none_is_never_no_limit(lustre: LustreFS, fault: dict[str, Any]) -> None:
    backend, one = volume(lustre), scope()
    backend.create_scope(one, MIB)
    lustre.change(**fault)
    with pytest.raises(errors.BackendFailed):
        backend.describe_scope(one)


@pytest.mark.parametrize("error", ["ESRCH", "EOPNOTSUPP"])
def test_without_project_quota_the_volume_works_without_limits(
    lustre: LustreFS, error: str
) -> None:
    lustre.change(error=error)
    backend = volume(lustre, lfs_prove=True)
    backend.probe()
    assert "quota" not in capabilities(backend)
    with pytest.raises(errors.BackendFailed, match="does not enforce quota"):
        backend.create_scope(scope(), MIB)


def test_a_root_that_the_servers_squash_is_named(lustre: LustreFS) -> None:
    backend, one = volume(lustre), scope()
    backend.create_scope(one, MIB)
    lustre.change(squashed=True)
    with pytest.raises(errors.BackendFailed, match="needs root"):
        backend.set_limit(one, 2 * MIB)
    assert backend.describe_scope(one).limit_bytes == MIB


def test_limits_of_inodes_stay(lustre: LustreFS) -> None:
    backend, one, before = volume(lustre), scope(), lustre.limits
    backend.create_scope(one, MIB)
    (project,) = set(lustre.limits) - set(before)
    lustre.change(limits={project: [1024, 512, 77, 66]})
    backend.set_limit(one, 2 * MIB)
    assert lustre.limits[project] == [2048, 0, 77, 66]


def test_an_existing_tree_is_adopted(lustre: LustreFS) -> None:
    backend, one = volume(lustre), scope()
    directory(backend, one).mkdir()
    vfolder = VFolderId(one, uuid4())
    backend.create_vfolder(vfolder)
    (backend.vfolder_path(vfolder) / "old").write_bytes(b"x" * MIB)
    backend.set_limit(one, 8 * MIB)
    found = backend.describe_scope(one)
    assert found.limit_bytes == 8 * MIB
    assert (found.used_bytes or 0) >= MIB


def test_health_says_that_targets_are_not_known(lustre: LustreFS) -> None:
    backend = volume(lustre)
    assert backend.array_capacity().capacity_bytes == backend.capacity().capacity_bytes
    found = backend.hardware()
    assert found.status == HardwareStatus.HEALTHY
    assert found.metadata == {"limits": "unknown", "targets away": "unknown"}


def test_another_file_system_is_refused(tmp_path: Path) -> None:
    given = {"lfs_path": "/nonexistent/lfs"}
    backend = LustreBackend(Mount("lustre", tmp_path, given))
    with pytest.raises(errors.BackendFailed, match="is no Lustre"):
        backend.probe()
    top = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(errors.BackendFailed, match="no quota of Lustre"):
            quotactl.set_limit(top, 1, MIB)
    finally:
        os.close(top)


def test_the_tool_is_asked_alone_where_it_is_set(lustre: LustreFS) -> None:
    backend, before = volume(lustre, lfs_quota="lfs"), lustre.calls
    with pytest.raises(errors.BackendFailed, match="not installed"):
        backend.create_scope(scope(), MIB)
    assert lustre.calls == before


def test_ids_need_the_tool_where_the_client_has_none(lustre: LustreFS) -> None:
    lustre.change(projects=False)
    with pytest.raises(errors.BackendFailed, match="not installed"):
        volume(lustre).create_scope(scope(), MIB)
