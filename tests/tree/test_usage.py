import os
import subprocess
from pathlib import Path

from backends.tree import UsageOptions, measure_tree
from core.control import Unattended
from tests.tree.trees import Opener, deep, hostile


def du(path: Path, *options: str) -> int:
    out = subprocess.run(["du", "-s", *options, path], capture_output=True, check=True)
    return int(out.stdout.split()[0])


def test_the_sums_are_those_of_du(tmp_path: Path, anchor: Opener) -> None:
    root = hostile(tmp_path / "a")
    deep(root / "plain")
    usage = measure_tree(anchor(root), control=Unattended())
    own = os.stat(root)
    assert usage.allocated_bytes == du(root, "-B1") - own.st_blocks * 512
    assert usage.entries == du(root, "--inodes") - 1
    assert (usage.files, usage.links, usage.others) == (15, 5, 2)
    assert usage.complete


def test_the_histogram_counts_files_and_the_top_names_directories(
    tmp_path: Path, anchor: Opener
) -> None:
    for name, sizes in {"big": [5000, 6000], "small": [0, 1], "none": []}.items():
        (tmp_path / name).mkdir()
        for number, size in enumerate(sizes):
            (tmp_path / name / str(number)).write_bytes(b"x" * size)
    options = UsageOptions(histogram=True, top=2)
    usage = measure_tree(anchor(tmp_path), control=Unattended(), options=options)
    assert usage.histogram == {0: 1, 1: 1, 13: 2}
    assert usage.top == [("big", 11000, 2), ("small", 1, 2)]


def test_past_the_deadline_the_answer_says_it_is_partial(tmp_path: Path, anchor: Opener) -> None:
    usage = measure_tree(anchor(hostile(tmp_path / "a")), control=Unattended(), deadline=0.0)
    assert not usage.complete
