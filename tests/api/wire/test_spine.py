"""The wire that sessions need, over real HTTP: volumes, scopes, vfolders, entries, tickets."""

import json
import os
from pathlib import Path
from uuid import uuid4

import jwt
import pytest

from tests.support.doors import TICKET_SECRET, RunningDoor

ABSENT = f"user:{uuid4()}/{uuid4().hex}"


def test_volumes(manager: RunningDoor) -> None:
    volumes = manager.call("GET", "/volumes").json()["volumes"]
    assert [volume["name"] for volume in volumes] == ["local"]
    assert volumes[0]["backend"] == "vfs"
    assert Path(volumes[0]["path"]).is_absolute()
    assert volumes[0]["fsprefix"] == "."
    assert set(volumes[0]["capabilities"]) - {"reflink", "metric"} == {"vfolder"}


def test_quota_scope_lives(manager: RunningDoor, vfid: str) -> None:
    body = {"volume": "local", "qsid": vfid.partition("/")[0]}
    missing = manager.call("GET", "/quota-scope", body)
    assert missing.status_code == 404
    assert missing.json()["error_code"] == "quota-scope_read_not-found"
    assert manager.call("POST", "/quota-scope", body).status_code == 204
    assert manager.call("POST", "/quota-scope", body).status_code == 409
    described = manager.call("GET", "/quota-scope", body)
    assert described.json() == {"used_bytes": None, "limit_bytes": None}
    limited = manager.call("PATCH", "/quota-scope", {**body, "options": {"limit_bytes": "4096"}})
    assert limited.status_code == 204
    assert manager.call("DELETE", "/quota-scope/quota", body).status_code == 204


def test_limit_makes_the_scope(manager: RunningDoor, vfid: str) -> None:
    body = {"volume": "local", "qsid": vfid.partition("/")[0]}
    limit = {**body, "options": {"limit_bytes": 1}}
    assert manager.call("PATCH", "/quota-scope", limit).status_code == 204
    assert manager.call("GET", "/quota-scope", body).status_code == 200


@pytest.mark.parametrize(("mode", "expected"), [(None, 0o755), (509, 0o775), (0o700, 0o700)])
def test_create_and_mount(manager: RunningDoor, vfid: str, mode: int | None, expected: int) -> None:
    body = {"volume": "local", "vfid": vfid}
    assert manager.call("GET", "/folder/mount", body).status_code == 400
    order = {**body, "options": {}, "mode": mode}
    assert manager.call("POST", "/folder/create", order).status_code == 204
    again = manager.call("POST", "/folder/create", order)
    assert again.status_code == 409
    assert again.json()["error_code"].startswith("vfolder_")
    path = Path(manager.call("GET", "/folder/mount", body).json()["path"])
    assert path.stat().st_mode & 0o7777 == expected
    below = manager.call("GET", "/folder/mount", {**body, "subpath": "not/there"})
    assert Path(below.json()["path"]) == path


def test_body_is_read_whatever_its_content_type(manager: RunningDoor, vfid: str) -> None:
    data = json.dumps({"volume": "local", "vfid": vfid})
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "nonsense", ""):
        headers = {"Content-Type": content_type}
        response = manager.send("GET", "/folder/mount", data=data, headers=headers)
        assert response.json()["error_code"] == "vfolder_read_not-found", content_type


def test_mkdir_tells_each_path(manager: RunningDoor, vfid: str, root: Path) -> None:
    body = {"volume": "local", "vfid": vfid}
    some = manager.call(
        "POST", "/folder/file/mkdir", {**body, "relpath": ["n/o/p", "dir", "../x", "link-out/x"]}
    )
    assert some.status_code == 207
    results = some.json()["results"]
    assert results["success"] == [{"item": "n/o/p", "msg": None}]
    assert [entry["item"] for entry in results["failed"]] == ["dir", "../x", "link-out/x"]
    assert all(entry["msg"] for entry in results["failed"])
    assert (root / "n/o/p").is_dir()
    all_made = manager.call("POST", "/folder/file/mkdir", {**body, "relpath": "q"})
    assert all_made.status_code == 200
    none = manager.call("POST", "/folder/file/mkdir", {**body, "relpath": []})
    assert none.status_code == 422
    assert none.json() == {"results": {"success": [], "failed": []}}
    again = {**body, "relpath": ["q"], "exist_ok": True, "parents": "false"}
    assert manager.call("POST", "/folder/file/mkdir", again).status_code == 200
    absent = {"volume": "local", "vfid": ABSENT, "relpath": ["x"]}
    assert manager.call("POST", "/folder/file/mkdir", absent).status_code == 422


def test_list_tells_every_entry(manager: RunningDoor, vfid: str, root: Path) -> None:
    body = {"volume": "local", "vfid": vfid, "relpath": "."}
    answer = manager.call("POST", "/folder/file/list", body).json()
    items = {item["name"]: item for item in answer["items"]}
    assert sorted(items) == sorted(os.listdir(root))
    assert [item["name"] for item in answer["items"]] == sorted(items)
    assert not answer["truncated"]
    assert items["a.txt"]["type"] == "FILE"
    assert items["a.txt"]["stat"]["size"] == 5
    assert items["a.txt"]["stat"]["mode"] == (root / "a.txt").stat().st_mode
    assert items["dir"]["type"] == "DIRECTORY"
    targets = {
        name: item["symlink_target"] for name, item in items.items() if "SYM" in item["type"]
    }
    assert targets["link-in"] == "dir/b.txt"
    assert targets["link-dir"] == "dir"
    assert targets["link-out"] == targets["link-up"] == ""
    assert (targets["dangling"], targets["loop"]) == ("nothing", "loop")


def test_links_that_lead_to_no_entry_name_their_target(
    manager: RunningDoor, vfid: str, root: Path
) -> None:
    links = {
        "absolute": root / "dir" / "sub" / "x",
        "around": "../dir/sub/./none",
        "above": "../a.txt.none",
        "out": "../../none",
        "elsewhere": "/none",
        "top": root,
    }
    for name, target in links.items():
        (root / "dir" / name).symlink_to(target)
    body = {"volume": "local", "vfid": vfid, "relpath": "dir"}
    items = manager.call("POST", "/folder/file/list", body).json()["items"]
    targets = {item["name"]: item["symlink_target"] for item in items if item["name"] in links}
    assert targets == dict.fromkeys(links, "") | {"absolute": "sub/x", "around": "sub/none"}


def test_list_by_pages(manager: RunningDoor, vfid: str, root: Path) -> None:
    body = {"volume": "local", "vfid": vfid, "relpath": "", "limit": 3}
    names: list[str] = []
    cursor = None
    while True:
        page = manager.call("POST", "/folder/file/list", {**body, "cursor": cursor}).json()
        names += [item["name"] for item in page["items"]]
        cursor = page["next"]
        assert page["truncated"] == (cursor is not None)
        if cursor is None:
            break
    assert names == sorted(os.listdir(root))


@pytest.mark.parametrize(
    ("path", "status", "number"),
    [
        ("nothing", 400, 2),
        ("a.txt", 400, 20),
        ("dangling", 400, 2),
        ("fifo", 400, 20),
        ("loop", 400, None),
        ("link-out", 400, None),
        ("link-up", 400, None),
        ("../..", 400, None),
        ("/etc", 400, None),
    ],
)
def test_list_refuses(  # noqa: PLR0917 - the table's columns
    manager: RunningDoor, vfid: str, root: Path, path: str, status: int, number: int | None
) -> None:
    body = {"volume": "local", "vfid": vfid, "relpath": path}
    response = manager.call("POST", "/folder/file/list", body)
    assert response.status_code == status
    problem = response.json()
    assert problem["error_code"].startswith("vfolder_")
    if number:
        assert problem["errno"] == number
        assert problem["paths"] == [path]
    assert str(root) not in response.text


def test_download_ticket(manager: RunningDoor, vfid: str) -> None:
    body = {"volume": "local", "vfid": vfid, "relpath": "dir/x", "archive": "true"}
    token = manager.call("POST", "/folder/file/download", body).json()["token"]
    claims = jwt.decode(token, TICKET_SECRET, algorithms=["HS256"])
    assert claims["op"] == "download"
    assert claims["vfid"] == vfid
    assert claims["relpath"] == "dir/x"
    assert claims["archive"] is True


def test_upload_ticket(manager: RunningDoor, vfid: str, root: Path) -> None:
    body = {"volume": "local", "vfid": vfid, "relpath": "new/file", "size": "12"}
    token = manager.call("POST", "/folder/file/upload", body).json()["token"]
    claims = jwt.decode(token, TICKET_SECRET, algorithms=["HS256"])
    assert claims["op"] == "upload"
    assert claims["size"] == 12
    assert len(claims["session"]) == 32
    assert (root.parents[2] / ".vfolder" / "uploads" / claims["session"]).is_file()
    zero = {**body, "size": 0, "relpath": "new/zero"}
    assert manager.call("POST", "/folder/file/upload", zero).status_code == 200
    assert (root / "new" / "zero").read_bytes() == b""


@pytest.mark.parametrize("path", ["", ".", "new/directory"])
def test_upload_ticket_for_a_directory(
    manager: RunningDoor, vfid: str, root: Path, path: str
) -> None:
    before = sorted(root.rglob("*"))
    body = {"volume": "local", "vfid": vfid, "relpath": path, "size": 12, "tree": True}
    token = manager.call("POST", "/folder/file/upload", body).json()["token"]
    claims = jwt.decode(token, TICKET_SECRET, algorithms=["HS256"])
    assert (claims["tree"], claims["size"], claims["relpath"]) == (True, 12, path or ".")
    assert sorted(root.rglob("*")) == before, "nothing is opened yet"
    absent = {**body, "vfid": f"{vfid.partition('/')[0]}/{uuid4().hex}"}
    assert manager.call("POST", "/folder/file/upload", absent).status_code == 404
    large = {**body, "size": 2**60}
    assert manager.call("POST", "/folder/file/upload", large).status_code == 400
    assert manager.call("POST", "/folder/file/upload", {**body, "tree": "x"}).status_code == 400
    one = {**body, "tree": False, "relpath": "."}
    assert manager.call("POST", "/folder/file/upload", one).status_code == 400


@pytest.mark.parametrize(("size", "status"), [(-1, 400), (2**60, 400), ("x", 400), (1.5, 400)])
def test_upload_size_is_checked(
    manager: RunningDoor, vfid: str, root: Path, size: object, status: int
) -> None:
    before = sorted(root.rglob("*"))
    body = {"volume": "local", "vfid": vfid, "relpath": "f", "size": size}
    assert manager.call("POST", "/folder/file/upload", body).status_code == status
    assert sorted(root.rglob("*")) == before
    assert not (root.parents[2] / ".vfolder").exists()
