"""What is in the way, taken away or forbidden is told clearly, and changes nothing."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import HardwareStatus, HasQuota, Mount, MountedBackend, capabilities
from backends.fs import layout
from core import errors
from core.errors import StorageError
from core.names import QuotaScope, VFolderId
from tests.contract.sites import Site
from tests.support.waiting import eventually

MIB = 1 << 20
NOBODY = 65534


def path_of(backend: MountedBackend, scope: QuotaScope) -> Path:
    return backend.mount.path / scope.directory


def moved(site: Site, path: Path) -> MountedBackend:
    mount = site.backend.mount
    return site.another(Mount(mount.volume, path, mount.options))


def refused(backend: MountedBackend, scope: QuotaScope) -> None:
    """Every act on a scope is refused in words of ours, without a path of the host."""
    acts = (
        lambda: backend.create_scope(scope, MIB),
        lambda: backend.describe_scope(scope),
        lambda: backend.set_limit(scope, MIB),
        lambda: backend.unset_limit(scope),
        lambda: backend.delete_scope(scope),
    )
    for act in acts:
        with pytest.raises(StorageError) as told:
            act()
        assert str(backend.mount.path) not in told.value.detail


def test_a_volume_that_is_not_mounted(site: Site, scope: QuotaScope) -> None:
    away = moved(site, site.backend.mount.path / "not there")
    with pytest.raises(errors.BackendFailed):
        away.probe()
    assert away.hardware().status != HardwareStatus.HEALTHY
    refused(away, scope)
    assert "quota" not in capabilities(away)


def test_another_file_system_in_its_place(
    quota: HasQuota, site: Site, scope: QuotaScope, tmp_path: Path
) -> None:
    other = moved(site, tmp_path)
    with pytest.raises(errors.BackendFailed):
        other.probe()
    assert "quota" not in capabilities(other)
    with pytest.raises(StorageError):
        other.create_scope(scope, MIB)
    assert not (tmp_path / scope.directory).exists()


def test_a_file_in_the_place_of_a_scope(backend: MountedBackend, scope: QuotaScope) -> None:
    path = path_of(backend, scope)
    path.write_bytes(b"somebody's")
    try:
        with pytest.raises(errors.QuotaScopeExists):
            backend.create_scope(scope, MIB)
        for act in (backend.describe_scope, backend.unset_limit, backend.delete_scope):
            with pytest.raises(errors.QuotaScopeNotFound):
                act(scope)
        assert path.read_bytes() == b"somebody's"
    finally:
        path.unlink()


def test_a_link_in_the_place_of_a_scope_is_not_followed(
    backend: MountedBackend, scope: QuotaScope, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_bytes(b"kept")
    path = path_of(backend, scope)
    path.symlink_to(tmp_path)
    try:
        with pytest.raises(errors.QuotaScopeExists):
            backend.create_scope(scope)
        for act in (backend.describe_scope, backend.delete_scope):
            with pytest.raises(errors.QuotaScopeNotFound):
                act(scope)
        with pytest.raises(errors.QuotaScopeNotFound):
            backend.create_vfolder(VFolderId(scope, uuid4()))
        assert os.listdir(tmp_path) == ["kept"]
    finally:
        path.unlink()


def test_a_scope_is_made_over_what_a_dead_process_left(
    quota: HasQuota, backend: MountedBackend, scope: QuotaScope
) -> None:
    """A plain directory: whoever died had not come to having it counted."""
    room = backend.mount.path / layout.area(None, layout.MAKING)
    room.mkdir(parents=True, exist_ok=True)
    backend.create_scope(scope, 8 * MIB)
    limits = backend.mount.path / layout.area(None, layout.LIMITS) / scope.directory
    limits.write_bytes(b"{no text of ours")
    assert backend.describe_scope(scope).limit_bytes == 8 * MIB
    assert backend.describe_scope(scope).requested_bytes == 8 * MIB
    backend.delete_scope(scope)
    limits.write_bytes(b'{"requested_bytes":1}')
    backend.create_scope(scope)
    assert backend.describe_scope(scope).requested_bytes is None


def test_a_limit_does_not_shrink_the_volume(
    quota: HasQuota, backend: MountedBackend, scope: QuotaScope
) -> None:
    """File systems show a directory's limit as if it were their size (statvfs)."""
    eventually(lambda: (backend.capacity().capacity_bytes or 0) > 64 * MIB)
    before = backend.capacity().capacity_bytes or 0
    backend.create_scope(scope, MIB)
    # Some only guess what metadata will take, and a cluster what others have just removed.
    eventually(lambda: abs((backend.capacity().capacity_bytes or 0) - before) < 8 * MIB)


@pytest.mark.part("root")
def test_a_process_without_rights_is_refused_in_words(
    quota: HasQuota, site: Site, scope: QuotaScope
) -> None:
    backend = site.backend
    backend.create_scope(scope, 4 * MIB)

    def act(mine: MountedBackend) -> bool:
        told = []
        for refusal in (lambda: mine.set_limit(scope, MIB), lambda: mine.unset_limit(scope)):
            try:
                refusal()
            except StorageError as error:
                told.append(error.detail)
        return len(told) == 2 and all("volume" in text.lower() for text in told)

    assert _as_nobody(site, act)
    assert backend.describe_scope(scope).limit_bytes == 4 * MIB


@pytest.mark.part("root")
def test_usage_needs_no_rights(quota: HasQuota, site: Site, scope: QuotaScope) -> None:
    backend = site.backend
    backend.create_scope(scope, 4 * MIB)
    os.sync()  # what is counted when it is committed does not change any more
    wanted = backend.describe_scope(scope)

    def act(mine: MountedBackend) -> bool:
        found = mine.describe_scope(scope)
        return (found.limit_bytes, found.enforced) == (4 * MIB, "hard") and (
            found.used_bytes == wanted.used_bytes
        )

    assert _as_nobody(site, act)


def _as_nobody(site: Site, act: Callable[[MountedBackend], bool]) -> bool:
    """Whether a process without any right finds it so; it need not see the directories above."""
    top = os.open(site.backend.mount.path, os.O_RDONLY)
    number = os.fork()
    if number == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os._exit(0 if act(moved(site, Path(f"/proc/self/fd/{top}"))) else 1)
        except BaseException:  # noqa: BLE001 - a child never comes back
            traceback.print_exc()
            os._exit(2)
    os.close(top)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0
