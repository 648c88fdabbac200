"""What the tests of the contract work on: scopes and vfolders of their own, removed at the end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from backends.base import HasQuota, HasSnapshots, MountedBackend
from backends.entries import HasObjects
from backends.fs import descriptors
from backends.tree import remove_tree
from contract.site import FILES, Site
from core.jobs import Unattended
from core.names import QuotaScope, ScopeKind, VFolderId


@pytest.fixture(autouse=True)
def fitting(request: pytest.FixtureRequest) -> None:
    """Skip a test that is about another kind of volume."""
    if "site" not in request.fixturenames:
        return
    wanted = getattr(request.module, "KEEPS", (FILES,))
    found = request.getfixturevalue("site").keeps
    if found not in wanted:
        pytest.skip(f"a volume that keeps {found}")


@pytest.fixture
def backend(site: Site) -> MountedBackend:
    """The backend of the volume under test."""
    return site.backend


@pytest.fixture
def quota(site: Site) -> HasQuota:
    """Its quota skill; skips a backend whose storage system enforces no limits."""
    return site.skilled(HasQuota)


@pytest.fixture
def snapshots(site: Site) -> HasSnapshots:
    """Its snapshot skill; skips a backend without one."""
    return site.skilled(HasSnapshots)


@contextmanager
def _own(backend: MountedBackend) -> Iterator[QuotaScope]:
    scope = QuotaScope(ScopeKind.USER, uuid4())
    yield scope
    with backend.root() as root:
        names = os.listdir(root)
        if scope.directory not in names:
            return
        _remove_objects(backend, scope)
        with backend.open_scope(scope) as directory:
            for name in os.listdir(directory):
                removed = remove_tree(directory, name, control=Unattended())
                assert removed.complete
    backend.delete_scope(scope)


def _remove_objects(backend: MountedBackend, scope: QuotaScope) -> None:
    """Remove the objects of all vfolders of a scope, also of those in the trash, and of drafts."""
    if backend.skill(HasObjects) is None:
        return
    for directory, names, _ in os.walk(backend.mount.path / scope.directory):
        with descriptors.opened(directory) as parent:
            for name in names:
                backend.before_purge(parent, name)


@pytest.fixture
def scope(backend: MountedBackend) -> Iterator[QuotaScope]:
    """The name of a quota scope that does not exist yet; removed at the end if it does then."""
    with _own(backend) as scope:
        yield scope


@pytest.fixture
def vfolder(backend: MountedBackend, scope: QuotaScope) -> VFolderId:
    """An empty vfolder in a scope without a limit."""
    backend.create_scope(scope)
    made = VFolderId(scope, uuid4())
    backend.create_vfolder(made)
    return made
