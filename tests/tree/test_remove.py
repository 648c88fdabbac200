import os
from pathlib import Path

import pytest

from backends.tree import Effort, RemoveOptions, remove_tree
from core.control import Counter, Unattended
from tests.tree.trees import Opener, deep, hostile, immutable


@pytest.mark.parametrize("helpers", [1, 2])
def test_a_hostile_tree_goes_and_nothing_else(tmp_path: Path, anchor: Opener, helpers: int) -> None:
    root = hostile(tmp_path / "a")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (root / "link-out").symlink_to(outside)
    entries = sum(len(names) + len(files) for _, names, files in os.walk(root))
    control = Unattended()
    options = RemoveOptions(effort=Effort(helpers=helpers))
    removal = remove_tree(anchor(tmp_path), "a", control=control, options=options)
    assert removal.complete
    assert not root.exists()
    assert (outside / "kept").read_text() == "kept"
    assert removal.files + removal.directories == entries + 1
    assert control.counts[Counter.DELETED][0] == entries


@pytest.mark.parametrize("helpers", [1, 2])
def test_a_path_far_over_path_max_goes(tmp_path: Path, anchor: Opener, helpers: int) -> None:
    (tmp_path / "a").mkdir()
    deep(tmp_path / "a")
    options = RemoveOptions(effort=Effort(helpers=helpers))
    removal = remove_tree(anchor(tmp_path), "a", control=Unattended(), options=options)
    assert (removal.files, removal.directories, removal.left) == (1, 61, 0)


def test_what_is_gone_already_is_fine_and_a_file_is_a_tree(tmp_path: Path, anchor: Opener) -> None:
    assert remove_tree(anchor(tmp_path), "none", control=Unattended()).complete
    (tmp_path / "file").write_text("x")
    assert remove_tree(anchor(tmp_path), "file", control=Unattended()).files == 1
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_removed_and_not_what_it_names(tmp_path: Path, anchor: Opener) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("x")
    (tmp_path / "link").symlink_to("kept")
    remove_tree(anchor(tmp_path), "link", control=Unattended())
    assert (tmp_path / "kept/file").exists()
    assert not (tmp_path / "link").is_symlink()


def test_the_root_may_stay(tmp_path: Path, anchor: Opener) -> None:
    hostile(tmp_path / "a")
    remove_tree(anchor(tmp_path), "a", control=Unattended(), options=RemoveOptions(keep_root=True))
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes entries immutable")
def test_immutable_entries_are_made_mutable(tmp_path: Path, anchor: Opener) -> None:
    (tmp_path / "a/sub").mkdir(parents=True)
    (tmp_path / "a/sub/file").write_text("x")
    immutable(tmp_path / "a/sub/file", on=True)
    immutable(tmp_path / "a/sub", on=True)
    assert remove_tree(anchor(tmp_path), "a", control=Unattended()).complete
    assert not (tmp_path / "a").exists()
