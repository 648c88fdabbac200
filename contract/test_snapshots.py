"""Snapshots keep the state of a vfolder, whatever happens to it afterwards."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import pytest

from backends.base import HasSnapshots, MountedBackend, capabilities
from backends.fs import descriptors, layout
from backends.retention import SnapshotExists, SnapshotNotFound
from backends.tree import CompareOptions, compare_trees, copy_tree, remove_tree
from contract.site import Site
from contract.trees import plain
from contract.waiting import eventually
from core import errors
from core.jobs import Unattended
from core.names import VFolderId

MANY = 8


def names(snapshots: HasSnapshots, vfolder: VFolderId) -> list[str]:
    return [one.name for one in snapshots.list_snapshots(vfolder)]


def test_the_capability_is_listed(snapshots: HasSnapshots, backend: MountedBackend) -> None:
    eventually(lambda: "snapshot" in capabilities(backend))


def test_a_snapshot_keeps_the_old_state(
    snapshots: HasSnapshots, site: Site, vfolder: VFolderId
) -> None:
    top = site.backend.vfolder_path(vfolder)
    (top / "sub").mkdir()
    (top / "sub/kept").write_bytes(b"before")
    (top / "link").symlink_to("sub/kept")
    made = snapshots.create_snapshot(vfolder, "first")
    assert made.name == "first"
    (top / "sub/kept").write_bytes(b"after, and longer")
    (top / "link").unlink()
    (top / "new").write_bytes(b"new")
    with snapshots.open_snapshot(vfolder, "first") as kept:
        assert sorted(os.listdir(kept)) == ["link", "sub"]
        fd = os.open("sub/kept", os.O_RDONLY, dir_fd=kept)
        assert os.read(fd, 100) == b"before"
        os.close(fd)
        with pytest.raises(OSError, match=r"Read-only|not permitted"):
            os.mkdir("more", dir_fd=kept)
    assert names(snapshots, vfolder) == ["first"]
    snapshots.delete_snapshot(vfolder, "first")


def test_a_vfolder_comes_back_from_its_snapshot(
    snapshots: HasSnapshots, site: Site, vfolder: VFolderId
) -> None:
    top = site.backend.vfolder_path(vfolder)
    plain(top)
    snapshots.create_snapshot(vfolder, "whole")
    back = top.parent / "back"
    back.mkdir()
    options = CompareOptions(skip=site.kind.cannot_keep)
    with (
        snapshots.open_snapshot(vfolder, "whole") as kept,
        site.backend.open_vfolder(vfolder) as now,
        descriptors.opened("back", (parent := os.open(top.parent, os.O_RDONLY))) as target,
    ):
        os.close(parent)
        copy_tree(kept, target, control=Unattended())
        assert list(compare_trees(kept, target, control=Unattended(), options=options)) == []
        found = list(compare_trees(now, target, control=Unattended(), options=options))
        shown = (site.kind.listed_snapshots,)
        assert [one for one in found if PurePosixPath(one.path).parts[:1] != shown] == []
    snapshots.delete_snapshot(vfolder, "whole")


def test_snapshots_are_made_listed_and_deleted_each_once(
    snapshots: HasSnapshots, vfolder: VFolderId
) -> None:
    assert snapshots.list_snapshots(vfolder) == []
    for name in ("b", "a", "c:2026-11-21T10:00:00+00:00"):
        snapshots.create_snapshot(vfolder, name)
    with pytest.raises(SnapshotExists):
        snapshots.create_snapshot(vfolder, "a")
    found = snapshots.list_snapshots(vfolder)
    assert [one.name for one in found] == ["b", "a", "c:2026-11-21T10:00:00+00:00"]
    for one in found:
        assert one.created_at is not None
        assert abs(one.created_at - datetime.now(UTC)) < timedelta(hours=1)
    for one in found:
        snapshots.delete_snapshot(vfolder, one.name)
        with pytest.raises(SnapshotNotFound):
            snapshots.delete_snapshot(vfolder, one.name)
    with (
        pytest.raises(SnapshotNotFound),
        snapshots.open_snapshot(vfolder, "a"),
    ):
        pass
    assert snapshots.list_snapshots(vfolder) == []


def test_one_of_many_makes_it_and_one_deletes_it(
    snapshots: HasSnapshots, vfolder: VFolderId
) -> None:
    def attempt(call: "object") -> bool:
        try:
            call(vfolder, "once")  # type: ignore[operator]
        except (SnapshotExists, SnapshotNotFound):
            return False
        return True

    for call in (snapshots.create_snapshot, snapshots.delete_snapshot):
        with ThreadPoolExecutor(MANY) as pool:
            assert sum(pool.map(attempt, [call] * MANY)) == 1


def test_names_that_are_refused(snapshots: HasSnapshots, vfolder: VFolderId) -> None:
    for name in ("", ".", "..", "a/b", "_x_1", ".hidden", "a b", "a@", "é", "x" * 129):
        for call in (snapshots.create_snapshot, snapshots.delete_snapshot):
            with pytest.raises(errors.InvalidName):
                call(vfolder, name)


def test_an_absent_vfolder_has_none(snapshots: HasSnapshots, vfolder: VFolderId) -> None:
    absent = VFolderId.parse(str(vfolder)[:-1] + ("0" if str(vfolder)[-1] != "0" else "1"))
    with pytest.raises(errors.VFolderNotFound):
        snapshots.create_snapshot(absent, "x")
    assert snapshots.list_snapshots(absent) == []


def test_a_vfolder_with_snapshots_can_be_deleted(
    snapshots: HasSnapshots, backend: MountedBackend, vfolder: VFolderId
) -> None:
    """The steps of the verb `delete`: one rename into the trash, then the purge."""
    top = backend.vfolder_path(vfolder)
    (top / "a/b").mkdir(parents=True)
    (top / "a/b/file").write_bytes(b"x" * 5000)
    for name in ("one", "two"):
        snapshots.create_snapshot(vfolder, name)
    trash = layout.trash(vfolder.scope, "job")
    with (
        backend.root() as root,
        descriptors.made(trash.parent, root, descriptors.HIDDEN_MODE) as trash_directory,
        descriptors.opened(vfolder.directory.parent, root) as parent,
    ):
        descriptors.rename_new(vfolder.directory.name, parent, trash.name, trash_directory)
        backend.before_purge(trash_directory, trash.name, vfolder)
        assert remove_tree(trash_directory, trash.name, control=Unattended()).complete
    assert not (backend.mount.path / trash).exists()
    assert snapshots.list_snapshots(vfolder) == []
