"""Names, stats and details of a directory: the same in C and in Python."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.fs import directory, native
from tests.support import brittlefs
from tests.support.brittlefs import Rule

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


def detailed(descriptor: int, *, in_c: bool) -> dict[bytes, tuple[int, ...]]:
    """All details of a directory by name; none failed, and no name comes twice."""
    chunks = list(directory.details(descriptor, in_c=in_c))
    found = [one for chunk, failed in chunks for one in chunk if not failed]
    assert len({one[0] for one in found}) == len(found) == sum(len(one) for one, _ in chunks)
    return {one[0]: one[1:] for one in found}


@BOTH
def test_details_are_those_of_lstat(mixed: int, in_c: bool) -> None:  # noqa: FBT001 - as above
    os.utime("file", ns=(1, -1_000_000_001), dir_fd=mixed)
    os.link("file", "again", src_dir_fd=mixed, dst_dir_fd=mixed)
    expected = {}
    for name in os.listdir(mixed):
        status = os.stat(name, dir_fd=mixed, follow_symlinks=False)
        numbers = status.st_mode, status.st_size, status.st_mtime_ns
        expected[os.fsencode(name)] = (*numbers, status.st_ino, status.st_nlink, status.st_dev)
    os.lseek(mixed, 0, os.SEEK_SET)
    assert detailed(mixed, in_c=in_c) == expected


@BOTH
def test_details_of_a_directory_of_many_buffers(tmp_path: Path, in_c: bool) -> None:  # noqa: FBT001 - as above
    expected = [b"%05d%b" % (number, b"x" * 200) for number in range(2000)]
    for name in expected:
        (tmp_path / os.fsdecode(name)).touch()
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    assert sorted(detailed(descriptor, in_c=in_c)) == expected
    os.close(descriptor)


@BOTH
def test_plain_files_are_made_and_others_have_details(tmp_path: Path, in_c: bool) -> None:  # noqa: FBT001 - as above
    """A link, a directory, two names of one file, a long name and a far time are not plain."""
    (tmp_path / "below").mkdir()
    (tmp_path / "link").symlink_to("file")
    for name in ("again", "far", "file", "nnnn", "nnnnn"):
        (tmp_path / name).write_text(name)
    os.link(tmp_path / "again", tmp_path / "once")
    os.utime(tmp_path / "far", ns=(0, 2**63 - 2**63 % 10**9 + 10**9))
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    chunks = list(directory.files_and_details(descriptor, lambda *made: [made], 5, in_c=in_c))
    os.lseek(descriptor, 0, os.SEEK_SET)
    expected = detailed(descriptor, in_c=in_c)
    os.close(descriptor)
    found = [one for some, failed in chunks for one in some if not failed]
    plain = [one[0] for one in found if isinstance(one, list)]
    details = {one[0]: one[1:] for one in found if isinstance(one, tuple)}
    assert sorted(name for name, *_ in plain) == [b"file", b"nnnn"] + [b"far"] * (
        expected[b"far"][2] < 2**63
    )
    assert plain == [(one[0], *expected[one[0]][:4], b"", True) for one in plain]
    assert details == {
        name: rest for name, rest in expected.items() if name not in [one[0] for one in plain]
    }
    assert [one[0][0] if isinstance(one, list) else one[0] for one in found] == [*expected]


@pytest.mark.part("fuse")
@BOTH
def test_details_name_what_cannot_be_looked_at(tmp_path: Path, in_c: bool) -> None:  # noqa: FBT001 - as above
    with brittlefs.mounted(tmp_path) as volume:
        for name in ("bad", "good", "gone"):
            (volume.backing / name).touch()
        volume.rules(
            Rule("getattr", "*/bad", error="EIO"), Rule("getattr", "*/gone", error="ENOENT")
        )
        descriptor = os.open(volume.path, os.O_RDONLY | os.O_DIRECTORY)
        chunks = list(directory.details(descriptor, in_c=in_c))
        os.close(descriptor)
    assert [one[0] for found, _ in chunks for one in found] == [b"good"]
    assert [one for _, failed in chunks for one in failed] == [(b"bad", errno.EIO)]


@BOTH
def test_errors_of_the_file_system_are_raised(tmp_path: Path, in_c: bool) -> None:  # noqa: FBT001 - as above
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(NotADirectoryError):
        directory.names(descriptor, in_c=in_c)
    with pytest.raises(NotADirectoryError):
        directory.stats(descriptor, ["x"], in_c=in_c)
    with pytest.raises(NotADirectoryError):
        list(directory.details(descriptor, in_c=in_c))
    os.close(descriptor)
