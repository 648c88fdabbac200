"""Names and stats of a directory: the same in C and in Python."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.fs import directory, native

BOTH = pytest.mark.parametrize("in_c", [native.AVAILABLE, False])


@pytest.fixture
def mixed(tmp_path: Path) -> Iterator[int]:
    """A descriptor of a directory with an entry of each kind."""
    (tmp_path / "file").write_text("abc")
    (tmp_path / "below").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / os.fsdecode(b"\xff\xfe")).touch()
    (tmp_path / ("n" * 255)).touch()
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_ci_has_the_part_in_c() -> None:
    assert native.AVAILABLE or not os.environ.get("CI")


@BOTH
def test_every_name_once(mixed: int, in_c: bool) -> None:  # noqa: FBT001 - a parameter of the test
    names = directory.names(mixed, in_c=in_c)
    os.lseek(mixed, 0, os.SEEK_SET)
    assert sorted(names) == sorted(os.listdir(mixed))


@BOTH
def test_a_directory_of_many_buffers(tmp_path: Path, in_c: bool) -> None:  # noqa: FBT001 - as above
    expected = [f"{number:05}{'x' * 200}" for number in range(2000)]
    for name in expected:
        (tmp_path / name).touch()
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    assert sorted(directory.names(descriptor, in_c=in_c)) == expected
    os.close(descriptor)


@BOTH
def test_stats_are_those_of_lstat(mixed: int, in_c: bool) -> None:  # noqa: FBT001 - as above
    names = [*os.listdir(mixed), "gone"]
    statuses = directory.stats(mixed, names, in_c=in_c)
    assert statuses[-1] is None
    for name, status in zip(names[:-1], statuses, strict=False):
        expected = os.stat(name, dir_fd=mixed, follow_symlinks=False)
        assert status is not None
        assert status[:2] == (expected.st_mode, expected.st_size)
        assert status[2:] == pytest.approx((expected.st_ctime, expected.st_mtime), abs=1e-6)


@BOTH
def test_errors_of_the_file_system_are_raised(tmp_path: Path, in_c: bool) -> None:  # noqa: FBT001 - as above
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(NotADirectoryError):
        directory.names(descriptor, in_c=in_c)
    with pytest.raises(NotADirectoryError):
        directory.stats(descriptor, ["x"], in_c=in_c)
    os.close(descriptor)
