"""`format` at the archive routes: the answer to each format, and to words that are no format."""

import io
import os
import random
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.api.client.conftest import Folder
from tests.support.node import wait_for


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(
        url, headers={k.replace("_", "-"): v for k, v in headers.items()}, timeout=60
    )


@pytest.fixture
def tree(folder: Folder) -> Folder:
    folder.write("dir/a", b"a" * 1000)
    folder.write("dir/sub/large", os.urandom(700_000) + bytes(700_000))
    (folder.path / "dir/empty").mkdir()
    (folder.path / "dir/link").symlink_to("/etc/passwd")
    os.link(folder.path / "dir/a", folder.path / "dir/sub/same")
    return folder


def unpacked(data: bytes, to: Path) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(to, filter="fully_trusted")  # noqa: S202 - our own
        return sorted(archive.getnames())


@pytest.mark.parametrize("more", ["&format=tar.gz", "&format=zip-deflate", "&tolerant=true"])
def test_head_tells_no_length_where_the_answer_has_none(tree: Folder, more: str) -> None:
    for url in (tree.download("dir") + "&archive=true", tree.archive(["dir"])):
        head = requests.head(url + more, timeout=60)
        assert head.status_code == 200
        assert "Content-Length" not in head.headers, head.headers


@pytest.mark.parametrize("route", ["download", "download-archive"])
def test_a_tar_has_its_length_and_its_name(tree: Folder, tmp_path: Path, route: str) -> None:
    whole = route == "download"
    url = tree.download("dir") + "&archive=true" if whole else tree.archive(["dir"], "mine.zip")
    answer = get(url + "&format=tar")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/x-tar"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert answer.headers["Accept-Ranges"] == "bytes"
    name = "dir.tar" if whole else "mine.tar"
    assert f'filename="{name}"' in answer.headers["Content-Disposition"]
    names = ["a", "empty", "link", "sub", "sub/large", "sub/same"]
    expected = names if whole else ["dir", *(f"dir/{name}" for name in names)]
    assert unpacked(answer.content, tmp_path) == expected
    top = tmp_path if whole else tmp_path / "dir"
    assert (top / "a").samefile(top / "sub/same")
    assert (top / "link").readlink() == Path("/etc/passwd")


def test_a_tar_is_resumed_like_a_file(tree: Folder) -> None:
    url = tree.archive(["dir"]) + "&format=tar"
    whole = get(url)
    tag = whole.headers["ETag"]
    assert tag != get(tree.archive(["dir"])).headers["ETag"]
    assert get(url, If_None_Match=tag).status_code == 304
    chosen = random.Random(3)
    for start in [0, 511, len(whole.content) - 1] + [
        chosen.randrange(len(whole.content)) for _ in range(20)
    ]:
        part = get(url, Range=f"bytes={start}-", If_Range=tag)
        assert part.status_code == 206
        assert part.content == whole.content[start:]
        assert get(url, Range=f"bytes={start}-{start}").content == part.content[:1]
    assert get(url, Range=f"bytes={len(whole.content)}-").status_code == 416
    head = requests.head(url, timeout=60)
    assert head.headers["Content-Length"] == str(len(whole.content))
    tree.write("dir/a", b"b" * 1000)
    assert get(url, Range="bytes=10-", If_Range=tag).status_code == 200


def test_unknown_formats(tree: Folder) -> None:
    for url in (tree.archive(["dir"]), tree.download("dir") + "&archive=true"):
        for word in ("rar", "", "TAR", "tar.xz"):
            refused = get(f"{url}&format={word}")
            assert refused.status_code == 400
            assert refused.json()["data"].keys() == {"format"}
        assert get(url + "&format=zip").headers["Content-Type"] == "application/zip"
    assert get(tree.download("dir/a") + "&format=tar").status_code == 400
    assert get(tree.download("dir/a") + "&archive=true&format=tar").content == b"a" * 1000


PACKED = {"zip-deflate": "application/zip", "tar.gz": "application/gzip"}


@pytest.mark.parametrize("form", PACKED)
def test_packed_archives_have_no_length(tree: Folder, tmp_path: Path, form: str) -> None:
    url = tree.archive(["dir"], "mine.zip") + f"&format={form}"
    answer = get(url, Range="bytes=10-")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == PACKED[form]
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.headers["Accept-Ranges"] == "none"
    assert "Content-Length" not in answer.headers
    assert len(answer.content) < 800_000
    assert (
        f'filename="mine.{form.removesuffix("-deflate")}"' in answer.headers["Content-Disposition"]
    )
    tag = answer.headers["ETag"]
    assert tag.startswith("W/")
    assert get(url, If_None_Match=tag).status_code == 304
    assert get(url, If_Match=tag).status_code == 412  # a strong comparison of a weak tag
    head = requests.head(url, timeout=60)
    assert (head.status_code, head.headers["ETag"]) == (200, tag)
    if form == "tar.gz":
        assert "dir/sub/large" in unpacked(answer.content, tmp_path)
    else:
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            archive.extractall(tmp_path)  # noqa: S202 - our own
    large = tree.path / "dir/sub/large"
    assert (tmp_path / "dir/sub/large").read_bytes() == large.read_bytes()


@pytest.mark.parametrize("form", ["zip", "tar", *PACKED])
def test_a_change_on_the_way_ends_the_connection(tree: Folder, form: str) -> None:
    """The answer had begun: neither a length nor a last chunk says that it is complete."""
    names = [f"dir/f{number}" for number in range(40)]
    for name in names:
        tree.write(name, os.urandom(1 << 20))
    with requests.get(tree.archive(["dir"]) + f"&format={form}", stream=True, timeout=60) as answer:
        assert answer.status_code == 200
        for name in names:
            os.truncate(tree.path / name, 1 << 19)
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            assert answer.content == b"nothing"


@contextmanager
def session(log: Path) -> Iterator[None]:
    """A program that appends to a log all the time."""
    stop = threading.Event()

    def work() -> None:
        with log.open("a", buffering=1) as file:
            while not stop.is_set():
                file.write("a line\n")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        wait_for(log.exists)
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("form", ["zip", "tar", *PACKED])
def test_a_folder_with_a_log_that_grows_is_archived(tree: Folder, form: str) -> None:
    with session(tree.path / "dir/train.log"):
        for _ in range(5):
            answer = get(tree.archive(["dir"]) + f"&format={form}")
            assert answer.status_code == 200
            if form in PACKED:
                continue
            assert int(answer.headers["Content-Length"]) == len(answer.content)
    if form.startswith("zip"):
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            assert archive.read("dir/train.log").startswith(b"a line\n")
    else:
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
            found = tar.extractfile("dir/train.log")
            assert found is not None
            assert found.read().startswith(b"a line\n")


@pytest.mark.parametrize("form", ["zip", "tar", *PACKED])
@pytest.mark.parametrize("route", ["download", "download-archive"])
def test_a_tolerant_archive_has_a_report_and_no_length(tree: Folder, form: str, route: str) -> None:
    os.mkfifo(tree.path / "dir/fifo")
    whole = route == "download"
    url = tree.download("dir") + "&archive=true" if whole else tree.archive(["dir"])
    answer = get(f"{url}&format={form}&tolerant=true", Range="bytes=10-")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.headers["Accept-Ranges"] == "none"
    large = "sub/large" if whole else "dir/sub/large"
    content = (tree.path / "dir/sub/large").read_bytes()
    if form.startswith("zip"):
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            assert b"dir/fifo: " in archive.read("archive-report.txt")
            assert archive.read(large) == content
    else:
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
            for name, wanted in (("archive-report.txt", b"dir/fifo: "), (large, content)):
                found = tar.extractfile(name)
                assert found is not None
                assert wanted in found.read()
    assert get(f"{url}&format={form}&tolerant=perhaps").status_code == 400


def test_entries_that_no_archive_can_hold(tree: Folder) -> None:
    os.mkfifo(tree.path / "dir/fifo")
    refused = get(tree.archive(["dir"]) + "&format=tar")
    assert refused.status_code == 400
    assert refused.json()["paths"] == ["dir/fifo"]
