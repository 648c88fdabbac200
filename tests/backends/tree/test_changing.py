"""Trees that change while the engine works: it touches nothing outside, and does not fail."""

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from backends.tree import (
    CopyOptions,
    Effort,
    Filter,
    Loss,
    RemoveOptions,
    Selection,
    compare_trees,
    copy_tree,
    measure_tree,
    remove_tree,
    walk,
)
from backends.tree.fast import Loops
from backends.tree.selection import SLICE_ENTRIES
from contract.trees import Opener
from core.jobs import Unattended
from tests.support.brittlefs import Rule, mounted
from tests.support.thoroughness import times

SECRET = b"outside, never to be seen inside"
ROUNDS = times(3, 6)
PLACES = 6


def change(root: Path, outside: Path, dice: random.Random) -> None:
    """Make one random change to a tree; a failure means that the entry changed meanwhile."""
    directory = root / f"d{dice.randrange(PLACES)}"
    place = directory / f"f{dice.randrange(30)}"
    other = root / f"d{dice.randrange(PLACES)}"
    kind = dice.randrange(8)
    if kind != 6 and (other.is_symlink() or directory.is_symlink() or place.is_symlink()):
        return  # this process must not write outside either
    if kind <= 1:
        directory.mkdir(exist_ok=True)
        place.write_bytes(dice.randbytes(dice.choice([0, 10, 4000, 300_000])))
    elif kind == 2:
        os.truncate(place, dice.randrange(200_000))
    elif kind == 3:
        place.rename(other / f"f{dice.randrange(30)}")
    elif kind == 4:
        place.unlink()
    elif kind == 5:
        directory.rename(root / "aside")
        directory.symlink_to(outside)
    elif kind == 6:
        if directory.is_symlink():
            directory.unlink()
        (root / "aside").rename(directory)
    else:
        place.symlink_to(outside / "secret")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    place = tmp_path / "outside"
    (place / "below").mkdir(parents=True)
    for name in ("secret", "f1", "f2", "below/f3"):
        (place / name).write_bytes(SECRET)
    return place


@pytest.fixture
def restless(tmp_path: Path, outside: Path) -> Iterator[Path]:
    """A tree that another process changes all the time."""
    root = tmp_path / "restless"
    root.mkdir()
    pid = os.fork()
    if pid == 0:
        dice = random.Random(7)
        while True:
            with suppress(OSError):
                change(root, outside, dice)
    yield root
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def snapshot(root: Path) -> list[tuple[str, int, int, bytes]]:
    entries = []
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        entries.append((str(path), status.st_mtime_ns, status.st_mode, content))
    return entries


def seen_inside(root: Path) -> list[str]:
    """Return the regular files of a copy that contain data from outside the original."""
    leaked = []
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory) / name
            if not path.is_symlink() and path.read_bytes() == SECRET:
                leaked.append(str(path))
    return leaked


@pytest.mark.parametrize("native", [True, False], ids=["c", "python"])
def test_nothing_outside_is_read_or_written(
    tmp_path: Path, restless: Path, outside: Path, anchor: Opener, *, native: bool
) -> None:
    before = snapshot(outside)
    effort = Effort(helpers=2, loops=Loops(native=native))
    for number in range(ROUNDS):
        target = tmp_path / f"target{number}"
        options = CopyOptions(effort=effort, durable=False)
        copy_tree(anchor(restless), anchor(target), control=Unattended(), options=options)
        assert seen_inside(target) == []
        usage = measure_tree(anchor(restless), control=Unattended())
        assert usage.size_bytes >= 0
        names = {entry.path for entry in walk(anchor(restless), control=Unattended())}
        assert not any(name.endswith("secret") for name in names)
        list(compare_trees(anchor(restless), anchor(target), control=Unattended()))
    assert snapshot(outside) == before


@pytest.mark.parametrize("native", [True, False], ids=["c", "python"])
def test_nothing_outside_is_deleted(
    tmp_path: Path, restless: Path, outside: Path, anchor: Opener, *, native: bool
) -> None:
    before = snapshot(outside)
    effort = Effort(helpers=2, loops=Loops(native=native))
    for _ in range(ROUNDS):
        remove_tree(
            anchor(tmp_path),
            restless.name,
            control=Unattended(),
            options=RemoveOptions(keep_root=True, effort=effort),
        )
    assert snapshot(outside) == before


def test_copying_into_a_tree_that_changes_never_leads_outside(
    tmp_path: Path, restless: Path, outside: Path, anchor: Opener
) -> None:
    source = tmp_path / "source"
    for number in range(PLACES):
        (source / f"d{number}").mkdir(parents=True)
        for name in ("f1", "f2", "new"):
            (source / f"d{number}" / name).write_bytes(b"from the source")
    before = snapshot(outside)
    for _ in range(ROUNDS):
        copy_tree(anchor(source), anchor(restless), control=Unattended())
    assert snapshot(outside) == before
    shutil.rmtree(source)


class Meddling(Unattended):
    """Changes the source when a phase begins."""

    def __init__(self, phase: str, change: Callable[[], object]) -> None:
        super().__init__()
        self._phase = phase
        self._change = change

    def phase(self, name: str) -> None:
        if name == self._phase:
            self._change()


@pytest.mark.parametrize("phase", ["copy", "seal"])
@pytest.mark.parametrize("selection", [None, Selection(filter=Filter(["- left-out"], 0))])
def test_directories_created_after_the_plan_are_named_and_not_counted(
    tmp_path: Path, anchor: Opener, phase: str, selection: Selection | None
) -> None:
    source = tmp_path / "a"
    (source / "old/below").mkdir(parents=True)
    (source / "old/file").write_text("x")
    if selection is not None:
        (source / "left-out").mkdir()

    def meddle() -> None:
        for name in ("new/below", "old/new"):
            (source / name).mkdir(parents=True)
            (source / name / "file").write_text("in no copy")
        if selection is not None:
            (source / "old/left-out").mkdir()

    control = Meddling(phase, meddle)
    options = CopyOptions(selection=selection)
    receipt = copy_tree(anchor(source), anchor(tmp_path / "b"), control=control, options=options)
    assert receipt.losses == {Loss.UNSETTLED: 2, Loss.APPEARED: 2}
    assert sorted(path for path, _ in receipt.examples[Loss.APPEARED]) == ["new", "old/new"]
    assert (receipt.directories, receipt.files) == (2, 1)
    found = sorted(str(p.relative_to(tmp_path / "b")) for p in (tmp_path / "b").rglob("*"))
    assert found == ["old", "old/below", "old/file"]


def test_a_directory_in_slices_is_counted_once(tmp_path: Path, anchor: Opener) -> None:
    source = tmp_path / "a"
    (source / "flat").mkdir(parents=True)
    for number in range(2 * SLICE_ENTRIES + 10):
        (source / f"flat/{number}").touch()
        if number % 500 == 0:
            (source / f"flat/below{number}").mkdir()
            (source / f"flat/below{number}/file").touch()
    receipt = copy_tree(anchor(source), anchor(tmp_path / "b"), control=Unattended())
    assert receipt.directories == 10
    assert receipt.losses == {}
    assert list(compare_trees(anchor(source), anchor(tmp_path / "b"), control=Unattended())) == []


@pytest.mark.part("fuse")
@pytest.mark.parametrize("native", [True, False], ids=["c", "python"])
def test_a_small_file_that_changes_between_its_reading_and_the_end_is_read_again(
    tmp_path: Path, anchor: Opener, *, native: bool
) -> None:
    """The target takes the content slowly; the source gets other content of the same length."""
    (tmp_path / "source").mkdir()
    small = tmp_path / "source" / "small"
    small.write_bytes(b"before")
    (tmp_path / "fs").mkdir()
    options = CopyOptions(effort=Effort(helpers=1, loops=Loops(native=native)))
    with mounted(tmp_path / "fs") as volume:
        volume.rules(Rule("write", "/small", hang=True))
        target, control = anchor(volume.path), Unattended()
        with ThreadPoolExecutor(1) as pool:
            copy = pool.submit(
                copy_tree, anchor(tmp_path / "source"), target, control=control, options=options
            )
            volume.wait_for_hit()
            small.write_bytes(b"after!")
            volume.heal()
            assert copy.result(60).files == 1
        assert (volume.backing / "small").read_bytes() == b"after!"
