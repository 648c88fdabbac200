"""A folder as one upload: sent by tus, unpacked by a real worker, complete or absent."""

import base64
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from core.settings import load
from tests.api.client.conftest import ClientDoor, Folder
from tests.support.doors import running_door
from tests.support.node import wait_for
from tests.support.worker import running_worker

TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture(scope="module")
def worker(door: ClientDoor) -> Iterator[int]:
    with running_worker(load(door.directory / "storage-proxy.toml", {})) as pid:
        yield pid


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that people keep in folders."""
    top = tmp_path_factory.mktemp("tree") / "data"
    (top / "sub/deep").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "a").write_bytes(b"a" * 1000)
    (top / "nothing").touch()
    (top / "sub/big").write_bytes(os.urandom(3 << 20))
    (top / "sub/deep/ünï q").write_bytes(b"x")
    (top / os.fsdecode(b"\xff")).write_bytes(b"not utf-8")
    (top / "sub/link").symlink_to("../a")
    os.link(top / "a", top / "sub/same")
    os.chmod(top / "a", 0o741)
    os.utime(top / "a", (1_700_000_000, 1_700_000_000))
    return top


def packed(tree: Path, form: str) -> bytes:
    words = ["tar", "-c", *(["-z"] if form == "tar.gz" else []), "-f", "-", "-C", str(tree), "."]
    return subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout


def meta(**words: str) -> str:
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in words.items())


def create(folder: Folder, size: int, **words: str) -> requests.Response:
    url = folder.upload("base", 1 << 40, tree=True)
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": meta(**words)}
    return requests.post(url, headers=headers, timeout=60)


def send(folder: Folder, data: bytes, **words: str) -> str:
    """Upload an archive, cut once in the middle; return the URL of the upload."""
    made = create(folder, len(data), **words)
    assert made.status_code == 201, made.text
    url = urljoin(folder.door.url + "/upload", made.headers["Location"])
    half = len(data) // 2
    for start, end in ((0, half), (half, len(data))):
        answer = requests.patch(
            url,
            data=data[start:end],
            headers={
                **TUS,
                "Content-Type": "application/offset+octet-stream",
                "Upload-Offset": str(start),
            },
            timeout=60,
        )
        assert answer.status_code == 204, answer.text
    assert answer.headers["Upload-Job"]
    return url


def ended(url: str) -> str:
    """The state in which the job of an upload ended."""

    def look() -> str:
        found = requests.head(url, headers=TUS, timeout=60)
        assert found.status_code == 200
        assert found.headers["Upload-Offset"] == found.headers["Upload-Length"]
        state = found.headers["Upload-Job-State"]
        return state if state in ("succeeded", "failed", "cancelled") else ""

    return wait_for(look, 60)


def left(folder: Folder) -> list[Path]:
    """The files in our hidden directories."""
    assert folder.id.scope
    hidden = folder.door.backend.mount.path / folder.id.scope.directory / ".vfolder"
    rooms = [hidden / room for room in ("uploads", "staging")]
    return [path for room in rooms if room.exists() for path in room.iterdir()]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("form", ["tar", "tar.gz"])
def test_a_folder_as_one_object(folder: Folder, tree: Path, form: str) -> None:
    data = packed(tree, form)
    digest = hashlib.sha256(data).hexdigest()
    url = send(folder, data, relativePath="new/dir", extract="tar", sha256=digest)
    assert ended(url) == "succeeded"
    made = folder.path / "base/new/dir"
    subprocess.run(["diff", "-r", "--no-dereference", tree, made], check=True)
    found = (made / "a").stat()
    assert (found.st_mode & 0o777, found.st_mtime) == (0o741, 1_700_000_000)
    assert (made / "sub/same").samefile(made / "a")
    assert left(folder) == []


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("form", ["zip", "tar", "zip-deflate", "tar.gz"])
def test_a_downloaded_archive_can_be_uploaded(folder: Folder, tree: Path, form: str) -> None:
    """Our own archive of a folder unpacks to the same folder."""
    subprocess.run(["cp", "-a", tree, folder.path / "dir"], check=True)
    data = requests.get(folder.archive(["dir"]) + f"&format={form}", timeout=60).content
    extract = form.partition("-")[0].partition(".")[0]
    assert ended(send(folder, data, filename="again", extract=extract)) == "succeeded"
    again = folder.path / "base/again/dir"
    subprocess.run(["diff", "-r", "--no-dereference", tree, again], check=True)
    if extract == "tar":
        assert (again / "sub/same").samefile(again / "a")


@pytest.mark.usefixtures("worker")
def test_a_zip_of_python(folder: Folder, tree: Path, tmp_path: Path) -> None:
    made = shutil.make_archive(str(tmp_path / "packed"), "zip", tree / "sub/deep")
    url = send(folder, Path(made).read_bytes(), filename="z", extract="zip")
    assert ended(url) == "succeeded"
    subprocess.run(["diff", "-r", tree / "sub/deep", folder.path / "base/z"], check=True)


@pytest.mark.usefixtures("worker")
def test_an_archive_that_is_there_already(folder: Folder, tree: Path) -> None:
    """By the job API, without an upload: the archive stays."""
    folder.write("packed.tar", packed(tree, "tar"))
    settings = load(folder.door.directory / "storage-proxy.toml", {})
    body = {"verb": "extract", "volume": "local", "vfolder": str(folder.id), "archive": "tar"}
    body |= {"source": "packed.tar", "target": "unpacked"}
    with running_door("manager", settings) as manager:
        url = manager.call("POST", "/v1/jobs", body).headers["Location"]
        wait_for(lambda: manager.call("GET", url).json()["done"])
        job = manager.call("GET", url).json()
        assert job["state"] == "succeeded", job
        assert manager.call("POST", "/v1/jobs", body).status_code == 409
        refused = manager.call("POST", "/v1/jobs", body | {"target": "."})
        assert refused.status_code == 400
    subprocess.run(["diff", "-r", "--no-dereference", tree, folder.path / "unpacked"], check=True)
    assert (folder.path / "packed.tar").exists()


@pytest.mark.usefixtures("worker")
def test_a_broken_archive_leaves_nothing(folder: Folder, tree: Path) -> None:
    whole = packed(tree, "tar")
    url = send(folder, whole[: len(whole) // 3 * 2], filename="f", extract="tar")
    assert ended(url) == "failed"
    assert not (folder.path / "base").exists()
    assert left(folder) == []


def test_refused_at_once(folder: Folder) -> None:
    folder.write("base/there/x", b"x")
    for words in ({"extract": "rar"}, {"extract": "tar", "filename": "../x"}):
        refused = create(folder, 10, **{"filename": "f", **words})
        assert refused.status_code == 400, refused.text
    assert create(folder, 0, filename="f", extract="zip").status_code == 400
    assert create(folder, 10, filename="there", extract="zip").status_code == 409
    assert left(folder) == []


@pytest.mark.usefixtures("worker")
def test_parts_become_one_folder(folder: Folder, tree: Path) -> None:
    data = packed(tree, "tar")
    url = folder.upload("base", 1 << 40, tree=True)
    parts = []
    for start in range(0, len(data), 1 << 20):
        piece = data[start : start + (1 << 20)]
        headers = {**TUS, "Upload-Length": str(len(piece)), "Upload-Concat": "partial"}
        headers["Content-Type"] = "application/offset+octet-stream"
        headers["Upload-Metadata"] = meta(filename="whole")
        made = requests.post(url, data=piece, headers=headers, timeout=60)
        parts.append(urljoin(url, made.headers["Location"]))
    headers = {**TUS, "Upload-Concat": f"final;{' '.join(parts)}"}
    headers["Upload-Metadata"] = meta(filename="whole", extract="tar")
    made = requests.post(url, headers=headers, timeout=60)
    assert made.status_code == 201, made.text
    assert ended(urljoin(url, made.headers["Location"])) == "succeeded"
    subprocess.run(["diff", "-r", "--no-dereference", tree, folder.path / "base/whole"], check=True)
    assert left(folder) == []
