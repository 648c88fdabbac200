"""Acts on entries: they act on links themselves, stay inside, and never replace a directory."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.doors import RunningDoor
from tests.support.trees import snapshot


@pytest.fixture
def outside(root: Path) -> Path:
    """Where `link-up` leads: beside the quota scopes."""
    return root.parents[3] / "outside"


@pytest.mark.parametrize(
    ("source", "target", "then"),
    [
        ("a.txt", "b.txt", "b.txt"),
        ("a.txt", "dir", "dir/a.txt"),
        ("a.txt", "dir/", "dir/a.txt"),
        ("a.txt", "link-dir", "dir/a.txt"),
        ("a.txt", "empty", "empty"),
        ("a.txt", "dangling", "dangling"),
        ("dir/b.txt", ".", "b.txt"),
        ("dir", "new", "new/b.txt"),
        ("fifo", "moved-fifo", "moved-fifo"),
        ("./a.txt", "dir//sub/", "dir/sub/a.txt"),
    ],
)
def test_move(  # noqa: PLR0917 - the table's columns
    manager: RunningDoor, vfid: str, root: Path, source: str, target: str, then: str
) -> None:
    content = (root / source).read_text() if (root / source).is_file() else None
    body = {"volume": "local", "vfid": vfid, "src_relpath": source, "dst_relpath": target}
    assert manager.call("POST", "/folder/file/move", body).status_code == 204
    assert not os.path.lexists(root / source)
    assert os.path.lexists(root / then)
    if content is not None:
        assert (root / then).read_text() == content


@pytest.mark.parametrize("link", ["link-in", "link-dir", "link-out", "link-up", "dangling", "loop"])
def test_a_link_is_moved_itself(
    manager: RunningDoor, vfid: str, root: Path, outside: Path, link: str
) -> None:
    before, text = snapshot(outside), os.readlink(root / link)
    body = {"volume": "local", "vfid": vfid, "src_relpath": link, "dst_relpath": "moved"}
    assert manager.call("POST", "/folder/file/move", body).status_code == 204
    assert os.readlink(root / "moved") == text
    renamed = {"volume": "local", "vfid": vfid, "relpath": "moved", "new_name": "renamed"}
    assert manager.call("POST", "/folder/file/rename", renamed).status_code == 204
    assert os.readlink(root / "renamed") == text
    gone = {"volume": "local", "vfid": vfid, "relpaths": ["renamed"], "recursive": True}
    assert manager.call("POST", "/folder/file/delete", gone).status_code == 200
    assert not os.path.lexists(root / "renamed")
    assert (root / "dir" / "b.txt").read_text() == "beta"
    assert snapshot(outside) == before


@pytest.mark.parametrize(
    ("source", "target", "number"),
    [
        ("nothing", "x", 2),
        ("a.txt", "no/such/place", 2),
        ("dir", "dir/sub", None),
        ("a.txt", "a.txt/below", 20),
        ("a.txt", "link-out/x", None),
        ("a.txt", "link-up/x", None),
        ("link-up/secret", "stolen", None),
        ("link-out/passwd", "stolen", None),
        (".", "x", 16),
        ("a.txt", "../x", None),
        ("a.txt", "/srv/x", None),
        ("a\0b", "x", None),
        ("x" * 256, "x", None),
    ],
)
def test_move_refuses_and_changes_nothing(  # noqa: PLR0917 - the table's columns
    manager: RunningDoor,
    vfid: str,
    root: Path,
    outside: Path,
    source: str,
    target: str,
    number: int | None,
) -> None:
    before = snapshot(root), snapshot(outside)
    body = {"volume": "local", "vfid": vfid, "src_relpath": source, "dst_relpath": target}
    response = manager.call("POST", "/folder/file/move", body)
    assert response.status_code == 400
    assert str(root.parents[3]) not in response.text
    if number:
        assert response.json()["errno"] == number
    assert (snapshot(root), snapshot(outside)) == before


@pytest.mark.parametrize(
    ("source", "target", "wrong", "words"),
    [
        ("nothing", "x", "nothing", "does not exist"),
        ("nothing", "no/such/place", "nothing", "does not exist"),
        ("a.txt/below", "x", "a.txt/below", "is not a directory"),
        ("a.txt", "no/such/place", "no/such/place", "does not exist"),
        ("a.txt", "empty/below", "empty/below", "is not a directory"),
        ("dir", "dir/sub", "dir/sub", "into itself"),
        ("dir", "dir/new", "dir/new", "into itself"),
        ("dir", "link-dir", "link-dir", "into itself"),
        ("dir", "a.txt", "a.txt", "exists"),
    ],
)
def test_a_move_blames_the_path_that_is_wrong(  # noqa: PLR0917 - the table's columns
    manager: RunningDoor, vfid: str, root: Path, source: str, target: str, wrong: str, words: str
) -> None:
    before = snapshot(root)
    body = {"volume": "local", "vfid": vfid, "src_relpath": source, "dst_relpath": target}
    problem = manager.call("POST", "/folder/file/move", body).json()
    assert (problem["status"], problem["paths"]) == (400, [wrong])
    assert words in problem["detail"]
    assert snapshot(root) == before


def test_nothing_replaces_a_directory(manager: RunningDoor, vfid: str, root: Path) -> None:
    (root / "other" / "dir").mkdir(parents=True)
    (root / "file-dir").mkdir()
    before = snapshot(root)
    for source, target in (("dir", "other"), ("other/dir", ".")):
        body = {"volume": "local", "vfid": vfid, "src_relpath": source, "dst_relpath": target}
        response = manager.call("POST", "/folder/file/move", body)
        assert response.status_code == 400, (source, target)
        assert response.json()["errno"] == 17
    for path, name in (("a.txt", "file-dir"), ("dir", "file-dir"), ("dir", "a.txt")):
        body = {"volume": "local", "vfid": vfid, "relpath": path, "new_name": name}
        assert manager.call("POST", "/folder/file/rename", body).status_code == 400, (path, name)
    assert snapshot(root) == before


@pytest.mark.parametrize("name", ["a/b", "..", ".", "/x", "x/", "", "a\0b", "x" * 256, "\ud800"])
def test_new_name_is_one_name(manager: RunningDoor, vfid: str, root: Path, name: str) -> None:
    before = snapshot(root)
    body = {"volume": "local", "vfid": vfid, "relpath": "a.txt", "new_name": name, "is_dir": False}
    assert manager.call("POST", "/folder/file/rename", body).status_code == 400
    assert snapshot(root) == before


def test_rename_replaces_a_file(manager: RunningDoor, vfid: str, root: Path) -> None:
    body = {"volume": "local", "vfid": vfid, "relpath": "a.txt", "new_name": "dir"}
    assert manager.call("POST", "/folder/file/rename", body).json()["paths"] == ["dir"]
    body = {"volume": "local", "vfid": vfid, "relpath": "dir/../a.txt", "new_name": "empty"}
    assert manager.call("POST", "/folder/file/rename", body).status_code == 204
    assert (root / "empty").read_text() == "alpha"


def test_delete_skips_and_removes(manager: RunningDoor, vfid: str, root: Path) -> None:
    body = {"volume": "local", "vfid": vfid, "relpaths": ["nothing", "dir", "a.txt", "dir/no/x"]}
    assert manager.call("POST", "/folder/file/delete", body).json() == {"status": "ok"}
    assert not (root / "a.txt").exists()
    assert (root / "dir").is_dir()
    for index in range(300):
        (root / "dir" / f"deep{index}" / "er").mkdir(parents=True)
        (root / "dir" / f"deep{index}" / "to-outside").symlink_to("/etc")
    assert manager.call("POST", "/folder/file/delete", {**body, "recursive": True}).ok
    assert not (root / "dir").exists()
    assert os.listdir(root.parents[2] / ".vfolder" / "trash") == []


@pytest.mark.parametrize(
    "paths", [["."], [""], ["a.txt", "./"], ["a.txt", ".."], ["a.txt", "/x"], ["link-up/secret"]]
)
def test_delete_refuses_and_changes_nothing(
    manager: RunningDoor, vfid: str, root: Path, outside: Path, paths: list[str]
) -> None:
    before = snapshot(root), snapshot(outside)
    body = {"volume": "local", "vfid": vfid, "relpaths": paths, "recursive": True}
    response = manager.call("POST", "/folder/file/delete", body)
    assert response.status_code == 400
    assert (snapshot(root), snapshot(outside)) == before


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a.txt", b"alpha"),
        ("./a.txt", b"alpha"),
        ("link-in", b"beta"),
        ("link-dir/b.txt", b"beta"),
        ("empty", b""),
        ("nothing", b""),
        ("dir", b""),
        (".", b""),
        ("fifo", b""),
        ("socket", b""),
        ("dangling", b""),
    ],
)
def test_fetch(manager: RunningDoor, vfid: str, root: Path, path: str, content: bytes) -> None:
    body = {"volume": "local", "vfid": vfid, "relpath": path}
    response = manager.call("POST", "/folder/file/fetch", body)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.content == content


@pytest.mark.parametrize("path", ["link-out/passwd", "link-up/secret", "loop", "../x"])
def test_fetch_stays_inside(manager: RunningDoor, vfid: str, root: Path, path: str) -> None:
    body = {"volume": "local", "vfid": vfid, "relpath": path}
    assert manager.call("POST", "/folder/file/fetch", body).status_code == 400


def test_fetch_streams_more_than_memory_holds_at_a_time(
    manager: RunningDoor, vfid: str, root: Path
) -> None:
    content = os.urandom(5 * 1024 * 1024 + 1)
    (root / "big").write_bytes(content)
    body = {"volume": "local", "vfid": vfid, "relpath": "big"}
    assert manager.call("POST", "/folder/file/fetch", body).content == content


def test_fetch_of_absent_places_is_empty(manager: RunningDoor, vfid: str) -> None:
    for volume in ("local", "nowhere"):
        body = {"volume": volume, "vfid": vfid, "relpath": "x"}
        response = manager.call("POST", "/folder/file/fetch", body)
        assert (response.status_code, response.content) == (200, b"")


def test_metadata_is_kept(manager: RunningDoor, vfid: str, root: Path) -> None:
    body = {"volume": "local", "vfid": vfid}
    assert manager.call("GET", "/folder/metadata", body).json()["payload"] is None
    for payload in ("aGVsbG8=", ""):
        stored = manager.call("POST", "/folder/metadata", {**body, "payload": payload})
        assert stored.json() == {"status": "ok"}
        known = manager.call("GET", "/folder/metadata", body).json()
        assert known == {"status": "ok", "payload": payload}
    assert "metadata.json" not in os.listdir(root)


def test_metadata_has_limits(manager: RunningDoor, vfid: str, root: Path) -> None:
    body = {"volume": "local", "vfid": vfid}
    ten = "A" * (10 * 1024 * 1024 // 3 * 4)
    assert manager.call("POST", "/folder/metadata", {**body, "payload": ten}).status_code == 200
    more = manager.call("POST", "/folder/metadata", {**body, "payload": ten + "AAAA"})
    assert more.status_code == 400
    assert more.json()["error_code"] == "storage_create_invalid-parameters"
    assert manager.call("POST", "/folder/metadata", {**body, "payload": ten * 2}).status_code == 413
    bad = manager.call("POST", "/folder/metadata", {**body, "payload": "no base64!"})
    assert bad.status_code == 400
    assert len(manager.call("GET", "/folder/metadata", body).json()["payload"]) == len(ten)


def test_file_system_usage_is_that_of_df(manager: RunningDoor, root: Path) -> None:
    usage = manager.call("GET", "/folder/fs-usage", {"volume": "local"}).json()
    df = subprocess.run(
        ["df", "-B1", "--output=used,avail", root], check=True, capture_output=True, text=True
    )
    used, available = map(int, df.stdout.splitlines()[1].split())
    assert abs(usage["used_bytes"] - used) < 1 << 30
    assert abs(usage["capacity_bytes"] - used - available) < 1 << 30


def test_hardware_is_asked(manager: RunningDoor) -> None:
    answer = manager.call("GET", "/volume/hwinfo", {"volume": "local"}).json()
    assert answer == {"status": "healthy", "status_info": None, "metadata": {}}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/volume/quota"), ("PATCH", "/volume/quota")],
)
def test_what_is_not_there_is_said(manager: RunningDoor, method: str, path: str) -> None:
    body = {"volume": "local", "vfid": None}
    if method == "PATCH":
        body |= {"size_bytes": "10g"}
    response = manager.call(method, path, body)
    assert response.status_code == 400
    assert response.json()["error_code"] == "vfolder_request_not-implemented"
