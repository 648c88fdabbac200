import os
import subprocess
from pathlib import Path

import pytest

from backends.tree import Effort, UsageOptions, measure_tree
from backends.tree.fast import Loops
from contract.trees import Opener, deep, hostile
from core.jobs import Unattended


def du(path: Path, *options: str) -> int:
    out = subprocess.run(["du", "-s", *options, path], capture_output=True, check=True)
    return int(out.stdout.split()[0])


def test_the_sums_are_those_of_du(tmp_path: Path, anchor: Opener) -> None:
    root = hostile(tmp_path / "a")
    deep(root / "plain")
    subprocess.run(["sync", "-f", root], check=True)  # blocks count once they are allocated
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


@pytest.mark.parametrize("native", [True, False])
def test_ages_are_counted_in_days(tmp_path: Path, anchor: Opener, *, native: bool) -> None:
    now, day = 1_700_000_000, 86_400
    ages = {"new": 0, "yet to come": -5, "yesterday": 1, "two": 2, "three": 3, "year": 365}
    for name, days in ages.items():
        (tmp_path / name).write_bytes(b"x" * 10)
        os.utime(tmp_path / name, (now, now - days * day - (0 if days <= 0 else 60)))
    os.utime(tmp_path / "new", (now, now - day + 1))
    os.link(tmp_path / "year", tmp_path / "again")
    options = UsageOptions(ages_at=now, effort=Effort(loops=Loops(native=native)))
    usage = measure_tree(anchor(tmp_path), control=Unattended(), options=options)
    assert usage.ages == {0: (2, 20), 1: (1, 10), 2: (2, 20), 9: (1, 10)}
    assert measure_tree(anchor(tmp_path), control=Unattended()).ages == {}


def test_past_the_deadline_the_answer_says_it_is_partial(tmp_path: Path, anchor: Opener) -> None:
    usage = measure_tree(anchor(hostile(tmp_path / "a")), control=Unattended(), deadline=0.0)
    assert not usage.complete
