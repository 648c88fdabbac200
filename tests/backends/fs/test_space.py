"""What a file holds: one rule, whichever part of the product counts."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.fs import freed_bytes, held_bytes
from backends.quota import quick_usage
from backends.tree import Effort, UsageOptions, measure_tree
from backends.tree.fast import Loops
from core.jobs import Unattended
from tests.support import brittlefs

MIB = 1 << 20
TIB = 1 << 40


def sparse(path: Path, length: int, *, data: int = MIB) -> None:
    """A file of a length with some data in its middle."""
    with path.open("wb") as file:
        file.seek(length // 2)
        file.write(os.urandom(data))
        file.truncate(length)
        os.fsync(file.fileno())


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A tree of files with holes and with several names, and its descriptor."""
    top = tmp_path / "tree"
    (top / "below").mkdir(parents=True)
    sparse(top / "disk", TIB)
    sparse(top / "empty", TIB, data=0)
    (top / "dense").write_bytes(os.urandom(3 * MIB + 5))
    (top / "nothing").touch()
    os.link(top / "dense", top / "below/dense")
    os.link(top / "disk", top / "below/disk")
    (top / "below/link").symlink_to("dense")
    descriptor = os.open(top, os.O_RDONLY)
    yield top, descriptor
    os.close(descriptor)


def by_job(*, native: bool) -> Callable[[int], tuple[int, int, int]]:
    def count(descriptor: int) -> tuple[int, int, int]:
        options = UsageOptions(effort=Effort(loops=Loops(native=native)))
        found = measure_tree(descriptor, control=Unattended(), options=options)
        return found.entries, found.size_bytes, found.allocated_bytes

    return count


def at_once(descriptor: int) -> tuple[int, int, int]:
    found = quick_usage.count(descriptor)
    assert found is not None
    own = os.fstat(descriptor).st_blocks * 512  # `du` counts the top, too
    return found.entries, found.size_bytes, found.allocated_bytes - own


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(by_job(native=True), id="job", marks=pytest.mark.part("native-code")),
        pytest.param(by_job(native=False), id="job in Python"),
        pytest.param(at_once, id="at once"),
    ],
)
def test_each_count_is_the_same(
    tree: tuple[Path, int], count: Callable[[int], tuple[int, int, int]]
) -> None:
    top, descriptor = tree
    entries, held, allocated = count(descriptor)
    assert entries == len(["disk", "empty", "dense", "nothing", "below", "below/link"])
    assert held == 4 * MIB + 5
    below = [path.lstat() for path in top.rglob("*")]
    blocks = {(status.st_ino): status.st_blocks for status in below}
    assert allocated == sum(blocks.values()) * 512


def test_the_rule_of_single_entries(tree: tuple[Path, int]) -> None:
    top, descriptor = tree
    found = {path.name: path.lstat() for path in top.iterdir()}
    assert {name: held_bytes(status, descriptor) for name, status in found.items()} == {
        "disk": MIB,
        "empty": 0,
        "dense": 3 * MIB + 5,
        "nothing": 0,
        "below": 0,
    }
    assert freed_bytes(found["dense"], descriptor) == 0, "it has another name"
    (top / "below/dense").unlink()
    assert freed_bytes((top / "dense").lstat(), descriptor) == 3 * MIB + 5


@pytest.mark.part("fuse")
def test_a_file_system_that_counts_no_blocks(tmp_path: Path) -> None:
    with brittlefs.mounted(tmp_path) as volume:
        (volume.path / "file").write_bytes(b"x" * 100)
        descriptor = os.open(volume.path, os.O_RDONLY)
        try:
            there = list((volume.path / "file").lstat())
            without = os.stat_result(there, {"st_blocks": 0})
            assert held_bytes(without, descriptor) == 100
        finally:
            os.close(descriptor)
