"""An entry gets exactly the path that is named, or nothing changes; and what one entry tells."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.entries import entries, listing
from backends.fs import paths
from core.errors import EntryExists, EntryNotFound, EntryRefused, PathEscape, StorageError
from core.names import VFolderPath
from tests.support.trees import snapshot

at = VFolderPath.parse


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "inner").write_text("inner")
    (tmp_path / "file").write_text("file")
    (tmp_path / "other").write_text("other!")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "out").symlink_to("/etc")
    descriptor = paths.open_root(tmp_path)
    yield descriptor, tmp_path
    os.close(descriptor)


@pytest.mark.parametrize(
    ("source", "target", "replace"),
    [
        ("file", "new", False),
        ("file", "dir/new", False),
        ("file", "other", True),
        ("dir", "moved", False),
        ("link", "moved", False),
        ("file", "file", False),
    ],
)
def test_what_moves(root: tuple[int, Path], source: str, target: str, *, replace: bool) -> None:
    descriptor, top = root
    before = os.lstat(top / source).st_ino
    entries.relocate(descriptor, at(source), at(target), replace=replace)
    assert os.lstat(top / target).st_ino == before
    assert source == target or not os.path.lexists(top / source)


@pytest.mark.parametrize(
    ("source", "target", "replace", "refusal"),
    [
        ("file", "other", False, EntryExists),
        ("file", "dir", False, EntryExists),
        ("file", "dir", True, EntryExists),
        ("dir", "file", True, EntryExists),
        ("file", ".", True, EntryExists),
        ("file", "link", False, EntryExists),
        ("file", "absent/new", False, EntryRefused),
        ("absent", "new", False, EntryRefused),
        ("dir", "dir/below", False, EntryRefused),
        (".", "new", False, EntryRefused),
        ("file", "out/new", False, PathEscape),
        ("out/passwd", "new", False, PathEscape),
    ],
)
def test_what_does_not(
    root: tuple[int, Path], source: str, target: str, refusal: type[StorageError], *, replace: bool
) -> None:
    descriptor, top = root
    before = snapshot(top)
    with pytest.raises(refusal):
        entries.relocate(descriptor, at(source), at(target), replace=replace)
    assert snapshot(top) == before


def test_what_one_entry_tells(root: tuple[int, Path]) -> None:
    descriptor, top = root
    file = listing.describe_entry(descriptor, at("file"))
    listed = {one["name"]: one for one in listing.list_directory(descriptor, at("")).items}
    assert file.item == listed["file"]
    assert file.etag == paths.file_tag(os.stat(top / "file"))
    link = listing.describe_entry(descriptor, at("link"))
    assert (link.item["type"], link.item["symlink_target"], link.etag) == ("SYMLINK", "file", None)
    assert listing.describe_entry(descriptor, at("dir")).item == listed["dir"]
    assert listing.describe_entry(descriptor, at(".")).item["type"] == "DIRECTORY"
    with pytest.raises(EntryNotFound):
        listing.describe_entry(descriptor, at("absent"))
    with pytest.raises(PathEscape):
        listing.describe_entry(descriptor, at("out/passwd"))
