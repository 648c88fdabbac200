"""What a tree inherits from its target directory, and mounts inside a tree."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.tree import (
    Aspect,
    CompareOptions,
    CopyOptions,
    Loss,
    compare_trees,
    copy_tree,
    measure_tree,
    remove_tree,
)
from contract.trees import ACL, Opener, hostile
from core.jobs import Unattended

DEFAULT_ACL = "system.posix_acl_default"
root_only = pytest.mark.part("root")


@pytest.mark.parametrize("root_attributes", [True, False])
def test_an_inherited_acl_does_not_reach_the_copy(
    tmp_path: Path, anchor: Opener, *, root_attributes: bool
) -> None:
    source, target = hostile(tmp_path / "a"), tmp_path / "b"
    target.mkdir()
    os.setxattr(target, DEFAULT_ACL, ACL)
    options = CopyOptions(root_attributes=root_attributes)
    copy_tree(anchor(source), anchor(target), control=Unattended(), options=options)
    found = list(compare_trees(anchor(source), anchor(target), control=Unattended()))
    if root_attributes:
        assert found == []
    else:
        assert {difference.path for difference in found} <= {""}
        assert os.getxattr(target, DEFAULT_ACL) == ACL


def test_a_set_group_id_target_does_not_change_groups(tmp_path: Path, anchor: Opener) -> None:
    source, target = hostile(tmp_path / "a"), tmp_path / "b"
    target.mkdir()
    os.chown(target, -1, 4242 if os.geteuid() == 0 else os.getegid())
    target.chmod(0o2770)
    options = CopyOptions(root_attributes=False)
    copy_tree(anchor(source), anchor(target), control=Unattended(), options=options)
    found = compare_trees(
        anchor(source),
        anchor(target),
        control=Unattended(),
        options=CompareOptions(skip=frozenset({Aspect.TIME})),
    )
    assert {difference.path for difference in found} <= {""}
    assert stat.S_IMODE(target.stat().st_mode) == 0o2770


@pytest.fixture
def mounted_inside(tmp_path: Path) -> Iterator[Path]:
    tree = tmp_path / "a"
    (tree / "below/mount").mkdir(parents=True)
    (tree / "below/file").write_text("x")
    subprocess.run(["mount", "-t", "tmpfs", "none", tree / "below/mount"], check=True)
    (tree / "below/mount/other").write_text("on another file system")
    yield tree
    subprocess.run(["umount", "-l", tree / "below/mount"], check=True)


@root_only
def test_a_mount_inside_is_entered_only_with_cross_mounts(
    tmp_path: Path, mounted_inside: Path, anchor: Opener
) -> None:
    usage = measure_tree(anchor(mounted_inside), control=Unattended())
    assert (usage.files, usage.mounts) == (1, 1)
    receipt = copy_tree(anchor(mounted_inside), anchor(tmp_path / "b"), control=Unattended())
    assert receipt.losses == {Loss.MOUNT: 1}
    assert not (tmp_path / "b/below/mount").exists()
    options = CopyOptions(cross_mounts=True)
    copy_tree(anchor(mounted_inside), anchor(tmp_path / "c"), control=Unattended(), options=options)
    assert (tmp_path / "c/below/mount/other").read_text() == "on another file system"


@root_only
def test_a_mount_inside_survives_the_deletion_around_it(
    tmp_path: Path, mounted_inside: Path, anchor: Opener
) -> None:
    removal = remove_tree(anchor(tmp_path), mounted_inside.name, control=Unattended())
    assert not removal.complete
    assert (mounted_inside / "below/mount/other").exists()
    assert not (mounted_inside / "below/file").exists()
