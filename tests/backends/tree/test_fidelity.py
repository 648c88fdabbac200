"""What takes other file systems, or another user, than the tests usually have."""

import os
import subprocess
import traceback
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
from core.jobs import Unattended
from tests.backends.tree.trees import Opener, hostile

NOBODY = 65534
#: Names of the hostile tree that are not the first of their file.
FURTHER_NAMES = 2
root_only = pytest.mark.part("root")
LOOPS = [Loops(), Loops(native=False)]


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs, which takes values of 64 KiB."""
    place = tmp_path / "roomy"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@root_only
def test_the_largest_values_are_kept_and_what_does_not_fit_is_told(
    tmp_path: Path, roomy: Path, anchor: Opener
) -> None:
    source = roomy / "a"
    source.mkdir()
    (source / "file").write_text("x")
    os.setxattr(source / "file", "user.large", os.urandom(65536))
    receipt = copy_tree(anchor(source), anchor(roomy / "b"), control=Unattended())
    assert receipt.losses == {}
    assert list(compare_trees(anchor(source), anchor(roomy / "b"), control=Unattended())) == []
    told = copy_tree(anchor(source), anchor(tmp_path / "c"), control=Unattended())
    kept = "user.large" in os.listxattr(tmp_path / "c/file")
    assert told.losses == ({} if kept else {Loss.XATTR: 1})
    assert told.complete


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
def test_directories_that_tell_no_types_are_no_obstacle(
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


def as_nobody(source: int, target: int) -> tuple[str, str]:
    """Copy and measure as another user; what was lost, and how much was counted."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            receipt = copy_tree(source, target, control=Unattended())
            usage = measure_tree(source, control=Unattended())
            facts = f"{sorted(receipt.losses.items())}\n{usage.files} {usage.unreadable_named}"
            os.write(theirs, facts.encode())
        except BaseException:  # noqa: BLE001 - told to the test
            os.write(theirs, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(theirs)
    os.waitpid(pid, 0)
    lost, _, counted = os.read(ours, 65536).decode().partition("\n")
    os.close(ours)
    return lost, counted


@root_only
def test_without_rights_what_is_closed_is_counted_and_named(tmp_path: Path, anchor: Opener) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    for name in ("open", "closed"):
        (source / name).mkdir(parents=True)
        (source / name / "file").write_text("x")
    (source / "secret").write_text("x")
    (source / "secret").chmod(0o600)
    (source / "closed").chmod(0o700)
    source.chmod(0o755)
    target.mkdir()
    os.chown(target, NOBODY, NOBODY)
    # That user may not read the interpreter's files: what is imported late is imported now.
    copy_tree(anchor(source), anchor(tmp_path / "before"), control=Unattended())
    lost, counted = as_nobody(anchor(source), anchor(target))
    assert "UNREADABLE" in lost.upper(), counted
    assert "OWNER" in lost.upper()
    assert counted == "2 [('closed', 'Permission denied')]"
    assert sorted(p.name for p in target.rglob("*")) == ["file", "open"]
