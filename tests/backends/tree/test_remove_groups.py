"""Deletions by allocation groups on a real XFS; xfs_db confirms the group of each inode."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.tree import Effort, RemoveOptions, Throttle, remove_tree
from backends.tree.allocation_groups import ONE_GROUP, Groups, xfs_groups
from backends.tree.fast import Loops
from backends.tree.files import Anchor
from backends.tree.processes import HelperChannel
from backends.tree.remove.remove import Shards
from backends.tree.remove.work import RemoveWork
from contract.trees import Opener, hostile
from core.jobs import Cancelled, Counter, Unattended
from tests.backends.tree.test_helper_thread import Stopping
from tests.backends.tree.test_remove import LOOPS, uneven
from tests.support.loops import mounted

SIZE_BYTES = 512 * 1024**2
#: Larger than a power of two, so that the bits are those of the size rounded up.
ODD_SIZE_BYTES = 900 * 1024**2
#: Sparse; a group must have space for the log when there are more groups than shards.
LARGE_SIZE_BYTES = 8 * 1024**3
MANY_A_SECOND = 1_000_000


def on_xfs(test):  # noqa: ANN001, ANN201 - a decorator of tests
    """Mark a test that mounts an XFS."""
    return pytest.mark.part("root")(pytest.mark.part("xfs")(test))


@pytest.fixture(scope="module")
def xfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("xfs")
    with mounted(directory, ["mkfs.xfs", "-q"], size_bytes=SIZE_BYTES) as top:
        yield top


def spread(root: Path) -> int:
    """Make directories in all groups, some with many below; return the number of entries."""
    entries = 0
    for number in range(40):
        place = root / f"d{number}/e/f{number}"
        place.mkdir(parents=True)
        for name in range(9):
            (place.parent / f"file{name}").touch()
            (place / f"file{name}").touch()
        entries += 3 + 18
    for number in range(1500):  # more directories of other shards than a helper keeps
        (root / f"wide/{number}").mkdir(parents=True)
    return entries + 1501


@on_xfs
@pytest.mark.parametrize("loops", LOOPS, ids=["c", "python"])
@pytest.mark.parametrize("tree", [spread, uneven, hostile])
def test_a_tree_in_all_groups_is_deleted(xfs: Path, anchor: Opener, tree, loops: Loops) -> None:  # noqa: ANN001 - a maker of trees
    root = xfs / "a"
    tree(root)
    entries = sum(len(names) + len(files) for _, names, files in os.walk(root))
    control = Unattended()
    options = RemoveOptions(effort=Effort(helpers=3, loops=loops))
    removal = remove_tree(anchor(xfs), "a", control=control, options=options)
    assert removal.complete
    assert not root.exists()
    assert removal.files + removal.directories == entries + 1
    assert control.counts[Counter.DELETED][0] == entries


@on_xfs
def test_a_limit_does_not_change_what_is_deleted(xfs: Path, anchor: Opener) -> None:
    entries = spread(xfs / "a")
    throttle, control = Throttle(operations_per_second=MANY_A_SECOND), Unattended()
    options = RemoveOptions(effort=Effort(helpers=2, throttle=throttle))
    assert remove_tree(anchor(xfs), "a", control=control, options=options).complete
    throttle.close()
    assert not (xfs / "a").exists()
    assert control.counts[Counter.DELETED][0] == entries


@on_xfs
def test_a_stopped_deletion_continues_later(xfs: Path, anchor: Opener) -> None:
    spread(xfs / "a")
    options = RemoveOptions(effort=Effort(helpers=2))
    stops = 0
    for checks in range(1000):
        try:
            remove_tree(anchor(xfs), "a", control=Stopping(checks), options=options)
            break
        except Cancelled:
            stops += 1
    assert stops > 1
    assert not (xfs / "a").exists()


@on_xfs
def test_what_cannot_be_deleted_is_named_with_the_directories_above_it(
    xfs: Path, anchor: Opener
) -> None:
    spread(xfs / "a")
    kept = xfs / "a/d7/e/f7"
    subprocess.run(["mount", "--bind", kept, kept], check=True)
    options = RemoveOptions(effort=Effort(helpers=2))
    try:
        removal = remove_tree(anchor(xfs), "a", control=Unattended(), options=options)
    finally:
        subprocess.run(["umount", kept], check=True)
    assert {path for path, _ in removal.remaining_named} == {"d7", "d7/e", "d7/e/f7"}
    assert {str(path.relative_to(xfs)) for path in (xfs / "a").glob("*")} == {"a/d7"}
    assert len(list(kept.iterdir())) == 9
    assert remove_tree(anchor(xfs), "a", control=Unattended(), options=options).complete


@on_xfs
@pytest.mark.parametrize(
    ("make", "size_bytes"),
    [
        (["mkfs.xfs", "-q"], ODD_SIZE_BYTES),
        (["mkfs.xfs", "-q", "-d", "agcount=7", "-i", "size=2048"], ODD_SIZE_BYTES),
        (["mkfs.xfs", "-q", "-b", "size=1024", "-d", "agcount=20"], LARGE_SIZE_BYTES),
    ],
    ids=["default", "large inodes", "many groups"],
)
def test_groups_are_those_of_the_file_system(
    tmp_path: Path, make: list[str], size_bytes: int
) -> None:
    with mounted(tmp_path, make, size_bytes=size_bytes) as top:
        for number in range(50):
            (top / str(number)).mkdir()
        fd = os.open(top, os.O_PATH)
        groups = xfs_groups(fd)
        os.close(fd)
        inodes = [path.stat().st_ino for path in top.iterdir()]
        subprocess.run(["sync", "-f", top], check=True)
        commands = [part for inode in inodes for part in ("-c", f"convert inode {inode} agno")]
        image = tmp_path / "image"
        output = subprocess.run(
            ["xfs_db", "-r", *commands, image], capture_output=True, text=True, check=True
        ).stdout
        superblock = subprocess.run(
            ["xfs_db", "-r", "-c", "sb 0", "-c", "p agcount", image],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    numbers = [int(line.split("(")[1].split(")")[0]) for line in output.splitlines()]
    assert [inode >> groups.bits for inode in inodes] == numbers
    assert len(set(numbers)) > 1
    assert superblock.split() == ["agcount", "=", str(groups.count)]
    assert {groups.shard(inode) for inode in inodes} == {one % groups.shards for one in numbers}


def test_other_file_systems_have_one_group(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    assert xfs_groups(fd) == ONE_GROUP
    os.close(fd)
    assert {ONE_GROUP.shard(inode) for inode in (1, 2**40, 2**62)} == {0}


def test_a_call_does_not_descend_into_another_group(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    apart = Groups(count=2**20, bits=0)  # every inode has its own
    ((files, dropped, left, others),) = Loops().unlink(
        fd, bytearray(1), many=True, below=100, groups=apart
    )
    os.close(fd)
    assert (files, dropped, others) == (1, 0, [])
    assert sorted(left) == [(name, (tmp_path / name).stat().st_ino) for name in "abc"]


def test_one_helper_has_a_shard_until_it_is_released() -> None:
    shards = Shards(3)
    for number in range(4):
        shards.push(f"a{number}", 1)
    shards.push("b", 2)
    assert (shards.fullest_free(), shards.take(1, 3)) == (1, ["a3", "a2", "a1"])
    assert (shards.fullest_free(), shards.has_work_for(2)) == (2, True)
    assert shards.take(2, 3) == ["b"]
    assert (shards.fullest_free(), shards.has_work_for(2), shards.has_work_for(3)) == (
        None,
        True,
        False,
    )
    shards.release(1)
    assert (shards.fullest_free(), len(shards)) == (1, 1)
    shards.close()


def test_a_single_shard_is_free_for_all_helpers() -> None:
    shards = Shards(1)
    for number in range(9):
        shards.push(str(number), 0)
    assert shards.take(0, 2) == ["8", "7"]
    assert shards.take(0, 2) == ["6", "5"]
    assert (shards.has_work_for(2), shards.has_work_for(3)) == (True, False)
    shards.close()


@pytest.mark.parametrize("loops", LOOPS, ids=["c", "python"])
@pytest.mark.part("root")
def test_a_directory_without_a_listed_type_is_handled_as_one(
    untyped: Path, anchor: Opener, loops: Loops
) -> None:
    for name in ("mixed/below", "leaf"):
        (untyped / name).mkdir(parents=True)
        (untyped / name / "file").touch()
    (untyped / "mixed/file").touch()
    apart = Groups(count=2**20, bits=0)
    work = RemoveWork(Anchor(anchor(untyped)), loops, apart)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        other = apart.shard((untyped / "mixed/below").stat().st_ino)
        shard = (other + 1) % apart.shards
        reply = work(("clear", ["mixed", "leaf"], 100, shard), HelperChannel(theirs, None))
    assert reply == (2, [("mixed/below", other)], ["mixed"], 1, [], [], shard)
    assert not (untyped / "leaf").exists()
    assert [path.name for path in (untyped / "mixed").iterdir()] == ["below"]
