"""Compressed archives: every reader finds the tree in them, also one that reads a pipe."""

import io
import os
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.archives import Piece, plan
from backends.archives.deflated import GzippedTar, StreamedZip
from backends.archives.pieces import Archive
from backends.archives.plan import Plan
from core.names import VFolderPath

ROOT = [plan.Source(VFolderPath(()), "")]
GIB = 1 << 30
CONTENTS = st.one_of(
    st.binary(max_size=2000),
    st.builds(
        lambda data, times: data * times, st.binary(min_size=1, max_size=9), st.integers(1, 99)
    ),
    st.builds(os.urandom, st.integers(0, 300_000)),
    st.builds(bytes, st.integers(0, 600_000)),
)


@contextmanager
def packing(top: Path, kind: Callable[[int, Plan], Archive]) -> Iterator[Iterator[Piece]]:
    descriptor = os.open(top, os.O_RDONLY)
    planned = plan.make(descriptor, ROOT)
    try:
        archive = kind(descriptor, planned)
        assert archive.size is None
        yield archive.pieces()
    finally:
        planned.close()
        os.close(descriptor)


def packed(top: Path, kind: Callable[[int, Plan], Archive]) -> bytes:
    with packing(top, kind) as pieces:
        return b"".join(piece for piece in pieces if isinstance(piece, bytes))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("packed") / "tree"
    (top / "sub/empty").mkdir(parents=True)
    (top / "text").write_bytes(b"one line and another\n" * 3000)
    (top / "nothing").touch()
    (top / "short").write_bytes(b"x")
    (top / "sub/large text").write_bytes(bytes(range(256)) * 8000)
    (top / "sub/first noise").write_bytes(os.urandom(400_000) + bytes(400_000))
    (top / "sub/large noise").write_bytes(os.urandom(900_000))
    (top / "sub/ünï q").write_bytes(b"y" * 100)
    (top / "link").symlink_to("text " * 30)
    os.chmod(top / "text", 0o741)
    return top


def differences(one: Path, other: Path) -> bytes:
    words = ["diff", "-r", "--no-dereference", str(one), str(other)]
    return subprocess.run(words, capture_output=True, check=False).stdout


def test_python_reads_the_zip(tree: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(packed(tree, StreamedZip))) as archive:
        assert archive.testzip() is None
        entries = {entry.filename: entry for entry in archive.infolist()}
        assert archive.read("sub/large text") == (tree / "sub/large text").read_bytes()
    assert {name for name, entry in entries.items() if entry.compress_type} == {
        "text",
        "sub/large text",
        "sub/large noise",
        "sub/first noise",
        "sub/ünï q",
    }
    assert entries["sub/large text"].compress_size < 40_000
    assert stat.S_IMODE(entries["text"].external_attr >> 16) == 0o741
    assert stat.S_ISLNK(entries["link"].external_attr >> 16)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["unzip", "-q", "a.zip", "-d", "to"], marks=pytest.mark.part("unzip")),
        pytest.param(["bsdtar", "-xf", "a.zip", "-C", "to"], marks=pytest.mark.part("bsdtar")),
        pytest.param(
            ["sh", "-c", "cat a.zip | bsdtar -xf - -C to"], marks=pytest.mark.part("bsdtar")
        ),
    ],
)
def test_other_readers_restore_the_tree(tree: Path, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "a.zip").write_bytes(packed(tree, StreamedZip))
    (tmp_path / "to").mkdir()
    environ = {**os.environ, "LC_ALL": "C.UTF-8"}  # unzip needs it for the name «ü»
    subprocess.run(words, cwd=tmp_path, env=environ, check=True, capture_output=True)
    found = differences(tree, tmp_path / "to")
    if words[0] == "sh":  # the end says what is a link; a pipe has not shown it yet
        found = b"".join(
            line for line in found.splitlines(keepends=True) if b"/link is" not in line
        )
    assert found == b""


def test_tar_reads_the_gzipped_tar(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(packed(tree, GzippedTar))
    subprocess.run(["gzip", "-t", "a.tar.gz"], cwd=tmp_path, check=True)
    (tmp_path / "to").mkdir()
    subprocess.run(["tar", "-xzf", "a.tar.gz", "-C", "to"], cwd=tmp_path, check=True)
    assert differences(tree, tmp_path / "to") == b""


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(contents=st.lists(CONTENTS, min_size=1, max_size=5))
def test_any_content(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    top = tmp_path_factory.mktemp("any")
    for number, content in enumerate(contents):
        (top / f"{number}").write_bytes(content)
    with zipfile.ZipFile(io.BytesIO(packed(top, StreamedZip))) as archive:
        found = [archive.read(f"{number}") for number in range(len(contents))]  # checks the CRC
        assert found == contents
        assert all(entry.compress_size <= entry.file_size + 400 for entry in archive.infolist())
    with tarfile.open(fileobj=io.BytesIO(packed(top, GzippedTar)), mode="r:gz") as tar:
        assert sorted(entry.size for entry in tar) == sorted(map(len, contents))
    shutil.rmtree(top)


@pytest.mark.parametrize("kind", [StreamedZip, GzippedTar])
@pytest.mark.parametrize("size", [1000, 700_000])
def test_a_changed_entry_ends_the_stream(
    tmp_path: Path, kind: Callable[[int, Plan], Archive], size: int
) -> None:
    (tmp_path / "file").write_bytes(bytes(size))
    with packing(tmp_path, kind) as pieces:
        os.truncate(tmp_path / "file", size - 1)
        with pytest.raises(plan.EntryChanged):
            list(pieces)


@pytest.mark.parametrize("kind", [StreamedZip, GzippedTar])
def test_pieces_come_while_no_byte_comes_out(
    tmp_path: Path, kind: Callable[[int, Plan], Archive]
) -> None:
    """Empty pieces let the thread serve other requests."""
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(32 << 20)
    with packing(tmp_path, kind) as pieces:
        sizes = [len(piece) for piece in pieces]
    assert len(sizes) >= 32 << 2
    assert max(sizes) <= 64 << 10


@pytest.mark.slow
def test_wide_entries_are_zip64(tmp_path: Path) -> None:
    """From a little below 4 GiB sizes are written with 64 bits, and readers accept that."""
    for name, size in (("might not fit", 0xFF00_0000), ("z", 1)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    data = packed(tmp_path, StreamedZip)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        wide = archive.getinfo("might not fit")
        assert wide.file_size == 0xFF00_0000
        assert archive.read("z") == b"\0"
    name, extra = struct.unpack_from("<2H", data, wide.header_offset + 26)
    assert struct.unpack_from("<2L", data, wide.header_offset + 18) == (0xFFFF_FFFF, 0xFFFF_FFFF)
    behind = wide.header_offset + 30 + name + extra + wide.compress_size
    found = struct.unpack_from("<4sL2Q", data, behind)
    assert found == (b"PK\x07\x08", wide.CRC, wide.compress_size, wide.file_size)
