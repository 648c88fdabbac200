"""Obstacles, missing volumes and missing rights give clear errors, and nothing is changed."""

import os
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import HardwareStatus, HasQuota, Mount, MountedBackend, capabilities
from backends.fs import layout
from contract.site import FILES, OBJECTS, Site
from contract.waiting import eventually
from core import errors
from core.errors import StorageError
from core.names import QuotaScope, VFolderId

KEEPS = (FILES, OBJECTS)
MIB = 1 << 20
UNPRIVILEGED = 65534


def path_of(backend: MountedBackend, scope: QuotaScope) -> Path:
    return backend.mount.path / scope.directory


def moved(site: Site, path: Path) -> MountedBackend:
    mount = site.backend.mount
    return site.another(Mount(mount.volume, path, mount.options))


def refused(backend: MountedBackend, scope: QuotaScope) -> None:
    """Check that every call on a scope is refused with an error of ours, without a host path."""
    calls = (
        lambda: backend.create_scope(scope, MIB),
        lambda: backend.describe_scope(scope),
        lambda: backend.set_limit(scope, MIB),
        lambda: backend.unset_limit(scope),
        lambda: backend.delete_scope(scope),
    )
    for call in calls:
        with pytest.raises(StorageError) as caught:
            call()
        assert str(backend.mount.path) not in caught.value.detail


def test_a_volume_that_is_not_mounted(site: Site, scope: QuotaScope) -> None:
    away = moved(site, site.backend.mount.path / "not there")
    with pytest.raises(errors.VolumeUnavailable):
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
    path.write_bytes(b"of another tool")
    try:
        with pytest.raises(errors.QuotaScopeExists):
            backend.create_scope(scope, MIB)
        for call in (backend.describe_scope, backend.unset_limit, backend.delete_scope):
            with pytest.raises(errors.QuotaScopeNotFound):
                call(scope)
        assert path.read_bytes() == b"of another tool"
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
        for call in (backend.describe_scope, backend.delete_scope):
            with pytest.raises(errors.QuotaScopeNotFound):
                call(scope)
        with pytest.raises(errors.QuotaScopeNotFound):
            backend.create_vfolder(VFolderId(scope, uuid4()))
        assert os.listdir(tmp_path) == ["kept"]
    finally:
        path.unlink()


def test_a_scope_is_made_over_what_a_dead_process_left(
    quota: HasQuota, backend: MountedBackend, scope: QuotaScope
) -> None:
    """A directory without a counter: the process died before it gave one."""
    making = backend.mount.path / layout.area(None, layout.MAKING)
    making.mkdir(parents=True, exist_ok=True)
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
    # Some file systems estimate the space of metadata; a cluster reports removals late.
    eventually(lambda: abs((backend.capacity().capacity_bytes or 0) - before) < 8 * MIB)


@pytest.mark.part("root")
def test_a_process_without_rights_is_refused_in_words(
    quota: HasQuota, site: Site, scope: QuotaScope
) -> None:
    backend = site.backend
    backend.create_scope(scope, 4 * MIB)

    def are_refused(own: MountedBackend) -> bool:
        details = []
        for change in (partial(own.set_limit, scope, MIB), partial(own.unset_limit, scope)):
            try:
                change()
            except StorageError as error:
                details.append(error.detail)
        return len(details) == 2 and all("volume" in text.lower() for text in details)

    assert _unprivileged(site, are_refused)
    assert backend.describe_scope(scope).limit_bytes == 4 * MIB


@pytest.mark.part("root")
def test_usage_needs_no_rights(quota: HasQuota, site: Site, scope: QuotaScope) -> None:
    if site.kind.reads_need_rights:
        pytest.skip("commands that root alone may run")
    backend = site.backend
    backend.create_scope(scope, 4 * MIB)
    os.sync()  # usage that is counted at a commit does not change after this
    expected = backend.describe_scope(scope)

    def is_shown(own: MountedBackend) -> bool:
        found = own.describe_scope(scope)
        enforced = site.kind.enforced_without_rights
        return (found.limit_bytes, found.enforced) == (4 * MIB, enforced) and (
            found.used_bytes == expected.used_bytes
        )

    assert _unprivileged(site, is_shown)


def _unprivileged(site: Site, check: Callable[[MountedBackend], bool]) -> bool:
    """Return what a check finds in a process without rights, which gets the volume's descriptor."""
    top = os.open(site.backend.mount.path, os.O_RDONLY)
    number = os.fork()
    if number == 0:
        try:
            os.setgroups([])
            os.setresgid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
            os.setresuid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
            os._exit(0 if check(moved(site, Path(f"/proc/self/fd/{top}"))) else 1)
        except BaseException:  # noqa: BLE001 - a child never comes back
            traceback.print_exc()
            os._exit(2)
    os.close(top)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0
