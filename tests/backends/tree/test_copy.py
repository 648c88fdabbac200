import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.tree import (
    Aspect,
    CompareOptions,
    CopyOptions,
    Effort,
    Loss,
    compare_trees,
    copy_tree,
)
from contract.trees import Opener, deep, hostile
from core.jobs import Counter, Unattended

ONE = CopyOptions(effort=Effort(helpers=1))
TWO = CopyOptions(effort=Effort(helpers=2))


@pytest.mark.part("rsync")
@pytest.mark.parametrize("options", [ONE, TWO], ids=["one helper", "two helpers"])
def test_a_hostile_tree_arrives_whole(tmp_path: Path, anchor: Opener, options: CopyOptions) -> None:
    source, target = hostile(tmp_path / "a"), tmp_path / "b"
    control = Unattended()
    receipt = copy_tree(anchor(source), anchor(target), control=control, options=options)
    assert list(compare_trees(anchor(source), anchor(target), control=Unattended())) == []
    assert receipt.losses == {Loss.FIFO: 1, Loss.SOCKET: 1}
    assert receipt.complete
    assert not control.faults
    rsync = ["rsync", "-aHAXnc", "--no-D", "--delete", "--itemize-changes"]
    out = subprocess.run([*rsync, f"{source}/", f"{target}/"], capture_output=True, check=True)
    lines = out.stdout.splitlines()
    assert [line for line in lines if not line.startswith(b"skipping non-regular")] == []


def test_counts_add_up_to_what_was_expected(tmp_path: Path, anchor: Opener) -> None:
    source = hostile(tmp_path / "a")
    control = Unattended()
    receipt = copy_tree(anchor(source), anchor(tmp_path / "b"), control=control)
    entries = sum(len(names) + len(files) for _, names, files in os.walk(source))
    copied, skipped = control.counts[Counter.COPIED], control.counts[Counter.SKIPPED]
    assert control.counts[Counter.LISTED][0] == entries
    assert copied[0] + skipped[0] == entries
    assert receipt.hard_links == 2


def test_a_path_far_over_path_max_is_copied(tmp_path: Path, anchor: Opener) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    deep(source)
    receipt = copy_tree(anchor(source), anchor(target), control=Unattended())
    assert receipt.files == 1
    assert receipt.directories == 60
    assert list(compare_trees(anchor(source), anchor(target), control=Unattended())) == []


def test_a_second_run_reuses_everything(tmp_path: Path, anchor: Opener) -> None:
    source = hostile(tmp_path / "a")
    first = copy_tree(anchor(source), anchor(tmp_path / "b"), control=Unattended())
    second = copy_tree(anchor(source), anchor(tmp_path / "b"), control=Unattended())
    assert second.reused == first.files + first.links
    assert list(compare_trees(anchor(source), anchor(tmp_path / "b"), control=Unattended())) == []


@pytest.mark.parametrize(
    ("spoil", "aspect"),
    [
        (lambda t: (t / "plain/file").write_bytes(b"y" * 5000), Aspect.CONTENT),
        (lambda t: (t / "plain/file").write_bytes(b"y"), Aspect.SIZE),
        (lambda t: (t / "plain/file").unlink(), Aspect.MISSING),
        (lambda t: (t / "plain/more").write_text(""), Aspect.EXTRA),
        (lambda t: (t / "plain/file").chmod(0o600), Aspect.MODE),
        (lambda t: os.chown(t / "plain/file", 1, 1), Aspect.OWNER),
        (lambda t: os.utime(t / "plain", ns=(0, 1)), Aspect.TIME),
        (lambda t: os.setxattr(t / "xattrs", "user.note", b"w"), Aspect.XATTR),
        (lambda t: os.removexattr(t / "acl", "system.posix_acl_access"), Aspect.XATTR),
        (lambda t: (t / "sparse").write_bytes((t / "sparse").read_bytes()), Aspect.HOLES),
        (lambda t: subprocess.run(["chattr", "+d", t / "plain/file"], check=True), Aspect.FLAGS),
    ],
)
def test_the_comparison_sees_every_aspect(
    tmp_path: Path, anchor: Opener, spoil: Callable[[Path], object], aspect: Aspect
) -> None:
    source, target = hostile(tmp_path / "a"), tmp_path / "b"
    copy_tree(anchor(source), anchor(target), control=Unattended())
    spoil(target)
    found = {d.aspect for d in compare_trees(anchor(source), anchor(target), control=Unattended())}
    assert aspect in found


def test_the_comparison_sees_types_targets_and_link_structure(
    tmp_path: Path, anchor: Opener
) -> None:
    source, target = hostile(tmp_path / "a"), tmp_path / "b"
    copy_tree(anchor(source), anchor(target), control=Unattended())
    (target / "dangling").unlink()
    (target / "dangling").symlink_to("elsewhere")
    content = (target / "hard1").read_bytes()
    (target / "hard1").unlink()
    (target / "hard1").write_bytes(content)
    (target / "empty").rmdir()
    (target / "empty").write_text("now a file")
    options = CompareOptions(skip=frozenset({Aspect.TIME, Aspect.OWNER, Aspect.MODE}))
    found = {
        (d.path, d.aspect)
        for d in compare_trees(
            anchor(source), anchor(target), control=Unattended(), options=options
        )
    }
    assert ("dangling", Aspect.TARGET) in found
    assert ("empty", Aspect.TYPE) in found
    assert any(aspect == Aspect.LINK for _, aspect in found)
