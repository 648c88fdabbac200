"""The vfs backend on the real file system of the machine."""

import threading
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import Mount, QuotaUsage, capabilities
from backends.fs import layout
from backends.mounted import PosixBackend
from core import errors
from core.names import QuotaScope, VFolderId


@pytest.fixture
def backend(tmp_path: Path) -> PosixBackend:
    return PosixBackend(Mount("local", tmp_path))


@pytest.fixture
def scope() -> QuotaScope:
    return QuotaScope.parse(f"user:{uuid4()}")


def vfolder(scope: QuotaScope) -> VFolderId:
    return VFolderId(scope, uuid4())


def test_scope_lives_and_dies(backend: PosixBackend, scope: QuotaScope) -> None:
    with pytest.raises(errors.QuotaScopeNotFound):
        backend.describe_scope(scope)
    backend.create_scope(scope)
    with pytest.raises(errors.QuotaScopeExists):
        backend.create_scope(scope)
    assert backend.describe_scope(scope) == QuotaUsage(None, None)
    inside = vfolder(scope)
    backend.create_vfolder(inside)
    with pytest.raises(errors.QuotaScopeNotEmpty):
        backend.delete_scope(scope)
    assert backend.vfolder_path(inside).is_dir()


def test_a_scope_with_empty_hidden_directories_is_empty(
    backend: PosixBackend, scope: QuotaScope
) -> None:
    backend.create_scope(scope)
    (backend.mount.path / layout.area(scope, layout.TRASH)).mkdir(parents=True)
    backend.delete_scope(scope)
    with pytest.raises(errors.QuotaScopeNotFound):
        backend.delete_scope(scope)


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_must_be_above_zero(backend: PosixBackend, scope: QuotaScope, limit: int) -> None:
    with pytest.raises(errors.InvalidParameters):
        backend.set_limit(scope, limit)
    assert list(backend.mount.path.iterdir()) == []


def test_vfolder_is_where_agents_mount_it(backend: PosixBackend, scope: QuotaScope) -> None:
    folder = vfolder(scope)
    with pytest.raises(errors.QuotaScopeNotFound):
        backend.create_vfolder(folder)
    backend.create_scope(scope)
    backend.create_vfolder(folder, 0o775)
    digits = folder.id.hex
    path = backend.mount.path / scope.id.hex / digits[:2] / digits[2:4] / digits[4:]
    assert path == backend.vfolder_path(folder)
    assert path.stat().st_mode & 0o777 == 0o775
    assert path.parent.stat().st_mode & 0o777 == 0o755
    with pytest.raises(errors.VFolderExists):
        backend.create_vfolder(folder)


def test_a_link_in_the_way_is_no_vfolder(backend: PosixBackend, scope: QuotaScope) -> None:
    backend.create_scope(scope)
    folder = vfolder(scope)
    path = backend.vfolder_path(folder)
    path.parent.mkdir(parents=True)
    path.symlink_to("/etc")
    with pytest.raises(errors.VFolderNotFound), backend.open_vfolder(folder):
        pass


def test_many_vfolders_at_once(backend: PosixBackend, scope: QuotaScope) -> None:
    backend.create_scope(scope)
    folders = [vfolder(scope) for _ in range(32)]
    threads = [threading.Thread(target=backend.create_vfolder, args=(f,)) for f in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(backend.vfolder_path(f).is_dir() for f in folders)


def test_an_unmounted_volume_is_an_error(tmp_path: Path) -> None:
    backend = PosixBackend(Mount("gone", tmp_path / "nothing"))
    with pytest.raises(errors.VolumeUnavailable, match="gone"):
        backend.probe()
    assert backend.hardware().status == "offline"


def test_plain_mount_has_one_capability(backend: PosixBackend) -> None:
    assert capabilities(backend) == ["vfolder"]
