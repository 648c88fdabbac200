"""VFS storages: facts, listing, download, upload, removal; nothing outside is ever reached."""

import io
import json
import os
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest
import requests

from core.settings import Settings
from tests.support.doors import RunningDoor, running_door, settings_in
from tests.support.node import wait_for

SHELF = "/v1/storages/vfs/shelf"


def filled(place: Path) -> Path:
    """A tree with files, directories, links and a fifo."""
    (place / "org" / "sub").mkdir(parents=True)
    (place / "org" / "config.json").write_text('{"a": 1}')
    (place / "org" / "sub" / "weights.bin").write_bytes(bytes(range(256)) * 1000)
    (place / "org" / "empty").touch()
    (place / "inside").symlink_to("org/config.json")
    (place / "outside").symlink_to("/etc/hostname")
    (place / "up").symlink_to("../../../..")
    (place / "dangling").symlink_to("nothing")
    os.mkfifo(place / "fifo")
    return place


def refusal(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error_code"]


def test_the_facts_of_a_file(manager: RunningDoor, place: Path) -> None:
    filled(place)
    asked = f"/{place.name}/org/config.json"
    found = manager.call("GET", f"{SHELF}/meta", {"filepath": asked, "unknown": 1}).json()
    status = (place / "org" / "config.json").stat()
    assert found == {
        "filepath": asked,
        "content_length": 8,
        "content_type": "application/json",
        "last_modified": status.st_mtime,
        "created": status.st_ctime,
        "is_directory": False,
        "metadata": {
            "mode": oct(status.st_mode),
            "uid": str(status.st_uid),
            "gid": str(status.st_gid),
        },
    }
    for root in ("/", ".", f"{place.name}/org"):
        found = manager.call("GET", f"{SHELF}/meta", {"filepath": root}).json()
        assert found["is_directory"]
        assert found["content_type"] == "application/octet-stream"


def test_a_listing_has_each_directory_before_its_content(manager: RunningDoor, place: Path) -> None:
    """Links, dangling or leading out, and special files are no files."""
    filled(place)
    asked = f"/{place.name}"
    found = manager.call("GET", f"{SHELF}/files", {"directory": asked}).json()["files"]
    paths = [one["path"] for one in found]
    assert sorted(paths) == [
        f"{asked}/org",
        f"{asked}/org/config.json",
        f"{asked}/org/empty",
        f"{asked}/org/sub",
        f"{asked}/org/sub/weights.bin",
    ]
    assert paths.index(f"{asked}/org/sub") < paths.index(f"{asked}/org/sub/weights.bin")
    kinds = {one["name"]: (one["type"], one["size"]) for one in found}
    assert kinds["sub"] == ("directory", None)
    assert kinds["weights.bin"] == ("file", 256_000)


def test_paths_of_a_listing_begin_as_it_was_asked(manager: RunningDoor, place: Path) -> None:
    (place / "file").touch()
    for asked, begin in (("/", "/"), (".", ""), ("./", ""), (f"{place.name}/", f"{place.name}/")):
        found = manager.call("GET", f"{SHELF}/files", {"directory": asked}).json()["files"]
        path = f"{begin}file" if place.name in asked else f"{begin}{place.name}/file"
        assert path in [one["path"] for one in found]
        assert not [one for one in found if ".vfolder" in one["path"]]


def test_a_file_is_sent_with_ranges(manager: RunningDoor, place: Path) -> None:
    filled(place)
    body = {"filepath": f"{place.name}/org/sub/weights.bin"}
    whole = manager.call("POST", f"{SHELF}/download", body)
    assert whole.content == (place / "org/sub/weights.bin").read_bytes()
    assert whole.headers["Content-Type"] == "application/octet-stream"
    rest = {"Range": "bytes=1000-", "If-Range": whole.headers["ETag"]}
    part = manager.call("POST", f"{SHELF}/download", body, headers=rest)
    assert (part.status_code, part.content) == (206, whole.content[1000:])
    known = {"If-None-Match": whole.headers["ETag"]}
    assert manager.call("POST", f"{SHELF}/download", body, headers=known).status_code == 304
    late = manager.send("POST", f"{SHELF}/download", json=body, headers={"Range": "bytes=900000-"})
    assert late.status_code == 416


def test_the_type_of_a_file_is_guessed(manager: RunningDoor, place: Path) -> None:
    filled(place)
    body = {"filepath": f"{place.name}/org/config.json"}
    text = manager.send("POST", f"{SHELF}/download", json=body)
    assert (text.headers["Content-Type"], text.json()) == ("application/json", {"a": 1})
    empty = manager.call("POST", f"{SHELF}/download", {"filepath": f"{place.name}/org/empty"})
    assert (empty.headers["Content-Length"], empty.content) == ("0", b"")
    link = manager.send("POST", f"{SHELF}/download", json={"filepath": f"{place.name}/inside"})
    assert link.json() == {"a": 1}


def test_a_directory_is_sent_as_a_tar(manager: RunningDoor, place: Path) -> None:
    (filled(place) / "fifo").unlink()
    answer = manager.call("POST", f"{SHELF}/download", {"filepath": place.name})
    assert answer.headers["Content-Type"] == "application/octet-stream"
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        names = {member.name for member in archive}
        assert {"./org/config.json", "./org/sub/weights.bin", "./dangling"} <= names
        assert archive.getmember("./outside").linkname == "/etc/hostname"
    complete = manager.call("POST", "/v1/storages/vfs/small/download", {"filepath": "/"})
    with tarfile.open(fileobj=io.BytesIO(complete.content)) as archive:
        assert not [name for name in archive.getnames() if ".vfolder" in name]
    part = manager.call(
        "POST", f"{SHELF}/download", {"filepath": place.name}, headers={"Range": "bytes=512-"}
    )
    assert (part.status_code, part.content) == (206, answer.content[512:])


WRONG_PATHS = ["", "..", "a/../../b", "/../etc/passwd", "a\0b", "x" * 256, ".vfolder/lock", "a/.."]


@pytest.mark.parametrize("path", WRONG_PATHS)
def test_wrong_paths_are_refused_by_each_route(manager: RunningDoor, path: str) -> None:
    refused = (400, "storage-proxy_access_invalid-parameters")
    for method, below, key in (
        ("GET", "/meta", "filepath"),
        ("GET", "/files", "directory"),
        ("POST", "/download", "filepath"),
        ("DELETE", "", "filepath"),
    ):
        assert refusal(manager.call(method, f"{SHELF}{below}", {key: path})) == refused
    answer = upload(manager, path, b"x")
    assert answer.status_code == 400


def test_links_that_lead_out_are_refused(manager: RunningDoor, place: Path) -> None:
    filled(place)
    for name in ("outside", "up", "up/etc/passwd"):
        body = {"filepath": f"{place.name}/{name}"}
        for method, below in (("GET", "/meta"), ("POST", "/download")):
            status, code = refusal(manager.call(method, f"{SHELF}{below}", body))
            assert (status, code) == (400, "storage-proxy_access_invalid-parameters")
    answer = upload(manager, f"{place.name}/up/new", b"x")
    assert refusal(answer) == (400, "storage-proxy_access_invalid-parameters")


def test_what_is_absent(manager: RunningDoor, place: Path) -> None:
    filled(place)
    absent = (404, "object-storage_read_not-found")
    for name in ("none", "dangling", "org/none/below"):
        path = f"{place.name}/{name}"
        assert refusal(manager.call("GET", f"{SHELF}/meta", {"filepath": path})) == absent
        assert refusal(manager.call("POST", f"{SHELF}/download", {"filepath": path})) == absent
        assert refusal(manager.call("GET", f"{SHELF}/files", {"directory": path})) == absent
        if name != "dangling":
            gone = manager.call("DELETE", SHELF, {"filepath": path})
            assert (gone.status_code, gone.json()) == (200, {"filepath": path})


def test_what_is_no_file(manager: RunningDoor, place: Path) -> None:
    filled(place)
    refused = (400, "storage-proxy_access_invalid-parameters")
    body: dict[str, Any] = {"directory": f"{place.name}/org/config.json"}
    assert refusal(manager.call("GET", f"{SHELF}/files", body)) == refused
    body = {"filepath": f"{place.name}/fifo"}
    assert refusal(manager.call("POST", f"{SHELF}/download", body)) == refused
    body = {"filepath": f"{place.name}/org/config.json/below"}
    assert refusal(manager.call("POST", f"{SHELF}/download", body)) == refused


def test_storages_that_are_none(manager: RunningDoor) -> None:
    for method, below, body in (
        ("GET", "/meta", {"filepath": "a"}),
        ("GET", "/files", {"directory": "a"}),
        ("POST", "/download", {"filepath": "a"}),
        ("DELETE", "", {"filepath": "a"}),
    ):
        absent = manager.call(method, f"/v1/storages/vfs/nowhere{below}", body)
        assert refusal(absent) == (404, "storage_read_not-found")
        assert absent.json()["type"].endswith("storage/object-not-found")
        other = manager.call(method, f"/v1/storages/vfs/bucket{below}", body)
        assert refusal(other) == (400, "storage_access_invalid-parameters")
        assert other.json()["type"].endswith("storage/object-type-invalid")


def test_bodies_that_are_wrong(manager: RunningDoor) -> None:
    for data, code in (
        (b"", "api_parsing_bad-request"),
        (b"x", "api_parsing_bad-request"),
        (b"[]", "api_parsing_invalid-parameters"),
        (b"{}", "api_parsing_invalid-parameters"),
        (b'{"filepath": 1}', "api_parsing_invalid-parameters"),
    ):
        answer = manager.send("GET", f"{SHELF}/meta", data=data)
        manager.document.check("GET", f"{SHELF}/meta", answer)
        assert refusal(answer) == (400, code)
        assert answer.json()["type"].endswith("generic-bad-request")
    assert "filepath" in manager.call("GET", f"{SHELF}/meta", {}).json()["msg"]


def test_the_directory_of_the_storage_stays(
    manager: RunningDoor, settings: Settings, place: Path
) -> None:
    for path in ("/", ".", "./", "//"):
        answer = manager.call("DELETE", SHELF, {"filepath": path})
        assert refusal(answer) == (400, "storage-proxy_access_invalid-parameters")
    assert place.is_dir()


def test_a_tree_is_removed_and_a_link_only_itself(manager: RunningDoor, place: Path) -> None:
    filled(place)
    for name in ("inside", "outside", "org/sub"):
        body = {"filepath": f"{place.name}/{name}"}
        assert manager.call("DELETE", SHELF, body).json() == body
        assert not (place / name).is_symlink()
        assert not (place / name).exists()
    assert (place / "org" / "config.json").exists()
    assert Path("/etc/hostname").exists()
    trash = place.parent / ".vfolder" / "trash"
    wait_for(lambda: not list(trash.iterdir()))  # a thread removes what is there


# -- Uploads ---------------------------------------------------------------------------------------
def upload(manager: RunningDoor, filepath: str, data: bytes) -> requests.Response:
    form = {"filepath": filepath, "content_type": "application/json"}
    answer = manager.send("POST", f"{SHELF}/upload", data=form, files={"file": ("name", data)})
    manager.document.check("POST", f"{SHELF}/upload", answer)
    return answer


def test_an_upload_is_stored(manager: RunningDoor, place: Path) -> None:
    data = os.urandom(3_000_000)
    answer = upload(manager, f"/{place.name}/new/deep/file", data)
    assert (answer.status_code, answer.json()) == (
        201,
        {"filepath": f"/{place.name}/new/deep/file"},
    )
    assert (place / "new/deep/file").read_bytes() == data
    assert upload(manager, f"{place.name}/new/deep/file", b"").status_code == 201
    assert (place / "new/deep/file").read_bytes() == b""
    assert not list((place.parent / ".vfolder" / "uploads").iterdir())


def test_uploads_that_are_refused_leave_nothing(
    manager: RunningDoor, settings: Settings, place: Path
) -> None:
    (place / "directory").mkdir()
    small = "/v1/storages/vfs/small/upload"
    large = manager.send("POST", small, data={"filepath": "x"}, files={"file": b"x" * 11})
    manager.document.check("POST", small, large)
    assert large.status_code == 413
    assert manager.send("POST", small, data={"filepath": "x"}, files={"file": b"x" * 10}).ok
    assert upload(manager, f"{place.name}/directory", b"x").status_code == 409
    for path in ("/", "."):
        assert upload(manager, path, b"x").status_code == 400
    two = [("file", b"x"), ("file", b"y")]
    for options in (
        {"files": two, "data": {"filepath": "a"}},
        {"data": {"filepath": "a"}},
        {"files": {"other": b"x"}, "data": {"filepath": "a"}},
        {"files": {"file": b"x"}},
        {"json": {"filepath": "a"}},
        {"data": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"data": b"", "headers": {"Content-Type": "multipart/form-data"}},
    ):
        answer = manager.send("POST", f"{SHELF}/upload", **options)
        manager.document.check("POST", f"{SHELF}/upload", answer)
        assert refusal(answer) == (400, "api_parsing_bad-request"), options
    for storage in (place.parent, settings.directory / "small"):
        assert not list((storage / ".vfolder" / "uploads").iterdir())


def test_an_upload_that_is_cut_off_leaves_nothing(manager: RunningDoor, place: Path) -> None:
    head = (
        f"POST {SHELF}/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        "X-BackendAI-Storage-Auth-Token: {}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        f'--x\r\nContent-Disposition: form-data; name="filepath"\r\n\r\n{place.name}/cut\r\n'
        '--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nhalf'
    ).format(manager._headers["X-BackendAI-Storage-Auth-Token"])
    host, port = manager.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 60) as connection:
        connection.sendall(head.encode())
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(100)
    assert not list(place.iterdir())
    assert not list((place.parent / ".vfolder" / "uploads").iterdir())


# -- The start -------------------------------------------------------------------------------------
TEMPORARY = """
[artifact-storages.scratch]
type = "vfs_storage"
vfs_storage = { base_path = "scratch", temporary = true }
"""


def test_only_the_first_process_empties_a_temporary_storage(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, more=TEMPORARY)
    (tmp_path / "scratch" / "tree" / "below").mkdir(parents=True)
    (tmp_path / "scratch" / "file").write_text("old")
    body = {"directory": "/"}
    with running_door("manager", settings) as door:
        files = door.call("GET", "/v1/storages/vfs/scratch/files", body).json()
        assert files == {"files": []}
        (tmp_path / "scratch" / "file").write_text("new")
        with running_door("manager", settings_in_other_ports(tmp_path)) as second:
            (one,) = second.call("GET", "/v1/storages/vfs/scratch/files", body).json()["files"]
            assert one["name"] == "file"
    assert (tmp_path / "scratch" / "file").read_text() == "new"


def settings_in_other_ports(directory: Path) -> Settings:
    """A second node of the same directory."""
    return settings_in(directory, more=TEMPORARY)


def test_the_first_process_removes_old_remains(tmp_path: Path) -> None:
    """Jobs continue from what is younger; trash and uploads are those of killed processes."""
    settings = settings_in(tmp_path, more=TEMPORARY.replace("true", "false"))
    hidden = tmp_path / "scratch" / ".vfolder"
    for name in ("trash/x/y", "uploads/z", "staging/old", "staging/new", "jobs/old.report"):
        (hidden / name).mkdir(parents=True)
    for name in ("staging/old", "jobs/old.report"):
        os.utime(hidden / name, (0, 0))
    (tmp_path / "scratch" / "file").touch()
    with running_door("manager", settings):
        left = {str(one.relative_to(hidden)) for one in hidden.rglob("*")}
        assert left == {"lock", "staging", "staging/new", "jobs"}
        assert (tmp_path / "scratch" / "file").exists()


def test_a_storage_whose_directory_is_gone(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, more=TEMPORARY)
    with running_door("manager", settings) as door:
        (tmp_path / "scratch").rename(tmp_path / "away")
        body = {"filepath": "a"}
        answer = door.call("GET", "/v1/storages/vfs/scratch/meta", body, on_fault=True)
        assert refusal(answer) == (503, "storage_access_unavailable")
        assert str(tmp_path) not in json.dumps(answer.json())


def test_the_whole_storage_is_sent_although_a_link_leads_nowhere(
    manager: RunningDoor, settings: Settings
) -> None:
    """Links stay links, also beside our own files, which are left out."""
    small = settings.directory / "small"
    links = {"dangling": "nothing", "outside": "/etc"}
    for name, target in links.items():
        (small / name).symlink_to(target)
    (small / "file").touch()
    answer = manager.call("POST", "/v1/storages/vfs/small/download", {"filepath": "/"})
    assert answer.status_code == 200, answer.text
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        names = archive.getnames()
        assert {name: archive.getmember(f"./{name}").linkname for name in links} == links
    assert "./file" in names
    assert not [name for name in names if ".vfolder" in name]


def test_a_very_deep_tree_is_listed_and_removed(
    manager: RunningDoor, settings: Settings, place: Path
) -> None:
    """Its paths are longer than the kernel takes, and its levels more than Python recurses."""
    levels = 1050  # the cost of a listing grows with their square
    directory = os.open(place, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("deep", dir_fd=directory)
        below = os.open("deep", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)
    found = manager.call("GET", f"{SHELF}/files", {"directory": place.name})
    assert found.status_code == 200, found.text
    assert len(found.json()["files"]) == levels
    assert manager.call("DELETE", SHELF, {"filepath": place.name}).status_code == 200
    trash = settings.directory / "shelf/models/.vfolder/trash"
    wait_for(lambda: not os.listdir(trash), failure="the trash is not empty")
