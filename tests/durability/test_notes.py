"""What a call has returned is on disk: quota scopes, vfolders, limits, notes of snapshots."""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from uuid import UUID

import pytest

from backends.base import HardwareInfo, HardwareStatus, QuotaUsage
from backends.entries import access_files
from backends.mounted.array import ArrayQuotaBackend, ArrayUsage
from backends.retention import snapshots
from backends.volumes import operations
from core.errors import QuotaScopeExists, StorageError
from core.names import QuotaScope
from core.settings import load
from deploy import first_run
from tests.durability.site import Crash, Site

pytestmark = pytest.mark.part("fuse")

LIMIT_BYTES = 10_000
NAME = "daily"


def each_crash(site: Site, call: Callable[[], object], right: Callable[[str], None]) -> None:
    """Make a call, and check each crash; the check gets "returned" once the call had."""

    def act() -> None:
        call()
        site.volume.mark("returned")

    def checked(crash: Crash) -> None:
        right(str(crash.cut.promised[-1]))

    site.crash(act, checked, [])


def described(site: Site) -> QuotaUsage | None:
    try:
        return site.backend.describe_scope(site.scope)
    except StorageError:
        return None


@pytest.mark.parametrize("limit_bytes", [None, LIMIT_BYTES])
def test_a_quota_scope(site: Site, limit_bytes: int | None) -> None:
    def right(returned: str) -> None:
        found = described(site)
        if returned:
            assert found is not None
            assert found.limit_bytes == limit_bytes

    each_crash(site, lambda: site.backend.create_scope(site.scope, limit_bytes), right)


class Array(ArrayQuotaBackend):
    """An array that remembers limits; the directory of a scope is made on the mount."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.backend.mount, 60.0)
        self.limits: dict[str, int | None] = {}

    def _health(self) -> HardwareInfo:
        return HardwareInfo(HardwareStatus.HEALTHY)

    def _limit_unit(self) -> int:
        return 1

    def _make_directory(self, root: int, name: str) -> None:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=root)

    def _usage(self, name: str) -> ArrayUsage:
        return ArrayUsage(0, self.limits.get(name))

    def _apply_limit(self, name: str, limit_bytes: int | None) -> None:
        self.limits[name] = limit_bytes

    def _remove_objects(self, name: str) -> bool:
        return self.limits.pop(name, None) is not None

    def _has_directory(self, path: str) -> bool:
        return (self.mount.path / path).is_dir()

    def _available(self) -> Mapping[str, bool]:
        return {"quota": True}


@pytest.mark.parametrize("limit_bytes", [None, LIMIT_BYTES])
def test_a_quota_scope_of_an_array(site: Site, limit_bytes: int | None) -> None:
    """The array has lost nothing. The mount has the directory, or the next call completes it."""
    array = Array(site)

    def right(returned: str) -> None:
        if not returned:
            with suppress(QuotaScopeExists):
                array.create_scope(site.scope, limit_bytes)
        assert array.describe_scope(site.scope).limit_bytes == limit_bytes

    each_crash(site, lambda: array.create_scope(site.scope, limit_bytes), right)


def test_the_first_configuration(site: Site) -> None:
    """It is there whole or not at all: a start with half of it would make other secrets."""
    path = site.volume.path / "etc" / "storage-proxy.toml"

    def right(_: str) -> None:
        first_run.ensure(path)
        load(path, environ={})

    each_crash(site, lambda: first_run.ensure(path), right)


def test_a_quota_scope_that_is_deleted(site: Site) -> None:
    site.backend.create_scope(site.scope, LIMIT_BYTES)

    def right(returned: str) -> None:
        found = described(site)
        if returned:
            assert found is None
            site.backend.create_scope(site.scope)
            assert site.backend.describe_scope(site.scope).limit_bytes is None

    each_crash(site, lambda: site.backend.delete_scope(site.scope), right)


def test_a_limit(site: Site) -> None:
    site.backend.create_scope(site.scope, LIMIT_BYTES)

    def right(returned: str) -> None:
        found = described(site)
        assert found is not None
        assert found.limit_bytes == 2 * LIMIT_BYTES or (
            not returned and found.limit_bytes == LIMIT_BYTES
        )

    each_crash(site, lambda: site.backend.set_limit(site.scope, 2 * LIMIT_BYTES), right)


def test_a_limit_that_is_taken_away(site: Site) -> None:
    site.backend.create_scope(site.scope, LIMIT_BYTES)

    def right(returned: str) -> None:
        found = described(site)
        assert found is not None
        assert found.limit_bytes in ((None,) if returned else (None, LIMIT_BYTES))

    each_crash(site, lambda: site.backend.unset_limit(site.scope), right)


def test_a_vfolder(site: Site) -> None:
    site.backend.create_scope(site.scope)
    vfolder = site.vfolder(1)

    def right(returned: str) -> None:
        if returned:
            assert site.path(vfolder).stat().st_mode & 0o777 == 0o711
        elif not site.path(vfolder).exists():
            site.backend.create_vfolder(vfolder)

    each_crash(site, lambda: site.backend.create_vfolder(vfolder, 0o711), right)


def test_the_note_of_a_snapshot(site: Site) -> None:
    site.backend.create_scope(site.scope)
    vfolder = site.vfolder(1)

    def keep() -> None:
        with site.backend.root() as root:
            snapshots.keep(root, vfolder, NAME, 1000.0)

    def right(returned: str) -> None:
        with site.backend.root() as root:
            found = snapshots.kept(root, site.scope.directory)
        if returned:
            assert [one.name for one in found] == [NAME]

    each_crash(site, keep, right)


def test_the_note_of_a_snapshot_that_is_kept_for_good(site: Site) -> None:
    """A note that came back would delete the next snapshot of that name."""
    site.backend.create_scope(site.scope)
    vfolder = site.vfolder(1)
    with site.backend.root() as root:
        snapshots.keep(root, vfolder, NAME, 1000.0)

    def forget() -> None:
        with site.backend.root() as root:
            snapshots.forget(root, vfolder, NAME)

    def right(returned: str) -> None:
        with site.backend.root() as root:
            found = snapshots.kept(root, site.scope.directory)
        if returned:
            assert found == []

    each_crash(site, forget, right)


def test_an_access_record(site: Site) -> None:
    vfolder = site.filled(1)
    access_files.replace(site.backend, vfolder, b"old", "")

    def right(returned: str) -> None:
        found = access_files.read(site.backend, vfolder).text
        assert found == b"new" if returned else found in (b"old", b"new")

    before = access_files.digest(b"old")
    each_crash(site, lambda: access_files.replace(site.backend, vfolder, b"new", before), right)


def test_the_record_of_a_user(site: Site) -> None:
    user = QuotaScope.parse(f"user:{UUID(int=9)}")

    def right(returned: str) -> None:
        found = access_files.read_subject(site.backend, user.id)
        assert found == b"keys" if returned else found in (None, b"keys")

    each_crash(site, lambda: access_files.replace_subject(site.backend, user, b"keys", ""), right)


def test_a_new_vfolder_without_the_record_of_a_former_one(site: Site) -> None:
    vfolder = site.filled(1)
    access_files.replace(site.backend, vfolder, b"former", "")
    shutil.rmtree(site.path(vfolder))  # by another tool

    def right(returned: str) -> None:
        if site.path(vfolder).exists():
            assert access_files.read(site.backend, vfolder).text is None
        else:
            assert not returned

    def create() -> None:
        operations.create_vfolder(site.backend, vfolder, 0o755, None, automatic=False)

    each_crash(site, create, right)
