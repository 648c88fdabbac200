"""Search: by pattern, kind, size and time; within bounds; never out of the directory."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.entries import search
from core.errors import StorageError
from core.names import VFolderPath

OLD_NS, NEW_NS = 1_000_000_000 * 10**9, 1_700_000_000 * 10**9
FILES = {"a.txt": 1, "b.bin": 100, "sub/a.txt": 10, "sub/deep/c.txt": 1000}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    top = tmp_path / "top"
    for name, size in FILES.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        os.utime(path, ns=(OLD_NS, OLD_NS if name.startswith("sub") else NEW_NS))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("hidden")
    (top / "out").symlink_to("../outside")
    descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def found(root: int, path: str = "", **terms: Any) -> list[str]:
    result = search.search(
        root, VFolderPath.parse(path), search.SearchTerms(**terms), limit=100, seconds=60
    )
    assert result.complete
    return [one.path for one in result.entries]


@pytest.mark.parametrize(
    ("terms", "paths"),
    [
        ({}, ["a.txt", "b.bin", "out", "sub", "sub/a.txt", "sub/deep", "sub/deep/c.txt"]),
        ({"match": "*.txt"}, ["a.txt", "sub/a.txt", "sub/deep/c.txt"]),
        ({"match": "a.*"}, ["a.txt", "sub/a.txt"]),
        ({"match": "sub/*"}, ["sub/a.txt", "sub/deep", "sub/deep/c.txt"]),
        ({"match": "A.TXT"}, []),
        ({"match": "[ab].*"}, ["a.txt", "b.bin", "sub/a.txt"]),
        ({"kind": "directory"}, ["sub", "sub/deep"]),
        ({"kind": "symlink"}, ["out"]),
        ({"kind": "file", "min_bytes": 10}, ["b.bin", "sub/a.txt", "sub/deep/c.txt"]),
        ({"min_bytes": 10, "max_bytes": 100}, ["b.bin", "sub/a.txt"]),
        ({"kind": "file", "newer_than": NEW_NS}, ["a.txt", "b.bin"]),
        ({"kind": "file", "older_than": OLD_NS}, ["sub/a.txt", "sub/deep/c.txt"]),
    ],
)
def test_what_is_found(root: int, terms: dict[str, Any], paths: list[str]) -> None:
    assert found(root, **terms) == paths


def test_below_a_directory(root: int) -> None:
    assert found(root, "sub", match="*.txt") == ["sub/a.txt", "sub/deep/c.txt"]
    assert found(root, "sub/deep", match="c*") == ["sub/deep/c.txt"]


@pytest.mark.parametrize("path", ["none", "a.txt", "out"])
def test_only_a_directory_of_the_vfolder_is_searched(root: int, path: str) -> None:
    with pytest.raises(StorageError):
        found(root, path)


def test_bounds(root: int) -> None:
    terms, top = search.SearchTerms(match="*.txt"), VFolderPath(())
    few = search.search(root, top, terms, limit=2, seconds=60)
    assert ([one.path for one in few.entries], few.complete) == (["a.txt", "sub/a.txt"], False)
    assert search.search(root, top, terms, limit=3, seconds=60).complete
    assert not search.search(root, top, terms, limit=3, seconds=-1).complete
