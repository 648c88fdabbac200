"""Copies and comparisons whose source is read by another node: the same results as on one node."""

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.fs import clock
from backends.tree import (
    CompareOptions,
    CopyOptions,
    Effort,
    Filter,
    Frame,
    Loss,
    RemoteTree,
    Selection,
    TreeManifest,
    answer,
    compare_sides,
    compare_trees,
    copy_tree,
    pack_frame,
    read_frame,
    read_noted,
)
from backends.tree.copy import receiver
from backends.tree.copy.sender import BatchTerms
from contract.trees import Opener, hostile
from core.errors import NodeAway
from core.jobs import Counter, Unattended
from tests.support.trees import attributes, copied_in_pieces

ONE, TWO = Effort(helpers=1), Effort(helpers=2)


class Node:
    """Another node: it answers over a socket, and breaks streams where a test says so."""

    def __init__(self, root: Path) -> None:
        self.root = root
        #: Break the stream of each of these questions, by number, after so many frames.
        self.breaks: dict[int, int] = {}
        self.asked = 0
        #: What is done before the first batch of a kind.
        self.before: dict[str, Callable[[], None]] = {}
        #: Bytes of files that were sent.
        self.sent = 0

    @property
    def tree(self) -> RemoteTree:
        return RemoteTree(self._transport)

    def _transport(self, question: list[Any]) -> Iterator[Frame]:
        if question[0] == "batch":
            self.before.pop(question[2][0], lambda: None)()
        ours, theirs = socket.socketpair()
        asked = read_frame(_reader(pack_frame(question)))

        def serve() -> None:
            fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                answer(fd, asked, theirs)
            except ConnectionError:
                pass
            finally:
                os.close(fd)
                theirs.close()

        thread = threading.Thread(target=serve)
        thread.start()
        self.asked += 1
        left = self.breaks.pop(self.asked, -1)
        try:
            with ours.makefile("rb") as stream:
                while (frame := read_frame(stream.read)) is not None:
                    if left == 0:
                        raise NodeAway("broken")
                    left -= 1
                    self.sent += len(frame[2]) if frame[0] == "data" else 0
                    yield frame
        finally:
            ours.close()
            thread.join()


def _reader(data: bytes) -> Any:
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        at += size
        return data[at - size : at]

    return read


@pytest.mark.parametrize("effort", [ONE, TWO], ids=["thread", "processes"])
@pytest.mark.parametrize("digest", [None, "xxh3"])
def test_a_hostile_tree_arrives_as_by_a_copy_on_one_node(
    tmp_path: Path, anchor: Opener, effort: Effort, digest: str | None
) -> None:
    hostile(tmp_path / "a")
    options = CopyOptions(effort=effort, digest=digest, verify=digest)
    here = copy_tree(anchor(tmp_path / "a"), anchor(tmp_path / "b"), control=Unattended())
    there = copy_tree(
        Node(tmp_path / "a").tree, anchor(tmp_path / "c"), control=Unattended(), options=options
    )
    assert (there.to_wire()[0], there.losses) == (here.to_wire()[0], here.losses)
    found = compare_trees(anchor(tmp_path / "a"), anchor(tmp_path / "c"), control=Unattended())
    assert list(found) == []
    assert attributes(tmp_path / "b") == attributes(tmp_path / "c")


def test_comparing_with_another_node_finds_what_comparing_here_finds(
    tmp_path: Path, anchor: Opener
) -> None:
    hostile(tmp_path / "a")
    copy_tree(anchor(tmp_path / "a"), anchor(tmp_path / "b"), control=Unattended())
    _damage(tmp_path / "b")
    for digest in (None, "xxh3"):
        options = CompareOptions(digest=digest, effort=ONE)
        sides = anchor(tmp_path / "a"), Node(tmp_path / "a").tree
        here, there = (
            sorted(
                (one.path, one.aspect)
                for one in compare_sides(
                    side, anchor(tmp_path / "b"), control=Unattended(), options=options
                )
            )
            for side in sides
        )
        assert here == there
        assert here


def _damage(root: Path) -> None:
    (root / "plain/file").write_bytes(b"y" * 5000)
    (root / "plain/medium").unlink()
    (root / "extra").write_text("extra")
    (root / "up").unlink()
    (root / "up").symlink_to("down")
    os.setxattr(root / "xattrs", "user.note", b"w")
    (root / "deep").chmod(0o700)
    (root / "hard1").unlink()
    (root / "hard1").write_text("many names")


@pytest.mark.parametrize("frames", [0, 1, 3, 9, 30])
def test_a_stream_that_breaks_is_asked_for_again(
    tmp_path: Path, anchor: Opener, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    monkeypatch.setattr(receiver, "PAUSE_SECONDS", 0.0)
    hostile(tmp_path / "a")
    copied_in_pieces(monkeypatch, 64 * 1024)
    (tmp_path / "a/big").write_bytes(os.urandom(500_000))
    node = Node(tmp_path / "a")
    node.breaks = dict.fromkeys(range(2, 60, 2), frames)
    options = CopyOptions(effort=ONE, digest="xxh3", verify="xxh3")
    counted = Counting()
    try:
        receipt = copy_tree(node.tree, anchor(tmp_path / "b"), control=counted, options=options)
    except NodeAway:  # after it sent a part of the plan, or while both sides are read again
        receipt = None
    if receipt is not None:
        assert receipt.complete
        assert counted.copied_bytes == receipt.size_bytes
    node.breaks = {}
    again = copy_tree(node.tree, anchor(tmp_path / "b"), control=Unattended(), options=options)
    assert again.complete
    found = compare_trees(anchor(tmp_path / "a"), anchor(tmp_path / "b"), control=Unattended())
    assert list(found) == []


class Counting(Unattended):
    """Counts the bytes that a copy says it has copied."""

    copied_bytes = 0

    def count(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        del items
        self.copied_bytes += size_bytes if counter is Counter.COPIED else 0


def test_a_later_run_gets_only_what_is_missing(
    tmp_path: Path, anchor: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece of a big file that is on disk is not sent again."""
    copied_in_pieces(monkeypatch, 64 * 1024)
    monkeypatch.setattr(receiver, "PATIENCE_SECONDS", 0.0)
    (tmp_path / "a").mkdir()
    data = os.urandom(1_000_000)
    (tmp_path / "a/big").write_bytes(data)
    (tmp_path / "a/small").write_bytes(b"s" * 1000)
    (tmp_path / "b").mkdir()
    record = TreeManifest.open(anchor(tmp_path), "manifest")
    node = Node(tmp_path / "a")
    node.breaks = {10: 1}  # within a piece
    options = CopyOptions(effort=ONE)
    with pytest.raises(NodeAway):
        copy_tree(
            node.tree,
            anchor(tmp_path / "b"),
            control=Unattended(),
            manifest=record,
            options=options,
        )
    record.close()
    node.sent = 0
    record = TreeManifest.open(anchor(tmp_path), "manifest")
    receipt = copy_tree(
        node.tree, anchor(tmp_path / "b"), control=Unattended(), manifest=record, options=options
    )
    record.close()
    assert receipt.size_bytes == 1_001_000
    assert (tmp_path / "b/big").read_bytes() == data
    assert 300_000 < node.sent < 800_000


def test_rules_select_at_the_other_node(tmp_path: Path, anchor: Opener) -> None:
    for name in ("x/keep.txt", "x/drop.bin", "y/drop.bin", "keep.txt"):
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).write_text(name)
    selection = Selection(filter=Filter(["- *.bin"], 0))
    options = CopyOptions(effort=ONE, selection=selection)
    node = Node(tmp_path / "a")
    copy_tree(node.tree, anchor(tmp_path / "b"), control=Unattended(), options=options)
    found = {str(p.relative_to(tmp_path / "b")) for p in (tmp_path / "b").rglob("*")}
    assert found == {"x", "y", "x/keep.txt", "keep.txt"}


def equal_trees(root: Path) -> tuple[Path, Path]:
    """Two trees of which one file and one hard link are equal, and one file is not."""
    for name in ("a", "near"):
        (root / name / "d").mkdir(parents=True)
        (root / name / "d/equal").write_bytes(b"e" * 100_000)
        (root / name / "big").write_bytes(b"b" * 300_000)
        (root / name / "other").write_bytes(name.encode() * 10_000)
        for path in ("d/equal", "big"):
            os.utime(root / name / path, ns=(1, 10**18))
    (root / "a/big").chmod(0o600)
    return root / "a", root / "near"


@pytest.mark.parametrize("effort", [ONE, TWO], ids=["thread", "processes"])
def test_a_file_that_is_near_is_not_sent(
    tmp_path: Path, anchor: Opener, effort: Effort, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied_in_pieces(monkeypatch, 64 * 1024)
    source, near = equal_trees(tmp_path)
    node = Node(source)
    options = CopyOptions(effort=effort, digest="xxh3", verify="xxh3", near=anchor(near))
    counted = Counting()
    receipt = copy_tree(node.tree, anchor(tmp_path / "b"), control=counted, options=options)
    assert receipt.complete
    assert counted.copied_bytes == receipt.size_bytes == 410_000
    found = compare_trees(anchor(source), anchor(tmp_path / "b"), control=Unattended())
    assert list(found) == []
    if effort is ONE:  # else other processes have counted
        assert node.sent == 10_000


def test_a_file_that_is_near_and_differs_is_found_by_checksums(
    tmp_path: Path, anchor: Opener
) -> None:
    source, near = equal_trees(tmp_path)
    (near / "d/equal").write_bytes(b"f" * 100_000)
    os.utime(near / "d/equal", ns=(1, 10**18))
    options = CopyOptions(effort=ONE, digest="xxh3", verify="xxh3", near=anchor(near))
    node = Node(source)
    receipt = copy_tree(node.tree, anchor(tmp_path / "b"), control=Unattended(), options=options)
    assert receipt.losses == {Loss.DIFFERENT: 1}
    assert not receipt.complete


def test_what_the_target_refuses_is_reported_and_the_rest_is_copied(
    tmp_path: Path, anchor: Opener
) -> None:
    """A directory that is not empty is never removed for a file."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/right").write_text("right")
    (tmp_path / "a/wrong").write_text("wrong")
    (tmp_path / "b/wrong/full").mkdir(parents=True)
    options = CopyOptions(effort=ONE, digest="xxh3")
    node = Node(tmp_path / "a")
    receipt = copy_tree(node.tree, anchor(tmp_path / "b"), control=Unattended(), options=options)
    assert (tmp_path / "b/right").read_text() == "right"
    assert not receipt.complete
    assert (receipt.files, receipt.size_bytes, receipt.losses) == (1, 5, {Loss.FAILED: 1})


def now(directory: Path) -> int:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return clock.ticked_ns(fd)
    finally:
        os.close(fd)


def test_changes_of_the_source_are_met_as_on_one_node(tmp_path: Path, anchor: Opener) -> None:
    """Entries come, go and change between the plan and the copy, and before the seals."""
    root = tmp_path / "a"
    for name in ("d/stays", "d/goes", "d/grows", "e/file", "gone/file"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    node = Node(root)

    def change() -> None:
        (root / "d/goes").unlink()
        (root / "d/new").write_text("new")
        (root / "d/below").mkdir()
        (root / "d/grows").write_text("longer than before")

    def remove() -> None:
        shutil.rmtree(root / "gone")

    node.before = {"copy": change, "seal": remove}
    options = CopyOptions(effort=ONE, since_ns=now(root))
    record = TreeManifest.open(anchor(tmp_path), "manifest")
    receipt = copy_tree(
        node.tree, anchor(tmp_path / "b"), control=Unattended(), manifest=record, options=options
    )
    noted = sorted((path, loss) for loss, path, _ in read_noted(record))
    record.close()
    assert receipt.complete
    assert noted == [("d/below", "appeared"), ("gone", "as-met")]
    found = {str(p.relative_to(tmp_path / "b")) for p in (tmp_path / "b").rglob("*")}
    assert found == {"d", "d/stays", "d/grows", "d/new", "e", "e/file", "gone", "gone/file"}
    assert (tmp_path / "b/d/grows").read_text() == "longer than before"


@pytest.mark.parametrize(
    "question",
    [
        ("facts", "../b", "", True),
        ("digest", "../b/secret", "xxh3"),
        ("digest", "/etc/passwd", "xxh3"),
        ("batch", [], ["piece", 0, "../b/secret", 6, 0, [0, 6]]),
        ("batch", [], ["copy", 0, [["", ["../b/secret"]]]]),
        ("batch", [], ["copy", 0, [["..", None]]]),
        ("batch", [], ["links", "../b/secret", [], 1, 1]),
        ("absent", "", ["../b"]),
        ("changed", "..", 0),
    ],
    ids=str,
)
def test_nothing_outside_of_the_tree_is_read(tmp_path: Path, question: tuple[Any, ...]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b/secret").write_text("secret")
    kind, *rest = question
    if kind == "batch":
        rest[0] = BatchTerms("", None, True, None, True, 1).to_wire()  # noqa: FBT003 - as in a message
    with pytest.raises(OSError, match="Invalid argument"):
        list(Node(tmp_path / "a").tree.ask(kind, *rest))
