"""Tars of hostile trees: read by GNU tar, bsdtar and Python, resumed anywhere, ended by changes."""

import io
import os
import random
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.archives import Piece, plan, tars
from backends.archives.pieces import Extent
from backends.archives.tars import Tar
from core.names import VFolderPath

ROOT = [plan.Source(VFolderPath(()), "")]
GIB = 1 << 30
#: Bytes that a name may have: all but slash and NUL.
NAMES = st.binary(min_size=1, max_size=255).map(
    lambda name: name.replace(b"/", b"_").replace(b"\0", b"0")
)
#: A time in nanoseconds that file systems take: from 1901 to 2446.
TIMES = st.integers(-(2**31) * 10**9, 15_032_385_535 * 10**9)


@contextmanager
def packing(top: Path) -> Iterator[Tar]:
    descriptor = os.open(top, os.O_RDONLY)
    planned = plan.make(descriptor, ROOT, hard_links=True)
    try:
        yield Tar(descriptor, planned)
    finally:
        planned.close()
        os.close(descriptor)


def read(pieces: Iterator[Piece], most: int | None = None) -> bytes:
    pieces = islice(pieces, most)
    return b"".join(b"".join(p.read()) if isinstance(p, Extent) else p for p in pieces)


def packed(top: Path) -> bytes:
    with packing(top) as tar:
        data = read(tar.pieces())
        assert len(data) == tar.size
    return data


Seen = dict[bytes, tuple[int, float | None, bytes, int]]


def seen(top: Path) -> Seen:
    """Return all entries: mode, time, content, and the number of names."""
    found: Seen = {}
    for directory, names, files in os.walk(os.fsencode(top)):
        for name in [*names, *files]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
            links = 0 if stat.S_ISDIR(status.st_mode) else status.st_nlink
            time = None if stat.S_ISLNK(status.st_mode) else status.st_mtime_ns
            found[path[len(os.fsencode(top)) :]] = (status.st_mode, time, content, links)
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tree of everything that is hard to store in a tar."""
    top = tmp_path_factory.mktemp("hostile") / "tree"
    here = os.fsencode(top)
    names = [b"a", b"\xc3\xbc.txt", b"\xff.bin", b"x" * 200, b"\xff" * 150, b"new\nline\t'\"\\"]
    names += [b"d" * 90 + b"/" + b"e" * 90, b"d" * 90 + b"/" + b"f" * 90 + b"/g" * 70, b" b "]
    names += [b"-rf", b"\xc3\xbc" * 100, b"p/\xfe" + b"e" * 120 + b"/q", b"q" * 99 + b"/r", b"\x01"]
    for number, name in enumerate(names):
        path = os.path.join(here, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(os.urandom(number * 300))
    for number, target in enumerate(
        (b"/etc/passwd", b"\xff", b"t" * 300, b"\xfe" * 300, b"\xc3\xbc")
    ):
        os.symlink(target, here + b"/link%d" % number)
    os.link(here + b"/a", here + b"/p/a too")
    os.link(here + b"/" + b"\xff" * 150, here + b"/z")
    os.mkdir(here + b"/empty", 0o700)
    (top / "large").write_bytes(os.urandom(900_001))
    os.chmod(top / "large", 0o640)
    os.chmod(top / "p", 0o555)  # noqa: S103 - a directory that its owner cannot write to
    os.utime(top / "large", ns=(0, -1_500_000_000))
    os.utime(top / "a", ns=(0, 8**11 * 10**9 + 7))
    os.utime(top / "empty", ns=(0, 1_700_000_000 * 10**9))
    return top


def _python(archive: Path, to: Path) -> None:
    with tarfile.open(archive) as opened:
        opened.extractall(to, filter="fully_trusted")  # noqa: S202 - our own


def _command(*words: str) -> None:
    subprocess.run(words, check=True, stderr=subprocess.PIPE)


READERS = {
    "tar": lambda archive, to: _command("tar", "-xpf", str(archive), "-C", str(to)),
    "bsdtar": lambda archive, to: _command("bsdtar", "-xpf", str(archive), "-C", str(to)),
    "python": _python,
}


@pytest.mark.parametrize(
    "reader", ["tar", "python", pytest.param("bsdtar", marks=pytest.mark.part("bsdtar"))]
)
def test_every_reader_restores_the_tree(tree: Path, tmp_path: Path, reader: str) -> None:
    archive, to = tmp_path / "a.tar", tmp_path / "to"
    archive.write_bytes(packed(tree))
    to.mkdir()
    READERS[reader](archive, to)
    expected, found = seen(tree), seen(to)
    if reader == "bsdtar":  # takes the fraction of a negative time for a positive one
        expected[b"/large"] = (expected[b"/large"][0], -500_000_000, *expected[b"/large"][2:])
    if reader == "python":  # keeps times as floats
        for name, (_, time, *_) in expected.items():
            assert found[name][1] == pytest.approx(time, abs=1000)
        expected, found = _without_times(expected), _without_times(found)
    assert found == expected


def _without_times(entries: Seen) -> Seen:
    return {name: (mode, None, *more) for name, (mode, _, *more) in entries.items()}


def test_gnu_tar_finds_no_difference(tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(packed(tree))
    words = ["tar", "--compare", "-f", str(archive), "-C", str(tree)]
    compared = subprocess.run(words, capture_output=True, check=False)
    found = [line for line in compared.stdout.splitlines() if not line.endswith(b"id differs")]
    assert found == []  # the archive names root, and this process may be another user


def test_owners_and_set_id_bits_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"x")
    os.chmod(tmp_path / "tool", 0o6755)  # noqa: S103 - what is tested
    (tmp_path / "shared").mkdir()
    os.chmod(tmp_path / "shared", 0o3777)  # noqa: S103 - as above
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path))) as archive:
        entries = {entry.name: entry for entry in archive}
    assert {(e.uid, e.gid, e.uname, e.gname) for e in entries.values()} == {(0, 0, "", "")}
    assert entries["tool"].mode == 0o755
    assert entries["shared"].mode == 0o1777


def test_resumed_anywhere(tree: Path) -> None:
    whole = packed(tree)
    chosen = random.Random(7)
    ends = [0, 1, 511, 512, len(whole) - 1024, len(whole) - 1]
    with packing(tree) as tar:
        for start in ends + [chosen.randrange(len(whole)) for _ in range(60)]:
            assert read(tar.pieces(start)) == whole[start:]


def test_a_resumed_tar_reads_no_file_before_its_start(tmp_path: Path) -> None:
    """A resumed tar opens no file that lies before its start, and sends the rest of a large one."""
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(9 * GIB + 1)
    with packing(tmp_path) as tar:
        assert tar.size == 9 * GIB + 3 * 512 + 512 + 1024
        with tarfile.open(fileobj=io.BytesIO(read(tar.pieces(0), most=1)), mode="r:") as archive:
            assert archive.next().size == 9 * GIB + 1  # type: ignore[union-attr] # it has one
        tail = tar.pieces(9 * GIB)
        extent = next(tail)
        assert isinstance(extent, Extent)
        assert extent.start + extent.length == 9 * GIB + 1
        assert len(read(tail)) == tar.size - 9 * GIB - extent.length
        (tmp_path / "huge").unlink()
        assert read(tar.pieces(tar.size - 1024)) == bytes(1024)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(entries=st.dictionaries(NAMES, st.tuples(NAMES, TIMES), min_size=1, max_size=4))
def test_any_name_link_and_time(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[bytes, tuple[bytes, int]]
) -> None:
    top = tmp_path_factory.mktemp("any")
    here = os.fsencode(top)
    kept: dict[bytes, tuple[bytes, int]] = {}
    for name, (target, time) in entries.items():
        if name in (b".", ".."):
            continue
        os.symlink(target, here + b"/" + name)
        os.utime(here + b"/" + name, ns=(time, time), follow_symlinks=False)
        found = os.lstat(here + b"/" + name).st_mtime_ns  # what the file system made of it
        kept[name] = (target, found)
    with tarfile.open(fileobj=io.BytesIO(packed(top)), encoding="utf-8") as archive:
        for entry in archive:
            target, time = kept.pop(os.fsencode(entry.name))
            assert os.fsencode(entry.linkname) == target
            assert entry.mtime == pytest.approx(time / 10**9, abs=1e-3)
    assert kept == {}
    shutil.rmtree(top)


@pytest.mark.parametrize("seconds", [1, 10**9 - 1, 10**9, 8**11, 10**10 - 1, 10**10])
def test_a_time_begins_with_the_length_of_its_record(seconds: int) -> None:
    record = tars._time(seconds * 10**9 + 5)
    assert record == b"%d mtime=%d.000000005\n" % (len(record), seconds)


@pytest.mark.parametrize("damage", [os.unlink, lambda path: os.truncate(path, 10)])
@pytest.mark.parametrize("size", [1000, 700_000])
def test_a_changed_entry_ends_the_stream(tmp_path: Path, damage: object, size: int) -> None:
    (tmp_path / "file").write_bytes(bytes(size))
    with packing(tmp_path) as tar:
        damage(tmp_path / "file")  # type: ignore[operator] # one of the list
        with pytest.raises((plan.EntryChanged, FileNotFoundError)):
            read(tar.pieces())


def test_a_file_that_changes_while_it_is_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(700_000))
    with packing(tmp_path) as tar:
        pieces = tar.pieces()
        while not isinstance(piece := next(pieces), Extent):
            continue
        os.truncate(tmp_path / "file", 600_000)
        with pytest.raises(plan.EntryChanged):
            list(piece.read())


def test_hard_links_beyond_what_is_remembered_are_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"same")
    for name in ("b", "c"):
        os.link(tmp_path / "a", tmp_path / name)
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path))) as archive:
        assert sorted(entry.type for entry in archive) == [b"0", b"1", b"1"]
    remembered = plan.HardLinks()
    found = os.stat(tmp_path / "a")
    file = found.st_dev, found.st_ino
    first = [remembered.first(file, found.st_nlink, name) for name in (b"a", b"b", b"c", b"d")]
    assert first == [b"", b"a", b"a", b""]  # all three names were met: nothing is kept any more
