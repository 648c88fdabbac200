"""Names and stats of a directory: the same in C and in Python."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.fs import directory

BOTH = pytest.mark.parametrize("native", [directory.NATIVE, False])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_text("abc")
    (tmp_path / "below").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / os.fsdecode(b"\xff\xfe")).touch()
    (tmp_path / ("n" * 255)).touch()
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_the_part_in_c_is_tried_here() -> None:
    assert directory.NATIVE or not os.environ.get("CI")


@BOTH
def test_every_name_once(place: int, native: bool) -> None:  # noqa: FBT001 - a parameter of the test
    found = directory.names(place, native=native)
    os.lseek(place, 0, os.SEEK_SET)
    assert sorted(found) == sorted(os.listdir(place))


@BOTH
def test_a_directory_of_many_buffers(tmp_path: Path, native: bool) -> None:  # noqa: FBT001 - as above
    wanted = [f"{number:05}{'x' * 200}" for number in range(2000)]
    for name in wanted:
        (tmp_path / name).touch()
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    assert sorted(directory.names(descriptor, native=native)) == wanted
    os.close(descriptor)


@BOTH
def test_stats_are_those_of_lstat(place: int, native: bool) -> None:  # noqa: FBT001 - as above
    wanted = [*os.listdir(place), "gone"]
    found = directory.stats(place, wanted, native=native)
    assert found[-1] is None
    for name, told in zip(wanted[:-1], found, strict=False):
        status = os.stat(name, dir_fd=place, follow_symlinks=False)
        assert told is not None
        assert told[:2] == (status.st_mode, status.st_size)
        assert told[2:] == pytest.approx((status.st_ctime, status.st_mtime), abs=1e-6)


@BOTH
def test_what_the_file_system_refuses_is_raised(tmp_path: Path, native: bool) -> None:  # noqa: FBT001 - as above
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(NotADirectoryError):
        directory.names(descriptor, native=native)
    with pytest.raises(NotADirectoryError):
        directory.stats(descriptor, ["x"], native=native)
    os.close(descriptor)
