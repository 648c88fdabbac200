"""Quota scopes: created, described, limited and deleted; once, twice and by many at a time."""

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from backends.base import HasInodeLimits, HasQuota, HasSoftLimits, MountedBackend
from contract.site import FILES, OBJECTS, Site
from contract.waiting import eventually
from core import errors
from core.errors import StorageError
from core.names import QuotaScope, ScopeKind, VFolderId

KEEPS = (FILES, OBJECTS)
MANY = 8
LIMITS = [1, 511, 512, 4095, 4096, 4097, 10_000_000, 2**40 + 1, 2**53 + 1, 2**63 - 4097, 2**63 - 1]


def outcomes(change: Callable[[], None]) -> Counter[str]:
    """Count how calls ended that were made at the same time."""

    def attempt(_: int) -> str:
        try:
            change()
        except StorageError as error:
            return type(error).__name__
        return "done"

    with ThreadPoolExecutor(MANY) as pool:
        return Counter(pool.map(attempt, range(MANY)))


def test_a_scope_is_made_once(backend: MountedBackend, scope: QuotaScope) -> None:
    with pytest.raises(errors.QuotaScopeNotFound):
        backend.describe_scope(scope)
    backend.create_scope(scope)
    with pytest.raises(errors.QuotaScopeExists):
        backend.create_scope(scope)
    assert backend.describe_scope(scope).limit_bytes is None


def test_a_scope_is_removed_once(backend: MountedBackend, scope: QuotaScope) -> None:
    backend.create_scope(scope)
    backend.delete_scope(scope)
    with pytest.raises(errors.QuotaScopeNotFound):
        backend.delete_scope(scope)
    with pytest.raises(errors.QuotaScopeNotFound):
        backend.unset_limit(scope)


def test_a_scope_that_holds_something_stays(backend: MountedBackend, vfolder: VFolderId) -> None:
    assert vfolder.scope
    with pytest.raises(errors.QuotaScopeNotEmpty):
        backend.delete_scope(vfolder.scope)
    backend.check_vfolder(vfolder)


def test_one_of_many_makes_it(backend: MountedBackend, scope: QuotaScope) -> None:
    ended = outcomes(lambda: backend.create_scope(scope, 1 << 20))
    assert ended == {"done": 1, "QuotaScopeExists": MANY - 1}


def test_many_scopes_at_a_time_share_nothing(site: Site) -> None:
    backend, many = site.backend, min(MANY, site.kind.many_scopes)
    scopes = [QuotaScope(ScopeKind.PROJECT, uuid4()) for _ in range(many)]
    with ThreadPoolExecutor(many) as pool:
        list(pool.map(lambda n: backend.create_scope(scopes[n], (n + 1) << 20), range(many)))
    if backend.skill(HasQuota):
        found = [backend.describe_scope(scope).limit_bytes for scope in scopes]
        assert found == [(n + 1) << 20 for n in range(many)]
    for scope in scopes:
        backend.delete_scope(scope)


def test_a_limit_is_found_among_many(quota: HasQuota, site: Site, scope: QuotaScope) -> None:
    backend, many = site.backend, site.kind.many_scopes
    others = [QuotaScope(ScopeKind.PROJECT, uuid4()) for _ in range(many)]
    for number, other in enumerate(others):
        backend.create_scope(other, (number + 1) << 20)
    backend.create_scope(scope)
    found = [backend.describe_scope(other).limit_bytes for other in others]
    assert found == [(number + 1) << 20 for number in range(many)]
    assert backend.describe_scope(scope).limit_bytes is None
    for other in others:
        backend.delete_scope(other)


def test_one_of_many_removes_it(backend: MountedBackend, scope: QuotaScope) -> None:
    backend.create_scope(scope)
    ended = outcomes(lambda: backend.delete_scope(scope))
    assert ended == {"done": 1, "QuotaScopeNotFound": MANY - 1}


@pytest.mark.parametrize("limit", [0, -1, -(2**63)])
def test_a_limit_is_above_zero(backend: MountedBackend, scope: QuotaScope, limit: int) -> None:
    with pytest.raises(errors.InvalidParameters):
        backend.create_scope(scope, limit)
    with pytest.raises(errors.InvalidParameters):
        backend.set_limit(scope, limit)
    with pytest.raises(errors.QuotaScopeNotFound):
        backend.describe_scope(scope)


def test_a_limit_is_rounded_up_and_both_figures_are_shown(
    quota: HasQuota, site: Site, scope: QuotaScope
) -> None:
    backend = site.backend
    backend.create_scope(scope, LIMITS[-1])
    check_rounded(quota, site, scope, LIMITS[-1])
    backend.delete_scope(scope)
    backend.create_scope(scope, LIMITS[0])
    check_rounded(quota, site, scope, LIMITS[0])
    for limit in LIMITS[1:]:
        backend.set_limit(scope, limit)
        check_rounded(quota, site, scope, limit)


def check_rounded(quota: HasQuota, site: Site, scope: QuotaScope, limit: int) -> None:
    found = site.backend.describe_scope(scope)
    assert found.requested_bytes == limit
    assert found.limit_bytes == quota.effective_limit(limit)
    unit = quota.effective_limit(1)
    assert found.limit_bytes is not None
    assert found.limit_bytes <= 2**63 - 1
    assert limit <= found.limit_bytes < limit + unit or limit > 2**63 - 1 - unit
    assert found.enforced == site.kind.enforced


def test_a_limit_is_set_changed_and_removed_twice(
    quota: HasQuota, backend: MountedBackend, scope: QuotaScope
) -> None:
    for limit in (1 << 20, 1 << 20, 1 << 30, 1 << 21):
        backend.set_limit(scope, limit)
        assert backend.describe_scope(scope).limit_bytes == limit
    for _ in range(2):
        backend.unset_limit(scope)
        found = backend.describe_scope(scope)
        assert (found.limit_bytes, found.requested_bytes, found.enforced) == (None, None, None)


def test_limits_set_by_many_end_as_one_of_them(
    quota: HasQuota, backend: MountedBackend, scope: QuotaScope
) -> None:
    limits = [(n + 1) << 20 for n in range(MANY)]
    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(lambda limit: backend.set_limit(scope, limit), limits))
    assert backend.describe_scope(scope).limit_bytes in limits


def test_a_scope_made_again_has_no_old_limit(
    quota: HasQuota, backend: MountedBackend, scope: QuotaScope
) -> None:
    backend.create_scope(scope, 1 << 20)
    backend.delete_scope(scope)
    backend.create_scope(scope)
    assert backend.describe_scope(scope).limit_bytes is None


def test_an_existing_directory_is_adopted_with_all_it_holds(
    quota: HasQuota, site: Site, scope: QuotaScope
) -> None:
    backend = site.backend
    with backend.root() as root:
        os.mkdir(scope.directory, dir_fd=root)
    vfolder = VFolderId(scope, uuid4())
    backend.create_vfolder(vfolder)
    old = backend.vfolder_path(vfolder) / "old"
    old.write_bytes(b"x" * (1 << 20))
    os.sync()
    with pytest.raises(errors.QuotaScopeExists):
        backend.create_scope(scope)
    if not site.kind.adopts:
        with pytest.raises(errors.Conflict):
            backend.set_limit(scope, 8 << 20)
        return
    backend.set_limit(scope, 8 << 20)
    assert backend.describe_scope(scope).limit_bytes == 8 << 20
    eventually(lambda: 1 << 20 <= (backend.describe_scope(scope).used_bytes or 0) < 2 << 20)


def test_a_limit_of_inodes_is_one_beside_that_of_bytes(site: Site, scope: QuotaScope) -> None:
    backend, inodes = site.backend, site.skilled(HasInodeLimits)
    with pytest.raises(errors.QuotaScopeNotFound):
        inodes.set_inode_limit(scope, 100)
    backend.create_scope(scope, 1 << 20)
    for limit in (0, -1):
        with pytest.raises(errors.InvalidParameters):
            inodes.set_inode_limit(scope, limit)
    for limit in (1000, 1000, 5000):
        inodes.set_inode_limit(scope, limit)
        found = backend.describe_scope(scope)
        assert (found.limit_inodes, found.limit_bytes) == (limit, 1 << 20)
        assert found.used_inodes is None or 0 <= found.used_inodes < limit
    backend.set_limit(scope, 1 << 21)
    assert backend.describe_scope(scope).limit_inodes == 5000
    backend.unset_limit(scope)
    found = backend.describe_scope(scope)
    assert (found.limit_inodes, found.limit_bytes) == (5000, None)
    for _ in range(2):
        inodes.set_inode_limit(scope, None)
        assert backend.describe_scope(scope).limit_inodes is None


def test_a_soft_limit_stays_as_long_as_it_can(
    site: Site, quota: HasQuota, scope: QuotaScope
) -> None:
    backend, soft = site.backend, site.skilled(HasSoftLimits)
    with pytest.raises(errors.QuotaScopeNotFound):
        soft.set_soft_limit(scope, 1 << 20)
    backend.create_scope(scope, 8 << 20)
    for limit in (0, 9 << 20):
        with pytest.raises(errors.InvalidParameters):
            soft.set_soft_limit(scope, limit)
    for limit in (1 << 20, 1 << 20, (2 << 20) + 1):
        soft.set_soft_limit(scope, limit)
        found = backend.describe_scope(scope)
        assert found.soft_limit_bytes == quota.effective_limit(limit)
        assert found.limit_bytes == 8 << 20
    kept = quota.effective_limit((2 << 20) + 1)
    backend.set_limit(scope, 4 << 20)
    found = backend.describe_scope(scope)
    assert (found.soft_limit_bytes, found.limit_bytes) == (kept, 4 << 20)
    backend.set_limit(scope, 1 << 20)
    assert backend.describe_scope(scope).soft_limit_bytes is None
    backend.set_limit(scope, 4 << 20)
    soft.set_soft_limit(scope, 1 << 20)
    for _ in range(2):
        soft.set_soft_limit(scope, None)
        found = backend.describe_scope(scope)
        assert (found.soft_limit_bytes, found.limit_bytes) == (None, 4 << 20)
