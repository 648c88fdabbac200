"""Finished files of a copy move into another target; the next copy finds them complete."""

import os
import random
from pathlib import Path

import pytest

from backends.tree import CopyOptions, TreeManifest, compare_trees, copy_tree, salvage
from contract.trees import Opener, hostile
from core.jobs import Cancelled, Unattended

#: Enough directories for several parts; the first parts are small.
DIRECTORIES = 40


def tree(root: Path) -> Path:
    dice = random.Random(4)
    hostile(root)
    for number in range(DIRECTORIES):
        (root / f"more{number}").mkdir()
        for name in range(20):
            (root / f"more{number}/{name}").write_bytes(dice.randbytes(dice.randrange(3000)))
    os.link(root / "more0/1", root / "more39/linked")
    return root


class Stopping(Unattended):
    """Stops a copy once this number of parts is done, or any work after this number of checks."""

    def __init__(self, manifest: TreeManifest, parts: int, checks: int = 10**9) -> None:
        super().__init__()
        self._manifest = manifest
        self._parts = parts
        self._checks = checks

    def check(self) -> None:
        self._checks -= 1
        kinds = [record[0] for _, record in self._manifest.records()]
        if kinds.count("done") >= self._parts or self._checks < 0:
            raise Cancelled


def inodes(root: Path) -> set[int]:
    found = (
        os.lstat(os.path.join(d, name)).st_ino for d, _, files in os.walk(root) for name in files
    )
    return set(found)


@pytest.mark.parametrize("parts", [1, 3, 10**9])
def test_what_is_done_is_moved_and_the_rest_copied(
    tmp_path: Path, anchor: Opener, parts: int
) -> None:
    source, old, new = tree(tmp_path / "a"), tmp_path / "old", tmp_path / "new"
    new.mkdir()
    first = TreeManifest.open(anchor(tmp_path), "first")
    options = CopyOptions(checkpoint_seconds=0)
    try:
        control = Stopping(first, parts)
        copy_tree(anchor(source), anchor(old), control=control, manifest=first, options=options)
    except Cancelled:
        assert parts < 10**9
    done = inodes(old)
    for checks in (1, 10**9):  # stopped, then continued
        try:
            control = Stopping(first, 10**9, checks)
            salvage(anchor(old), anchor(new), control=control, manifest=first)
        except Cancelled:
            assert checks == 1
    moved = inodes(new)
    assert moved
    assert moved <= done
    second = TreeManifest.open(anchor(tmp_path), "second")
    receipt = copy_tree(anchor(source), anchor(new), control=Unattended(), manifest=second)
    for manifest in (first, second):
        manifest.close()
    assert receipt.complete
    assert receipt.reused
    assert moved <= inodes(new), "none of them was copied again"
    assert list(compare_trees(anchor(source), anchor(new), control=Unattended())) == []
