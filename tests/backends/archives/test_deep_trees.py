"""Trees whose paths are longer than the kernel takes at once."""

import io
import os
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.archives import FORMATS, Deviations, plan
from backends.archives.pieces import Extent
from backends.tree import remove_tree
from core.errors import EntryRefused
from core.jobs import Unattended
from core.names import VFolderPath

ROOT = [plan.Source(VFolderPath(()), "")]
LARGE = 700_000


@contextmanager
def deep(directory: Path, name: str, levels: int) -> Iterator[tuple[int, str]]:
    """A tree with a small and a large file at each of its ends; its descriptor and deepest path."""
    (directory / "top").mkdir()
    top = os.open(directory / "top", os.O_RDONLY)
    here = os.dup(top)
    try:
        for _ in range(levels):
            os.mkdir(name, dir_fd=here)
            below = os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        for file, size in (("small", 5), ("large", LARGE)):
            made = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here)
            os.write(made, b"x" * size)
            os.close(made)
        os.symlink("small", "link", dir_fd=here)
        yield top, "/".join([name] * levels)
    finally:
        os.close(here)
        parent = os.open(directory, os.O_RDONLY)
        remove_tree(parent, "top", control=Unattended())
        os.close(parent)
        os.close(top)


def archived(top: int, form: str, *, tolerant: bool = False) -> tuple[bytes, list[str]]:
    kind = FORMATS[form]
    met = Deviations(tolerant=tolerant)
    leave_out = met.add if tolerant else None
    planned = plan.make(top, ROOT, leave_out=leave_out, name_bytes_max=kind.name_bytes_max)
    parts: list[bytes] = []
    for piece in kind.make(top, planned, met).pieces():
        parts += piece.read() if isinstance(piece, Extent) else [piece]
    planned.close()
    met.close()
    return b"".join(parts), met.examples


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["d" * 100, "ü" * 100], ids=["ascii", "two bytes"])
def test_any_depth_is_archived(tmp_path: Path, form: str, name: str) -> None:
    with deep(tmp_path, name, 150) as (top, path):
        data, _ = archived(top, form)
    sizes = {f"{path}/small": 5, f"{path}/large": LARGE}
    if form.startswith("zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            found = {name: archive.getinfo(name).file_size for name in archive.namelist()}
    else:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            found = {entry.name: entry.size for entry in tar}
    assert found.items() >= sizes.items()
    assert f"{path}/link" in found


def test_a_path_that_no_zip_can_have_is_named(tmp_path: Path) -> None:
    with deep(tmp_path, "d" * 250, 262) as (top, path):
        assert len(path) > 0xFFFF
        with pytest.raises(EntryRefused, match="a tar has it"):
            archived(top, "zip")
        data, left_out = archived(top, "zip", tolerant=True)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            assert len(archive.namelist()) == 261 + 1, "all directories but one, and the report"
        assert len(left_out) == 1
        data, _ = archived(top, "tar")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert f"{path}/small" in tar.getnames()
