import os
import socket
from pathlib import Path

import pytest

from backends.tree import Effort, RemoveOptions, Throttle, remove_tree
from backends.tree.fast import Loops
from backends.tree.files import Anchor
from backends.tree.processes import HelperChannel
from backends.tree.remove.work import RemoveWork
from contract.trees import Opener, deep, hostile, immutable
from core.jobs import Cancelled, Counter, Unattended

LOOPS = [Loops(), Loops(native=False)]
MANY_A_SECOND = 1_000_000
#: A limited deletion is ended after so many entries: it says enough then.
STOP_ENTRIES = 60


@pytest.mark.parametrize("helpers", [1, 2])
def test_a_hostile_tree_is_deleted_and_nothing_else(
    tmp_path: Path, anchor: Opener, helpers: int
) -> None:
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
def test_a_path_far_over_path_max_is_deleted(tmp_path: Path, anchor: Opener, helpers: int) -> None:
    (tmp_path / "a").mkdir()
    deep(tmp_path / "a")
    options = RemoveOptions(effort=Effort(helpers=helpers))
    removal = remove_tree(anchor(tmp_path), "a", control=Unattended(), options=options)
    assert (removal.files, removal.directories, removal.remaining) == (1, 61, 0)


def uneven(root: Path) -> int:
    """Make a tree deeper than one C call descends, with a directory larger than it reads there.

    Returns the number of entries.
    """
    place, entries = root, 0
    for level in range(40):
        place /= "below"
        (place / "empty").mkdir(parents=True)
        (place / f"file{level}").write_text("x")
        entries += 3
    large = root / "beside/large"
    large.mkdir(parents=True)
    for number in range(1500):
        (large / f"name-{number:05d}").touch()
    return entries + 2 + 1500


@pytest.mark.parametrize("loops", LOOPS, ids=["c", "python"])
@pytest.mark.parametrize("helpers", [1, 2])
def test_deep_and_large_directories_below_are_deleted(
    tmp_path: Path, anchor: Opener, helpers: int, loops: Loops
) -> None:
    entries = uneven(tmp_path / "a")
    control = Unattended()
    options = RemoveOptions(effort=Effort(helpers=helpers, loops=loops), keep_root=True)
    removal = remove_tree(anchor(tmp_path), "a", control=control, options=options)
    assert removal.complete
    assert list((tmp_path / "a").iterdir()) == []
    assert removal.files + removal.directories == entries
    assert control.counts[Counter.DELETED][0] == entries


def test_a_limit_does_not_change_what_is_deleted(tmp_path: Path, anchor: Opener) -> None:
    entries = uneven(tmp_path / "a")
    throttle, control = Throttle(operations_per_second=MANY_A_SECOND), Unattended()
    options = RemoveOptions(effort=Effort(throttle=throttle))
    assert remove_tree(anchor(tmp_path), "a", control=control, options=options).complete
    throttle.close()
    assert not (tmp_path / "a").exists()
    assert control.counts[Counter.DELETED][0] == entries


class Counted(Unattended):
    """Ends the deletion after its first reports, and notes the largest of them."""

    largest = 0

    def count(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        super().count(counter, items, size_bytes)
        self.largest = max(self.largest, items)
        if self.counts[Counter.DELETED][0] >= STOP_ENTRIES:
            raise Cancelled("enough")


@pytest.mark.parametrize("helpers", [1, 2])
def test_a_low_limit_lets_few_entries_go_at_once(
    tmp_path: Path, anchor: Opener, helpers: int
) -> None:
    """Not all of a large directory, after which a pause would make it even."""
    uneven(tmp_path / "a")
    throttle, control = Throttle(operations_per_second=100), Counted()
    options = RemoveOptions(effort=Effort(helpers=helpers, throttle=throttle))
    with pytest.raises(Cancelled):
        remove_tree(anchor(tmp_path), "a", control=control, options=options)
    throttle.close()
    assert 0 < control.largest <= 100


def test_a_limit_that_is_set_within_a_large_directory_makes_its_pieces_smaller(
    tmp_path: Path, anchor: Opener
) -> None:
    """One call in C may unlink some 15,000 entries with names of this length, or a hundred."""
    entries, throttle = 15_500, Throttle()
    for number in range(entries):
        (tmp_path / f"{number:0250}").touch()
    one, other = socket.socketpair()
    fd = os.open(tmp_path, os.O_RDONLY)
    work = RemoveWork(Anchor(anchor(tmp_path)), Loops())
    work._stretch = work._done = 0
    pieces = work._large_pieces(fd, HelperChannel(one, throttle))
    first = next(pieces)[0]
    throttle.set(operations_per_second=MANY_A_SECOND)
    second = next(pieces)[0]
    assert 0 < second < 1000 < first
    assert first + second + sum(piece[0] for piece in pieces) == entries
    os.close(fd)
    throttle.close()
    one.close()
    other.close()


@pytest.mark.parametrize("loops", LOOPS, ids=["c", "python"])
@pytest.mark.parametrize("below", [0, 4, 100])
def test_a_call_descends_as_far_as_requested_and_names_the_rest(
    tmp_path: Path, loops: Loops, below: int
) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / str(number)).touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    ((files, dropped, left, others),) = loops.unlink(fd, bytearray(1), many=True, below=below)
    os.close(fd)
    there = sorted(path.name for path in tmp_path.iterdir())
    assert ([name for name, _ in sorted(left)], others, 3 - dropped) == (there, [], len(there))
    assert files == 3 * dropped
    assert dropped == ({0: 0, 4: 2, 100: 3}[below] if loops.in_c else 0)


def test_a_missing_entry_is_no_error_and_a_file_is_a_tree(tmp_path: Path, anchor: Opener) -> None:
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


@pytest.mark.part("root")
def test_immutable_entries_are_made_mutable(tmp_path: Path, anchor: Opener) -> None:
    (tmp_path / "a/sub").mkdir(parents=True)
    (tmp_path / "a/sub/file").write_text("x")
    immutable(tmp_path / "a/sub/file", on=True)
    immutable(tmp_path / "a/sub", on=True)
    assert remove_tree(anchor(tmp_path), "a", control=Unattended()).complete
    assert not (tmp_path / "a").exists()
