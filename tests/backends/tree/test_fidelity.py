"""Copies that need other file systems, or another user, than most tests have."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.tree import (
    CopyOptions,
    Effort,
    Loss,
    RemoveOptions,
    compare_trees,
    copy_tree,
    measure_tree,
    remove_tree,
    walk,
)
from backends.tree.fast import Loops
from contract.trees import Opener, hostile
from core.jobs import Unattended
from tests.backends.tree.processes import in_child

UNPRIVILEGED = 65534
#: Names of the hostile tree that are not the first of their file.
FURTHER_NAMES = 2
root_only = pytest.mark.part("root")
LOOPS = [Loops(), Loops(native=False)]


@pytest.fixture
def large_xattrs(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs, which accepts xattrs of 64 KiB."""
    place = tmp_path / "large-xattrs"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@root_only
def test_the_largest_values_are_kept_and_what_does_not_fit_is_reported(
    tmp_path: Path, large_xattrs: Path, anchor: Opener
) -> None:
    source = large_xattrs / "a"
    source.mkdir()
    (source / "file").write_text("x")
    os.setxattr(source / "file", "user.large", os.urandom(65536))
    receipt = copy_tree(anchor(source), anchor(large_xattrs / "b"), control=Unattended())
    assert receipt.losses == {}
    assert (
        list(compare_trees(anchor(source), anchor(large_xattrs / "b"), control=Unattended())) == []
    )
    reduced = copy_tree(anchor(source), anchor(tmp_path / "c"), control=Unattended())
    kept = "user.large" in os.listxattr(tmp_path / "c/file")
    assert reduced.losses == ({} if kept else {Loss.XATTR: 1})
    assert reduced.complete


@root_only
@pytest.mark.parametrize("loops", LOOPS, ids=["c", "python"])
def test_immutable_entries_are_copied_as_such(tmp_path: Path, anchor: Opener, loops: Loops) -> None:
    source = tmp_path / "a"
    (source / "below").mkdir(parents=True)
    for name in ("below/file", "log"):
        (source / name).write_text(name)
    for name, flag in {"below/file": "+i", "log": "+a", "below": "+i"}.items():
        subprocess.run(["chattr", flag, source / name], check=True)
    effort = Effort(loops=loops)
    target = tmp_path / "b"
    receipt = copy_tree(
        anchor(source), anchor(target), control=Unattended(), options=CopyOptions(effort=effort)
    )
    assert receipt.losses == {}
    assert list(compare_trees(anchor(source), anchor(target), control=Unattended())) == []
    options = RemoveOptions(effort=effort)
    for name in ("a", "b"):
        assert remove_tree(anchor(tmp_path), name, control=Unattended(), options=options).complete


@root_only
@pytest.mark.parametrize("loops", LOOPS, ids=["c", "python"])
def test_directories_without_types_of_entries_are_handled(
    untyped: Path, anchor: Opener, loops: Loops
) -> None:
    source, target = hostile(untyped / "a"), untyped / "b"
    effort = Effort(loops=loops)
    options = CopyOptions(effort=effort)
    receipt = copy_tree(anchor(source), anchor(target), control=Unattended(), options=options)
    assert receipt.losses == {Loss.FIFO: 1, Loss.SOCKET: 1}
    assert list(compare_trees(anchor(source), anchor(target), control=Unattended())) == []
    entries = sum(len(names) + len(files) for _, names, files in os.walk(source))
    assert (
        measure_tree(anchor(source), control=Unattended()).entries == entries - 2
    )  # names of one file
    assert sum(1 for _ in walk(anchor(source), control=Unattended())) == entries
    removed = RemoveOptions(effort=effort)
    assert remove_tree(anchor(untyped), "a", control=Unattended(), options=removed).complete
    assert not source.exists()


def copy_unprivileged(source: int, target: int) -> tuple[list[Loss], tuple[int, list[object]]]:
    """Copy and measure as another user; return the losses, and what was counted."""
    os.setgroups([])
    os.setresgid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
    os.setresuid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED)
    receipt = copy_tree(source, target, control=Unattended())
    usage = measure_tree(source, control=Unattended())
    return list(receipt.losses), (usage.files, list(usage.unreadable_named))


@root_only
def test_without_rights_closed_entries_are_counted_and_named(
    tmp_path: Path, anchor: Opener
) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    for name in ("open", "closed"):
        (source / name).mkdir(parents=True)
        (source / name / "file").write_text("x")
    (source / "secret").write_text("x")
    (source / "secret").chmod(0o600)
    (source / "closed").chmod(0o700)
    source.chmod(0o755)
    target.mkdir()
    os.chown(target, UNPRIVILEGED, UNPRIVILEGED)
    # That user may not read the files of the interpreter: late imports must happen before.
    copy_tree(anchor(source), anchor(tmp_path / "before"), control=Unattended())
    sides = anchor(source), anchor(target)
    losses, counted = in_child(lambda: copy_unprivileged(*sides))
    assert {Loss.UNREADABLE, Loss.OWNER} <= set(losses), counted
    assert counted == (2, [("closed", "Permission denied")])
    assert sorted(p.name for p in target.rglob("*")) == ["file", "open"]
