"""No way to read a file takes one of another length than it was opened with."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import xxhash

from backends.tree.files import ShortSource, content

SIZE = 1000


def small(source: int, target: int) -> None:
    content.copy_small(source, target, SIZE, xxhash.xxh3_128())


def hashing(source: int, target: int) -> None:
    content.copy_hashing(source, target, (0, SIZE), xxhash.xxh3_128(), lambda _: None)


def ranged(source: int, target: int) -> None:
    content.copy_range(source, target, (0, SIZE), content.CopyMethods(), lambda _: None)


def read(source: int, target: int) -> None:
    methods = content.CopyMethods(clone=False, kernel=False, sendfile=False)
    content.copy_range(source, target, (0, SIZE), methods, lambda _: None)


def hashed(source: int, target: int) -> None:
    assert not os.fstat(target).st_size
    content.hash_span(source, (0, SIZE), xxhash.xxh3_128(), lambda _: None)


Way = Callable[[int, int], None]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "source", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("length", [0, SIZE - 1])
@pytest.mark.parametrize("way", [small, hashing, ranged, read, hashed])
def test_a_shorter_file_is_refused(source: int, target: int, way: Way, length: int) -> None:
    os.write(source, b"x" * length)
    os.lseek(source, 0, os.SEEK_SET)
    with pytest.raises(ShortSource):
        way(source, target)


@pytest.mark.parametrize("length", [0, SIZE - 1, SIZE + 1])
def test_a_small_file_of_another_length_is_copied_only_as_it_is_met(
    source: int, target: int, length: int
) -> None:
    os.write(source, b"x" * length)
    os.lseek(source, 0, os.SEEK_SET)
    with pytest.raises(ShortSource):
        small(source, target)
    os.lseek(source, 0, os.SEEK_SET)
    os.ftruncate(target, 0)
    content.copy_small(source, target, SIZE, as_met=True)
    assert os.pread(target, 2 * SIZE, 0) == b"x" * min(length, SIZE)
