"""Copies between file systems that have times of different ranges."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.tree import (
    Aspect,
    CopyOptions,
    Loss,
    OnConflict,
    Selection,
    TreeManifest,
    compare_trees,
    copy_tree,
)
from contract.trees import Opener
from core.jobs import Unattended
from tests.support import loops

pytestmark = pytest.mark.part("root")
#: Beyond the range of ext4 (1901 to 2446), and within it.
BEYOND = (-(2**63), -(10**15), -(2**31) - 1, 2**35, 10**15, 2**63 - 1)
WITHIN = (-(2**31), -1, 0, 1, 1_700_000_000, 2**31, 2**33)


@pytest.fixture
def places(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A source on a tmpfs, which has any time, and a target on ext4."""
    source = tmp_path / "source"
    source.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source], check=True)
    try:
        for number, seconds in enumerate((*BEYOND, *WITHIN)):
            (source / f"d{number}").mkdir()
            (source / f"d{number}/link").symlink_to("x")
            (source / f"f{number}").write_bytes(random.Random(number).randbytes(number))
            for name in (f"d{number}/link", f"d{number}", f"f{number}"):
                times = (seconds * 10**9, seconds * 10**9)
                os.utime(source / name, ns=times, follow_symlinks=False)
        make = ["mkfs.ext4", "-q", "-F"]
        with loops.mounted(tmp_path / "disk", make, size_bytes=32 << 20) as top:
            yield source, top / "target"
    finally:
        subprocess.run(["umount", "-l", source], check=True)


def test_a_time_that_the_target_cannot_have_is_named(
    places: tuple[Path, Path], anchor: Opener, tmp_path: Path
) -> None:
    """The nearest one is no difference, is as new, and is complete for a later run."""
    source, target = (anchor(place) for place in places)
    manifest = TreeManifest.open(anchor(tmp_path), "m")
    receipt = copy_tree(source, target, control=Unattended(), manifest=manifest)
    manifest.close()
    assert receipt.complete
    assert receipt.losses == {Loss.TIMES: 3 * len(BEYOND)}
    assert list(compare_trees(source, target, control=Unattended())) == []
    for number, seconds in enumerate(WITHIN, len(BEYOND)):
        assert (places[1] / f"f{number}").stat().st_mtime_ns == seconds * 10**9
    for rule in (OnConflict.NEWER, OnConflict.REPLACE):
        selection = Selection(against=target, on_conflict=rule)
        again = tmp_path / f"again-{rule}"
        options = CopyOptions(selection=selection)
        found = copy_tree(source, anchor(again), control=Unattended(), options=options)
        assert found.files == found.links == 0, rule


def test_another_time_is_a_difference(places: tuple[Path, Path], anchor: Opener) -> None:
    source, target = (anchor(place) for place in places)
    copy_tree(source, target, control=Unattended())
    os.utime(places[1] / "f0", (0x7FFFFFFF, 0x7FFFFFFF))
    os.utime(places[1] / f"f{len(BEYOND) - 1}", (1, 1))
    found = list(compare_trees(source, target, control=Unattended()))
    assert sorted(one.path for one in found) == ["f0", f"f{len(BEYOND) - 1}"]


def test_an_early_time_is_not_any_other_early_time(tmp_path: Path, anchor: Opener) -> None:
    """Archives that are made again and again give all their files one of the first seconds."""
    for name, seconds in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
        os.utime(tmp_path / name / "f", (seconds, seconds))
        os.utime(tmp_path / name, (5, 5))
    first, second = anchor(tmp_path / "a"), anchor(tmp_path / "b")
    found = compare_trees(first, second, control=Unattended())
    assert Aspect.TIME in [one.aspect for one in found]
    selection = Selection(against=second, on_conflict=OnConflict.REPLACE)
    options = CopyOptions(selection=selection)
    receipt = copy_tree(first, anchor(tmp_path / "c"), control=Unattended(), options=options)
    assert receipt.files == 1
