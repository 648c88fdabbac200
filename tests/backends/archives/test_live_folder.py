"""Archives of a folder in which others work."""

import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from backends.archives import FORMATS, Deviations, plan
from backends.archives.deviations import REPORT_NAME
from backends.archives.pieces import Extent, Piece
from backends.fs import directory
from backends.fs.native import Detail, Details, MakeFile
from core.errors import StorageError
from core.names import VFolderPath

ROOT = [plan.Source(VFolderPath(()), "")]
SMALL, LARGE = 1_000, 700_000
REPORT = REPORT_NAME.decode()


class Archiving:
    """An archive that is planned; what others do comes before its pieces are taken."""

    def __init__(self, top: Path, form: str, *, tolerant: bool = False) -> None:
        self._fd = os.open(top, os.O_RDONLY)
        self.met = Deviations(tolerant=tolerant)
        leave_out = self.met.add if tolerant else None
        self._plan = plan.make(self._fd, ROOT, leave_out=leave_out)
        self.archive = FORMATS[form].make(self._fd, self._plan, self.met)

    def data(self, between: Callable[[], object] = lambda: None) -> bytes:
        """Return all bytes; `between` runs when the first piece was made."""
        parts: list[bytes] = []
        for piece in self.archive.pieces():
            parts += piece.read() if isinstance(piece, Extent) else [piece]
            between()
        data = b"".join(parts)
        assert self.archive.size in (None, len(data))
        return data

    def close(self) -> None:
        self._plan.close()
        self.met.close()
        os.close(self._fd)


@contextmanager
def archiving(top: Path, form: str, *, tolerant: bool = False) -> Iterator[Archiving]:
    made = Archiving(top, form, tolerant=tolerant)
    yield made
    made.close()


def contents(form: str, data: bytes) -> dict[str, bytes]:
    if form.startswith("zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {}
        for entry in archive:
            file = archive.extractfile(entry)
            found[entry.name] = file.read() if file else b""
        return found


@pytest.fixture
def top(tmp_path: Path) -> Path:
    place = tmp_path / "folder"
    (place / "sub").mkdir(parents=True)
    for name, size in (("small", SMALL), ("large", LARGE), ("sub/other", 10)):
        (place / name).write_bytes(b"x" * size)
    return place


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("name", ["small", "large"])
def test_a_file_that_grows_has_its_planned_length(
    top: Path, form: str, name: str, *, tolerant: bool
) -> None:
    with archiving(top, form, tolerant=tolerant) as made:
        with (top / name).open("ab") as file:
            file.write(b"y" * 100)
        found = contents(form, made.data())
        assert made.met.count == 1
        assert made.met.examples == [name]
    assert found[name] == b"x" * (SMALL if name == "small" else LARGE)
    assert (REPORT in found) == tolerant
    assert len(found["sub/other"]) == 10


@pytest.mark.parametrize("form", FORMATS)
def test_a_large_file_that_grows_while_it_is_sent_is_named(top: Path, form: str) -> None:
    def grow() -> None:
        with (top / "large").open("ab") as file:
            file.write(b"y")

    with archiving(top, form) as made:
        found = contents(form, made.data(grow))
        assert made.met.examples == ["large"]
    assert found["large"] == b"x" * LARGE


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["small", "large"])
def test_a_small_change_while_it_is_read_is_sent_as_met(top: Path, form: str, name: str) -> None:
    """The same length, other bytes: what is there is sent, with the checksum of just that."""
    with archiving(top, form) as made:
        (top / name).write_bytes(b"z" * (top / name).stat().st_size)
        found = contents(form, made.data())
        assert made.met.examples == [name]
    assert set(found[name]) == set(b"z")


def shrunk(path: Path) -> None:
    os.truncate(path, 10)


def replaced(path: Path) -> None:
    draft = path.with_name("draft")
    draft.write_bytes(b"n" * (path.stat().st_size + 50))
    draft.rename(path)


def to_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def without_its_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


DAMAGES: dict[str, tuple[Callable[[Path], object], bytes | None]] = {
    "shrunk": (shrunk, b"x" * 10),
    "replaced": (replaced, b"n"),
    "removed": (Path.unlink, None),
    "directory": (to_directory, None),
    "link": (to_link, None),
    "fifo": (to_fifo, None),
    "without": (without_its_directory, None),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_tolerant_archive_is_whole_and_names_what_it_lacks(
    top: Path, form: str, damage: str, size: int
) -> None:
    change, left = DAMAGES[damage]
    (top / "deep").mkdir()
    victim = top / "deep/victim"
    victim.write_bytes(b"x" * size)
    with archiving(top, form) as strict:
        with archiving(top, form, tolerant=True) as made:
            change(victim)
            found = contents(form, made.data())
        with pytest.raises((StorageError, OSError)):
            strict.data()
    assert found["large"] == b"x" * LARGE
    assert found["sub/other"] == b"x" * 10
    assert b"deep/victim: " in found[REPORT]
    if left is None:
        assert "deep/victim" not in found
    else:
        assert found["deep/victim"].startswith(left)
    if damage == "replaced":
        assert found["deep/victim"] == b"n" * (size + 50), "it is whole"


@pytest.mark.parametrize("form", ["zip", "zip-deflate"])
def test_a_tolerant_zip_stays_whole_when_a_file_shrinks_while_it_is_sent(
    top: Path, form: str
) -> None:
    (top / "large").write_bytes(os.urandom(2_000_000))
    (top / "large").rename(top / "sub/large")
    start = (top / "sub/large").read_bytes()

    def cut() -> None:
        os.truncate(top / "sub/large", 400_000)

    with archiving(top, form, tolerant=True) as made:
        seen = 0
        parts: list[bytes] = []
        pieces: Iterator[Piece] = made.archive.pieces()
        for piece in pieces:
            assert isinstance(piece, bytes)
            parts.append(piece)
            seen += len(piece)
            if seen > 300_000:
                cut()
        found = contents(form, b"".join(parts))
    assert start.startswith(found["sub/large"])
    assert len(found["sub/large"]) < 2_000_000
    assert b"sub/large: " in found[REPORT]


@pytest.mark.parametrize("form", ["zip", "zip-deflate"])
def test_a_large_file_that_is_emptied_before_its_turn_has_an_end(top: Path, form: str) -> None:
    """Readers find the end of content in its last block, also of content without bytes."""
    with archiving(top, form, tolerant=True) as made:
        os.truncate(top / "large", 0)
        data = made.data()
    assert contents(form, data)["large"] == b""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entry = archive.getinfo("large")
    name, extra = struct.unpack_from("<2H", data, entry.header_offset + 26)
    packer = zlib.decompressobj(-15)
    packer.decompress(data[entry.header_offset + 30 + name + extra :][: entry.compress_size])
    assert packer.eof


@pytest.mark.parametrize("form", FORMATS)
def test_what_no_archive_can_have_is_left_out_of_a_tolerant_one(top: Path, form: str) -> None:
    os.mkfifo(top / "fifo")
    (top / REPORT).write_text("mine")
    with pytest.raises(plan.UnsupportedEntry), archiving(top, form):
        pass
    with archiving(top, form, tolerant=True) as made:
        found = contents(form, made.data())
    assert "fifo" not in found
    assert found[REPORT] == b"mine"
    assert b"fifo: " in found[f"-{REPORT}"]


@pytest.mark.parametrize("form", FORMATS)
def test_a_tolerant_archive_without_changes_has_no_report(top: Path, form: str) -> None:
    os.link(top / "small", top / "sub/same")
    with archiving(top, form, tolerant=True) as made:
        found = contents(form, made.data())
    assert set(found) - {"sub", "sub/"} == {"small", "large", "sub/other", "sub/same"}
    assert found["sub/same"] == found["small"]


def test_what_vanishes_while_it_is_listed_is_not_planned(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = directory._details

    def vanishing(entries: list["os.DirEntry[str]"]) -> Details[Detail]:
        shutil.rmtree(top / "sub")
        (top / "small").unlink()
        return looked_at(entries)

    monkeypatch.setattr(directory, "_details", vanishing)
    slow = partial(directory.files_and_details, in_c=False)
    monkeypatch.setattr(plan, "files_and_details", slow)
    with archiving(top, "zip") as made:
        assert set(contents("zip", made.data())) == {"large"}


def test_a_link_that_a_file_replaces_while_it_is_listed_is_not_planned(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "link").symlink_to("small")

    def replacing(
        descriptor: int, make: MakeFile[plan.ArchiveEntry], longest: int
    ) -> Iterator[Details[plan.ArchiveEntry | Detail]]:
        for found, failed in directory.files_and_details(descriptor, make, longest):
            modes = {one[0]: one[1] for one in found if isinstance(one, tuple)}
            if b"link" in modes:
                assert stat.S_ISLNK(modes[b"link"]), "it is a link up to here"
                (top / "link").unlink()
                (top / "link").write_text("no link")
            yield found, failed

    monkeypatch.setattr(plan, "files_and_details", replacing)
    with archiving(top, "zip") as made:
        assert "link" not in contents("zip", made.data())
