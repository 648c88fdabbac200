"""Blocks are allocated before their bytes come, on a real ext4, and not on other file systems."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.uploads.staging import STRETCH_BYTES, STRETCH_MIN_BYTES, allocate_ahead
from tests.support.loops import mounted

MIB = 1 << 20
ROOMY_BYTES = 128 * MIB
TIGHT_BYTES = 16 * MIB
#: Bytes that the file system may need besides the blocks of the file.
OWN_BYTES = 64 * 1024

pytestmark = pytest.mark.part("root")


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("roomy") / "ext4"
    with mounted(place, ["mkfs.ext4", "-q", "-F"], size_bytes=ROOMY_BYTES) as top:
        yield top


@contextmanager
def growing(directory: Path) -> Iterator[int]:
    file = directory / "file"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        file.unlink()


def held_bytes(descriptor: int) -> int:
    return os.fstat(descriptor).st_blocks * 512


@pytest.mark.parametrize(
    ("start", "size", "whole", "held"),
    [
        (0, MIB, 100 * MIB, STRETCH_BYTES),
        (STRETCH_BYTES - 1, 2, 100 * MIB, STRETCH_BYTES),
        (STRETCH_BYTES, MIB, STRETCH_BYTES + STRETCH_MIN_BYTES, STRETCH_MIN_BYTES),
        (0, MIB, STRETCH_MIN_BYTES - 1, 0),
        (1, STRETCH_BYTES - 1, 100 * MIB, 0),
        (STRETCH_BYTES + MIB, MIB, 100 * MIB, 0),
    ],
)
def test_blocks_are_allocated_where_a_stretch_begins(
    roomy: Path, start: int, size: int, whole: int, held: int
) -> None:
    with growing(roomy) as descriptor:
        allocate_ahead(descriptor, start, size, whole)
        assert held <= held_bytes(descriptor) <= held + OWN_BYTES * bool(held)
        assert os.fstat(descriptor).st_size == 0


def test_a_stretch_that_does_not_fit_allocates_nothing(tmp_path: Path) -> None:
    make = ["mkfs.ext4", "-q", "-F"]
    with mounted(tmp_path / "tight", make, size_bytes=TIGHT_BYTES) as top, growing(top) as one:
        os.write(one, b"data")
        os.fsync(one)
        before = held_bytes(one)
        allocate_ahead(one, 0, MIB, STRETCH_BYTES)
        assert held_bytes(one) <= before + OWN_BYTES
        assert os.pread(one, 10, 0) == b"data"


def test_other_file_systems_allocate_with_the_write() -> None:
    with growing_in_memory() as descriptor:
        allocate_ahead(descriptor, 0, MIB, STRETCH_BYTES)
        assert held_bytes(descriptor) == 0


@contextmanager
def growing_in_memory() -> Iterator[int]:
    descriptor = os.memfd_create("upload")  # on tmpfs, which could allocate too
    try:
        yield descriptor
    finally:
        os.close(descriptor)
