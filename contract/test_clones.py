"""Clones by the storage system: equal, complete when the call returns, and independent."""

import os
from pathlib import PurePosixPath
from uuid import uuid4

import pytest

from backends.base import HasFileClone, HasTreeClone, MountedBackend
from backends.fs import descriptors
from backends.tree import CompareOptions, compare_trees, remove_tree
from contract.site import Site
from contract.trees import plain
from core.errors import Unsupported
from core.jobs import Unattended
from core.names import VFolderId

#: Longer than what an array may keep in the inode itself.
LENGTH_BYTES = 1 << 20


def beside(vfolder: VFolderId) -> PurePosixPath:
    """Return a free path in the vfolder's scope."""
    return vfolder.directory.parent / f"clone-{uuid4().hex}"


def test_a_file_is_cloned_with_its_content(
    site: Site, backend: MountedBackend, vfolder: VFolderId
) -> None:
    files = site.skilled(HasFileClone)
    top, content = backend.vfolder_path(vfolder), os.urandom(LENGTH_BYTES)
    (top / "sub").mkdir()
    (top / "sub/source").write_bytes(content)
    os.sync()
    source, target = (vfolder.directory / name for name in ("sub/source", "target"))
    try:
        files.clone_file(source, target)
    except Unsupported as refusal:
        pytest.skip(refusal.detail)
    assert (top / "target").read_bytes() == content
    with (top / "target").open("r+b") as changed:
        changed.write(b"another")
    assert (top / "sub/source").read_bytes() == content


def test_a_tree_is_cloned_with_all_attributes(
    site: Site, backend: MountedBackend, vfolder: VFolderId
) -> None:
    trees = site.skilled(HasTreeClone)
    top = backend.vfolder_path(vfolder)
    plain(top)
    (top / "link").symlink_to("1/1")
    (top / "1").chmod(0o2750)
    os.sync()
    target = beside(vfolder)
    try:
        trees.clone_tree(PurePosixPath(vfolder.directory), target)
    except Unsupported as refusal:
        pytest.skip(refusal.detail)
    options = CompareOptions(skip=site.kind.cannot_keep, digest="xxh3")
    with (
        backend.root() as root,
        backend.open_vfolder(vfolder) as source,
        descriptors.opened(target, root) as made,
    ):
        found = list(compare_trees(source, made, control=Unattended(), options=options))
        shown = (site.kind.listed_snapshots,)
        assert [one for one in found if PurePosixPath(one.path).parts[:1] != shown] == []
        (backend.mount.path / target / "1/1").write_bytes(b"another")
        assert (top / "1/1").read_bytes() != b"another"
        with descriptors.opened(target.parent, root) as parent:
            assert remove_tree(parent, target.name, control=Unattended()).complete
    assert (top / "1/1").exists()
