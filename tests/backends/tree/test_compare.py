"""Comparison of two trees: what it holds in memory."""

import shutil
import tracemalloc
from pathlib import Path

from backends.tree import Aspect, CompareOptions, Effort, compare_trees
from contract.trees import Opener
from core.jobs import Counter, Unattended

#: One helper is a thread of this process, so its memory is traced.
ONE = CompareOptions(effort=Effort(helpers=1))
ENTRIES = 30_000
#: Two lists of all names take several times as much.
PEAK_BYTES_MAX = 2 * 1024 * 1024


def test_memory_does_not_grow_with_the_entries_of_a_directory(
    tmp_path: Path, anchor: Opener
) -> None:
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        for number in range(ENTRIES):
            (tmp_path / side / f"a-name-of-some-length-{number:07d}").touch()
        shutil.copystat(tmp_path / "a", tmp_path / side)
    skip = frozenset({Aspect.TIME})
    options = CompareOptions(effort=ONE.effort, digest=None, skip=skip)
    a, b = anchor(tmp_path / "a"), anchor(tmp_path / "b")
    control = Unattended()
    tracemalloc.start()
    try:
        differences = list(compare_trees(a, b, control=control, options=options))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert differences == []
    assert control.counts[Counter.VERIFIED][0] == ENTRIES
    assert peak < PEAK_BYTES_MAX


def test_what_is_on_one_side_only_is_found_among_many_slices(
    tmp_path: Path, anchor: Opener
) -> None:
    """Equal numbers of entries do not hide a name that each side lacks."""
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        for number in range(5_000):
            (tmp_path / side / f"{number}").touch()
    (tmp_path / "a" / "left").touch()
    (tmp_path / "b" / "right").touch()
    options = CompareOptions(effort=ONE.effort, skip=frozenset({Aspect.TIME}))
    found = compare_trees(
        anchor(tmp_path / "a"), anchor(tmp_path / "b"), control=Unattended(), options=options
    )
    assert {(one.path, one.aspect) for one in found} == {
        ("left", Aspect.MISSING),
        ("right", Aspect.EXTRA),
    }
