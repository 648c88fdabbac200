"""Archives through both routes, read by zipfile and unzip."""

import io
import os
import stat
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from backends.archives import Deviations, plan, reading, zips
from backends.archives.zip_records import BLOCK_BYTES, BLOCK_HEAD_BYTES
from backends.fs import native
from core.names import VFolderPath
from tests.api.client.conftest import Folder

#: A block of a large file, as it stands in a zip.
BLOCK = BLOCK_HEAD_BYTES + BLOCK_BYTES
HUGE_BYTES = (4 << 30) + 7
ROOT = [plan.Source(VFolderPath(()), "")]


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(
        url, headers={k.replace("_", "-"): v for k, v in headers.items()}, timeout=60
    )


def opened(answer: requests.Response) -> zipfile.ZipFile:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/zip"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    return archive


@pytest.fixture
def tree(folder: Folder) -> Folder:
    folder.write("dir/a", b"a" * 1000)
    folder.write("dir/sub/large", os.urandom(700_000))
    folder.write("dir/nothing", b"")
    (folder.path / "dir/empty").mkdir()
    (folder.path / "dir/link").symlink_to("/etc/passwd")
    os.chmod(folder.path / "dir/a", 0o700)
    os.utime(folder.path / "dir/a", (1_700_000_000, 1_700_000_000))
    folder.write("top", b"top")
    folder.write("ünï/q\n", b"x")
    return folder


def test_directory_is_relative_to_itself(tree: Folder) -> None:
    answer = get(tree.download("dir") + "&archive=true")
    archive = opened(answer)
    assert sorted(archive.namelist()) == ["a", "empty/", "link", "nothing", "sub/", "sub/large"]
    assert archive.read("sub/large") == (tree.path / "dir/sub/large").read_bytes()
    assert 'filename="dir.zip"' in answer.headers["Content-Disposition"]


def test_chosen_files_are_relative_to_the_vfolder(tree: Folder) -> None:
    answer = get(tree.archive(["dir/sub", "top", "dir/sub/large", "./top"], "mine ü.zip"))
    assert sorted(opened(answer).namelist()) == ["dir/sub/", "dir/sub/large", "top"]
    assert "mine%20%C3%BC.zip" in answer.headers["Content-Disposition"]
    assert 'filename="archive.zip"' in get(tree.archive(["top"])).headers["Content-Disposition"]


def test_a_file_with_archive_is_the_file(tree: Folder) -> None:
    assert get(tree.download("top") + "&archive=true").content == b"top"
    assert get(tree.download("top") + "&archive=false").content == b"top"
    assert get(tree.download("dir", archive=True)).headers["Content-Type"] == "application/zip"


def test_attributes_and_links_stay(tree: Folder, tmp_path: Path) -> None:
    archive = opened(get(tree.archive([""])))
    info = archive.getinfo("dir/a")
    assert info.external_attr >> 16 == stat.S_IFREG | 0o700
    assert info.date_time == (2023, 11, 14, 22, 13, 20)
    link = archive.getinfo("dir/link")
    assert stat.S_ISLNK(link.external_attr >> 16)
    assert archive.read("dir/link") == b"/etc/passwd"
    assert archive.read("ünï/q\n") == b"x"


@pytest.mark.part("unzip")
def test_unzip_restores_the_tree(tree: Folder, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(get(tree.archive(["dir"])).content)
    subprocess.run(["unzip", "-q", path, "-d", tmp_path / "out"], check=True)
    subprocess.run(
        ["diff", "-r", "--no-dereference", tree.path / "dir", tmp_path / "out/dir"], check=True
    )


@pytest.mark.parametrize("start", [0, 1, 29, 30, 1100, 50_000, 650_000, -1, -22, -500])
def test_resume_anywhere(tree: Folder, start: int) -> None:
    url = tree.archive(["dir"])
    whole = get(url)
    begin = start if start >= 0 else len(whole.content) + start
    part = get(url, Range=f"bytes={begin}-", If_Range=whole.headers["ETag"])
    assert part.status_code == 206
    assert part.content == whole.content[begin:]
    one = get(url, Range=f"bytes={begin}-{begin + 10}")
    assert one.content == whole.content[begin : begin + 11]


def test_a_changed_tree_is_another_archive(tree: Folder) -> None:
    url = tree.archive(["dir"])
    tag = get(url).headers["ETag"]
    assert get(url, If_None_Match=tag).status_code == 304
    tree.write("dir/a", b"b" * 1000)
    again = get(url, Range="bytes=10-", If_Range=tag)
    assert again.status_code == 200
    opened(again)


def test_head(tree: Folder) -> None:
    url = tree.archive(["dir"])
    head = requests.head(url, timeout=60)
    assert head.headers["Content-Length"] == get(url).headers["Content-Length"]


def test_entries_that_cannot_be_packed(tree: Folder) -> None:
    assert get(tree.archive(["../x"])).status_code == 400
    assert get(tree.archive(["/etc"])).status_code == 400
    assert get(tree.archive([])).status_code == 400
    assert get(tree.archive(["dir/none"])).status_code == 404
    (tree.path / "out").symlink_to("/etc")
    assert get(tree.archive(["out"])).status_code == 400
    os.mkfifo(tree.path / "dir/fifo")
    refused = get(tree.archive(["dir"]))
    assert refused.status_code == 400
    assert refused.json()["type"].endswith("storage/unsupported-file-type")
    assert refused.json()["paths"] == ["dir/fifo"]


def test_tickets(tree: Folder) -> None:
    assert get(tree.archive(["top"], exp=1)).status_code == 401
    assert get(tree.archive(["top"]) + "x").status_code == 401
    assert get(tree.archive(["top"], operation="upload")).status_code == 400
    assert get(f"{tree.door.url}/download-archive?token=x").status_code == 400
    assert get(f"{tree.door.url}/download-archive").status_code == 400
    assert get(tree.archive(["top"]) + "&cachebust=1").status_code == 200


def test_a_vanished_entry_ends_the_connection(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"f{number}").write_bytes(bytes(200_000))
    top = os.open(tmp_path, os.O_RDONLY)
    planned = plan.make(top, ROOT)
    pieces = zips.StoredZip(top, planned).pieces()
    next(pieces)
    for number in range(50):
        (tmp_path / f"f{number}").unlink()
    with pytest.raises(OSError, match="No such file"):
        list(pieces)
    planned.close()
    os.close(top)


def test_a_changed_entry_ends_the_stream(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"12345")
    (tmp_path / "large").write_bytes(bytes(1 << 20))
    for name in ("small", "large"):
        top = os.open(tmp_path, os.O_RDONLY)
        planned = plan.make(top, ROOT)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
        with pytest.raises(plan.EntryChanged):
            list(zips.StoredZip(top, planned).pieces())
        planned.close()
        os.close(top)


@pytest.fixture
def holes() -> Iterator[Path]:
    """A directory in memory: there, to read a hole costs nothing."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


def test_large_archives_are_zip64(tmp_path: Path, holes: Path) -> None:
    """Sparse 4 GiB, and more than 65,535 entries: lengths exact, zipfile reads the directory."""
    with (holes / "huge").open("wb") as file:
        file.truncate(HUGE_BYTES)
    many = holes / "many"
    many.mkdir()
    for number in range(66_000):
        os.close(os.open(f"{many}/{number}", os.O_CREAT))
    top = os.open(holes, os.O_RDONLY)
    planned = plan.make(top, ROOT)
    archive = zips.StoredZip(top, planned)
    out = tmp_path.with_suffix(".zip")
    size, zeros = 0, bytes(BLOCK_BYTES)
    with out.open("wb") as file:
        for piece in archive.pieces():
            assert isinstance(piece, bytes)
            size += len(piece)
            for at in range(0, len(piece), BLOCK):
                file.write(piece[at : at + BLOCK_HEAD_BYTES])
                rest = piece[at + BLOCK_HEAD_BYTES : at + BLOCK]
                if rest == zeros:
                    file.seek(len(rest), os.SEEK_CUR)
                else:
                    file.write(rest)
    assert size == archive.size == out.stat().st_size
    with zipfile.ZipFile(out) as read:
        assert len(read.namelist()) == 66_002
        assert read.getinfo("huge").file_size == HUGE_BYTES
        assert read.read("many/65999") == b""
    out.unlink()
    planned.close()
    os.close(top)


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.bin")).write_bytes(b"x")
    top = os.open(tmp_path, os.O_RDONLY)
    planned = plan.make(top, ROOT)
    data = b"".join(zips.StoredZip(top, planned).pieces())
    with zipfile.ZipFile(io.BytesIO(data)) as read:
        [info] = read.infolist()
    assert info.filename.encode("cp437") == b"\xff.bin"
    assert not info.flag_bits & 0x800
    planned.close()
    os.close(top)


@pytest.mark.parametrize("in_c", [True, False] if native.AVAILABLE else [False])
def test_many_files_in_one_call(tmp_path: Path, in_c: bool) -> None:  # noqa: FBT001 - a parameter of the test
    for number in range(50):
        (tmp_path / f"f{number}").write_bytes(os.urandom(number * 100))
    top = os.open(tmp_path, os.O_RDONLY)
    planned = plan.make(top, ROOT)
    [batch] = planned.batches()
    contents = reading.read_files(top, batch, batch.entries, Deviations(), in_c=in_c)
    for entry, content in zip(batch.entries, contents, strict=True):
        assert content == (tmp_path / os.fsdecode(entry.name)).read_bytes()
    for damage in (lambda path: os.truncate(path, 10), os.unlink):
        damage(tmp_path / "f30")
        with pytest.raises((plan.EntryChanged, FileNotFoundError)):
            reading.read_files(top, batch, batch.entries, Deviations(), in_c=in_c)
    planned.close()
    os.close(top)
