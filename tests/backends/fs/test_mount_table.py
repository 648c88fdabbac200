"""The table of mounts: names without escapes, also with blanks and letters of other scripts."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.fs import mount_table
from workers.node import mounting

pytestmark = pytest.mark.part("root")


@pytest.fixture(
    params=["plain", "a blank", "\N{HANGUL SYLLABLE GA} \\ two\nlines", os.fsdecode(b"\xff")]
)
def point(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A mount point of that name."""
    top = tmp_path / request.param
    top.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "a source", top], check=True)
    try:
        yield top
    finally:
        subprocess.run(["umount", "-l", top], check=True)


def test_a_mount_is_found_by_its_point_and_by_a_descriptor(point: Path) -> None:
    (listed,) = [each for each in mount_table.mounts() if each.point == str(point)]
    assert (listed.kind, listed.source, listed.root) == ("tmpfs", "a source", "/")
    fd = os.open(point, os.O_PATH)
    try:
        assert mount_table.mount_of(fd) == listed
    finally:
        os.close(fd)
    assert mounting._mounted_at(point) == ("tmpfs", "a source")
    assert mounting._mounted_at(point / "below") is None
