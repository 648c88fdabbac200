"""The demonstration's comparison sees every kind of difference."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.demo import trees


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    for number in range(5):
        (tree / "a" / f"{number}.py").write_bytes(bytes([65 + number]) * 100)
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    trees.place(tree, one)
    subprocess.run(["cp", "-a", one, other], check=True)
    return one, other


def test_a_faithful_copy_has_no_differences(pair: tuple[Path, Path]) -> None:
    assert list(trees.differences(*pair)) == []


def test_the_count_says_what_is_there(pair: tuple[Path, Path]) -> None:
    found = trees.count(pair[0])
    assert (found.files, found.hard_links, found.symlinks) == (10, 5, 6)
    assert found.size_bytes == 500
    assert found.directories == 4


def _same_time(path: Path, change: Callable[[Path], object]) -> None:
    status = path.lstat()
    change(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _content(other: Path) -> None:
    _same_time(other / "tree/a/0.py", lambda path: path.write_bytes(b"B" * 100))


def _mode(other: Path) -> None:
    (other / "tree/a/0.py").chmod(0o600)


def _time_by_a_nanosecond(other: Path) -> None:
    status = (other / "tree/a").stat()
    os.utime(other / "tree/a", ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def _link_target(other: Path) -> None:
    path = other / "links/dangling"
    status = path.lstat()
    path.unlink()
    path.symlink_to("elsewhere")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _hard_link(other: Path) -> None:
    path = other / "links/hard-0"
    shutil.copy2(path, path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)


def _missing(other: Path) -> None:
    (other / "links/soft-0").unlink()


def _extra(other: Path) -> None:
    (other / "tree/a/b/new").touch()


def _kind(other: Path) -> None:
    (other / "tree/a/b").rmdir()
    (other / "tree/a/b").touch()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_content, "the content differs"),
        (_mode, "mode is"),
        (_time_by_a_nanosecond, "mtime_ns is"),
        (_link_target, "target is elsewhere, was nowhere"),
        (_hard_link, "hard links do not join"),
        (_missing, "links/soft-0: missing"),
        (_extra, "tree/a/b/new: was not there before"),
        (_kind, "tree/a/b: mode is"),
    ],
)
def test_every_difference_is_seen(
    pair: tuple[Path, Path], change: Callable[[Path], None], words: str
) -> None:
    one, other = pair
    change(other)
    assert any(words in sentence for sentence in trees.differences(one, other))


def test_a_longer_or_shorter_file_is_seen(pair: tuple[Path, Path]) -> None:
    one, other = pair
    with (other / "tree/a/1.py").open("ab") as file:
        file.write(b"more")
    sentences = list(trees.differences(one, other))
    assert any("size_bytes" in sentence for sentence in sentences)
    assert any("content" in sentence for sentence in sentences)
