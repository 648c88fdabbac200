"""What a directory of files says of itself to a transfer to objects."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.tree import Selection
from core.names import VFolderPath
from workers.verbs.object_sources import FileSource, state_of


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(b"1")
    (tmp_path / "away").symlink_to("/etc")
    (tmp_path / "in").symlink_to("d")
    return tmp_path


@pytest.fixture
def source(top: Path) -> Iterator[FileSource]:
    uploads: Any = None  # nothing is sent
    root = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    yield FileSource(root, Selection(), uploads, int)
    os.close(root)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("d", "d"),
        ("d/f", "f"),
        ("away", "l"),
        ("in/f", "f"),
        ("in/none", None),
        ("none", None),
        ("none/below", None),
        ("d/f/below", None),
        ("away/passwd", "l"),  # nothing outside is looked at
    ],
)
def test_a_path_has_the_kind_of_its_entry(source: FileSource, path: str, kind: str | None) -> None:
    assert source.kind(VFolderPath.parse(path)) == kind


def test_every_change_makes_another_state(top: Path, source: FileSource) -> None:
    seen = [state_of(source, bool)]
    assert state_of(source, bool) == seen[0]

    def changed() -> None:
        seen.append(state_of(source, bool))

    (top / "d/g").write_bytes(b"")
    changed()
    (top / "d/g").rename(top / "d/h")
    changed()
    status = os.stat(top / "d/f")
    (top / "other").write_bytes(b"2")
    (top / "other").replace(top / "d/f")  # of the same size and time
    os.utime(top / "d/f", ns=(status.st_atime_ns, status.st_mtime_ns))
    changed()
    (top / "d/h").unlink()
    changed()
    assert len(set(seen)) == len(seen)
