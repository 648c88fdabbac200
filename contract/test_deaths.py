"""Changes of scopes and snapshots, killed before each of their system calls, then made again.

In the user-mode kernel `tests/kernel` kills only before the calls that change something: a process
under strace is slow there.
"""

import os
from contextlib import suppress
from itertools import count
from uuid import uuid4

import pytest

from backends.base import HasQuota, HasSnapshots, MountedBackend
from backends.fs import layout
from backends.retention import SnapshotExists, SnapshotNotFound
from contract.deaths import deaths
from contract.site import Site
from core import errors
from core.names import QuotaScope, ScopeKind, VFolderId

pytestmark = [
    pytest.mark.part("strace"),
    pytest.mark.skipif("UML_XFS" in os.environ, reason="tests/kernel does it there"),
]
MIB = 1 << 20
#: A creation makes more system calls than this, whatever the backend.
CALLS_MIN = 3


def new() -> QuotaScope:
    return QuotaScope(ScopeKind.USER, uuid4())


def leftovers(backend: MountedBackend) -> list[str]:
    making = backend.mount.path / layout.area(None, layout.MAKING)
    return os.listdir(making) if making.exists() else []


def test_a_creation_killed_at_any_call_is_done_by_the_next(site: Site) -> None:
    backend, calls = site.backend, site.kind.deadly_calls
    died = 0
    made = []

    def fresh() -> QuotaScope:
        made.append(new())
        return made[-1]

    for scope in deaths(
        lambda scope: backend.create_scope(scope, 5 * MIB), fresh, calls, site.deaths
    ):
        died += 1
        with suppress(errors.QuotaScopeExists):  # it was complete already
            backend.create_scope(scope, 5 * MIB)
        if backend.skill(HasQuota):
            found = backend.describe_scope(scope)
            assert (found.limit_bytes, found.enforced) == (5 * MIB, site.kind.enforced)
            assert leftovers(backend) == []
    assert died * site.deaths.every > CALLS_MIN
    for scope in made:
        backend.delete_scope(scope)


def test_a_removal_killed_at_any_call_is_done_by_the_next(site: Site) -> None:
    backend, calls = site.backend, site.kind.deadly_calls

    def made() -> QuotaScope:
        scope = new()
        backend.create_scope(scope, MIB)
        (backend.mount.path / scope.directory / layout.HIDDEN / layout.JOBS).mkdir(parents=True)
        return scope

    died = 0
    for scope in deaths(backend.delete_scope, made, calls, site.deaths):
        died += 1
        with suppress(errors.QuotaScopeNotFound):  # it was gone already
            backend.delete_scope(scope)
        backend.create_scope(scope)
        assert backend.describe_scope(scope).limit_bytes is None
        backend.delete_scope(scope)
    assert died * site.deaths.every > CALLS_MIN


def test_a_snapshot_killed_at_any_call_is_made_by_the_next(
    snapshots: HasSnapshots, site: Site, vfolder: VFolderId
) -> None:
    (site.backend.vfolder_path(vfolder) / "file").write_bytes(b"kept")
    numbers = count()

    def create(name: str) -> None:
        snapshots.create_snapshot(vfolder, name)

    died = 0
    for name in deaths(create, lambda: f"n{next(numbers)}", site.kind.deadly_calls, site.deaths):
        died += 1
        with suppress(SnapshotExists):  # it was complete already
            snapshots.create_snapshot(vfolder, name)
        assert [one.name for one in snapshots.list_snapshots(vfolder)].count(name) == 1
        with snapshots.open_snapshot(vfolder, name) as kept:
            assert os.listdir(kept) == ["file"]
        snapshots.delete_snapshot(vfolder, name)
    assert died * site.deaths.every > CALLS_MIN
    for one in snapshots.list_snapshots(vfolder):  # the last one was not killed
        snapshots.delete_snapshot(vfolder, one.name)


def test_a_deletion_of_a_snapshot_killed_at_any_call_is_done_by_the_next(
    snapshots: HasSnapshots, site: Site, vfolder: VFolderId
) -> None:
    def made() -> str:
        name = f"n{uuid4()}"
        snapshots.create_snapshot(vfolder, name)
        return name

    died = 0
    for name in deaths(
        lambda name: snapshots.delete_snapshot(vfolder, name),
        made,
        site.kind.deadly_calls,
        site.deaths,
    ):
        died += 1
        with suppress(SnapshotNotFound):  # it was gone already
            snapshots.delete_snapshot(vfolder, name)
        assert snapshots.list_snapshots(vfolder) == []
        snapshots.create_snapshot(vfolder, name)
        snapshots.delete_snapshot(vfolder, name)
    assert died * site.deaths.every > CALLS_MIN
