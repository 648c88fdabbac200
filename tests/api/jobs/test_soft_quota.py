"""Limits on a file system that holds none: ours, at upload, clone and restore, and given back."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from backends.fs import layout
from core.names import VFolderId
from tests.api.jobs.conftest import Site
from tests.support.doors import RunningDoor, running_door

MIB = 1 << 20
WRITERS = 64


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[RunningDoor]:
    with running_door("client", site.settings) as door:
        yield door


def scope_of(vfid: str) -> str:
    return vfid.partition("/")[0]


def limited(site: Site, limit: int) -> str:
    """An empty vfolder in a new scope with a limit."""
    vfid = f"user:{uuid4()}/{uuid4().hex}"
    body = {"volume": "local", "qsid": scope_of(vfid), "options": {"limit_bytes": limit}}
    assert site.door.call("POST", "/quota-scope", body).status_code == 204
    made = site.door.call("POST", "/folder/create", {"volume": "local", "vfid": vfid})
    assert made.status_code == 204
    return vfid


def quota(site: Site, vfid: str) -> dict[str, Any]:
    body = {"volume": "local", "qsid": scope_of(vfid)}
    found: dict[str, Any] = site.door.call("GET", "/quota-scope", body).json()
    return found


def used(site: Site, vfid: str) -> int | None:
    found: int | None = quota(site, vfid)["used_bytes"]
    return found


def ticket(site: Site, vfid: str, name: str, size: int) -> requests.Response:
    body = {"volume": "local", "vfid": vfid, "relpath": name, "size": size}
    return site.door.taken("POST", "/folder/file/upload", body)


def upload(site: Site, client: RunningDoor, vfid: str, name: str, data: bytes) -> int:
    """The status of the refusal, or of the last byte."""
    given = ticket(site, vfid, name, len(data))
    if given.status_code != 200:
        assert given.json()["title"] == "Quota exceeded"
        return given.status_code
    headers = {"Upload-Offset": "0", "Tus-Resumable": "1.0.0"}
    headers["Content-Type"] = "application/offset+octet-stream"
    url = f"{client.url}/upload?token={given.json()['token']}"
    return requests.patch(url, data=data, headers=headers, timeout=300).status_code


def staged(site: Site, vfid: str) -> list[str]:
    scope = VFolderId.parse(vfid).scope
    assert scope
    path = site.settings.directory / "local" / layout.area(scope, layout.UPLOADS)
    return os.listdir(path) if path.exists() else []


def test_without_a_limit_both_are_null(site: Site) -> None:
    assert quota(site, site.folder(a="1")) == {"used_bytes": None, "limit_bytes": None}


def test_a_limit_is_kept_told_and_taken_away(site: Site) -> None:
    vfid = limited(site, MIB + 1)
    wanted = {"used_bytes": 0, "limit_bytes": MIB + 1, "requested_bytes": MIB + 1}
    assert quota(site, vfid) == wanted | {"enforced": "soft"}
    body = {"volume": "local", "qsid": scope_of(vfid)}
    changed = site.door.call("PATCH", "/quota-scope", {**body, "options": {"limit_bytes": 7}})
    assert changed.status_code == 204
    assert quota(site, vfid)["limit_bytes"] == 7
    assert site.door.call("DELETE", "/quota-scope/quota", body).status_code == 204
    assert quota(site, vfid) == {"used_bytes": None, "limit_bytes": None}


def test_what_was_there_before_the_limit_counts(site: Site) -> None:
    vfid = site.folder(a="x" * 1000, b="y" * 500)
    body = {"volume": "local", "qsid": scope_of(vfid), "options": {"limit_bytes": 2000}}
    assert site.door.call("PATCH", "/quota-scope", body).status_code == 204
    assert used(site, vfid) == 1500
    assert ticket(site, vfid, "c", 501).status_code == 422
    assert ticket(site, vfid, "c", 500).status_code == 200


def test_many_uploads_together_never_pass_the_limit(site: Site, client: RunningDoor) -> None:
    vfid = limited(site, 12 * MIB)
    assert upload(site, client, vfid, "first", b"x" * 2 * MIB) == 204

    def one(number: int) -> int:
        return upload(site, client, vfid, f"f{number}", b"x" * MIB)

    with ThreadPoolExecutor(WRITERS) as pool:
        ends = list(pool.map(one, range(WRITERS)))
    assert sorted(set(ends)) == [204, 422]
    assert ends.count(204) == 10
    files = [path.stat().st_size for path in site.path(vfid).iterdir()]
    assert sum(files) == 12 * MIB == used(site, vfid)
    assert staged(site, vfid) == []


def test_room_is_given_back(site: Site, client: RunningDoor) -> None:
    vfid = limited(site, 3 * MIB)
    assert upload(site, client, vfid, "a", b"x" * MIB) == 204
    assert upload(site, client, vfid, "a", b"x" * MIB) == 204, "a file replaced counts once"
    assert used(site, vfid) == MIB
    given = ticket(site, vfid, "b", 2 * MIB)
    assert ticket(site, vfid, "c", 1).status_code == 422, "what is promised is taken"
    url = f"{client.url}/upload?token={given.json()['token']}"
    gone = requests.delete(url, headers={"Tus-Resumable": "1.0.0"}, timeout=60)
    assert gone.status_code == 204
    (site.path(vfid) / "d").mkdir()
    assert upload(site, client, vfid, "d/e", b"x" * MIB) == 204
    body = {"volume": "local", "vfid": vfid, "relpaths": ["d"], "recursive": True}
    assert site.door.call("POST", "/folder/file/delete", body).status_code == 200
    assert used(site, vfid) == MIB
    assert site.ended(site.begun("delete-files", vfolder=vfid, paths=["a"]))["done"]
    assert used(site, vfid) == 0


def test_a_file_is_replaced_by_one_of_its_size_in_a_full_scope(
    site: Site, client: RunningDoor
) -> None:
    vfid = limited(site, 3 * MIB)
    assert upload(site, client, vfid, "a", b"x" * 2 * MIB) == 204
    assert upload(site, client, vfid, "a", b"y" * 2 * MIB) == 204
    assert upload(site, client, vfid, "a", b"z" * 3 * MIB) == 204, "it grows by what is left"
    assert ticket(site, vfid, "a", 3 * MIB + 1).status_code == 422
    assert ticket(site, vfid, "b", 1).status_code == 422, "another file is not replaced"
    assert used(site, vfid) == 3 * MIB
    assert upload(site, client, vfid, "a", b"") == 204
    assert used(site, vfid) == 0


def test_what_is_replaced_may_go_while_an_upload_runs(site: Site, client: RunningDoor) -> None:
    """Then the upload needs all of its size, which another upload may have by now."""
    vfid = limited(site, 3 * MIB)
    assert upload(site, client, vfid, "a", b"x" * 2 * MIB) == 204
    given = ticket(site, vfid, "a", 2 * MIB)
    assert site.ended(site.begun("delete-files", vfolder=vfid, paths=["a"]))["done"]
    assert upload(site, client, vfid, "b", b"x" * 2 * MIB) == 204
    url = f"{client.url}/upload?token={given.json()['token']}"
    headers = {"Upload-Offset": "0", "Tus-Resumable": "1.0.0"}
    headers["Content-Type"] = "application/offset+octet-stream"
    late = requests.patch(url, data=b"y" * 2 * MIB, headers=headers, timeout=60)
    assert late.status_code == 422
    assert used(site, vfid) == 2 * MIB


def test_hard_links_count_once_in_the_promise_of_a_clone(site: Site) -> None:
    source = site.folder(f="z" * MIB, other="y")
    for name in "gh":
        os.link(site.path(source) / "f", site.path(source) / name)
    target = limited(site, MIB + MIB // 2)
    vfid = f"{scope_of(target)}/{uuid4().hex}"
    ended = site.ended(site.begun("clone", source=source, target=vfid))
    assert ended["state"] == "succeeded", ended
    assert used(site, target) == MIB + 1
    assert ended["result"]["copied_bytes"] == MIB + 1
    again = f"{scope_of(target)}/{uuid4().hex}"
    refused = site.ended(site.begun("clone", source=source, target=again))
    assert refused["state"] == "failed"
    assert used(site, target) == MIB + 1


def test_a_clone_pays_and_is_refused_without_a_trace(site: Site, client: RunningDoor) -> None:
    vfid = limited(site, 3 * MIB)
    assert upload(site, client, vfid, "a", b"x" * MIB) == 204
    for number in range(2):
        target = f"{scope_of(vfid)}/{uuid4().hex}"
        ended = site.ended(site.begun("clone", source=vfid, target=target))
        assert ended["state"] == "succeeded", number
    assert used(site, vfid) == 3 * MIB
    assert site.ended(site.begun("usage", vfolder=vfid))["done"]
    refused = {"source": vfid, "target": f"{scope_of(vfid)}/{uuid4().hex}"}
    plan = site.submit("clone", **refused, plan=True).json()
    assert plan["refusals"][0]["status"] == 422
    ended = site.ended(site.begun("clone", **refused))
    assert ended["state"] == "failed"
    assert ended["error"]["title"] == "Quota exceeded"
    assert not site.path(refused["target"]).exists()
    assert used(site, vfid) == 3 * MIB
    assert site.ended(site.begun("delete", vfolder=target))["state"] == "succeeded"
    assert used(site, vfid) == 2 * MIB


def test_a_transfer_pays_too(site: Site) -> None:
    source = site.folder(a="x" * MIB)
    vfid = limited(site, MIB + MIB // 2)
    for target, state in ((uuid4(), "succeeded"), (uuid4(), "failed")):
        name = f"{scope_of(vfid)}/{target.hex}"
        ended = site.ended(site.begun("transfer", source=source, target=name))
        assert ended["state"] == state, ended
        assert site.path(name).exists() == (state == "succeeded")
    assert ended["error"]["title"] == "Quota exceeded"
    assert used(site, vfid) == MIB


def test_holes_cost_nothing(site: Site) -> None:
    source = site.folder(small="x")
    with (site.path(source) / "disk").open("wb") as file:
        file.truncate(1 << 40)
        file.write(os.urandom(MIB))
        os.fsync(file.fileno())
    assert site.ended(site.begun("usage", vfolder=source))["result"]["used_bytes"] == MIB + 1
    target = limited(site, 2 * MIB)
    vfid = f"{scope_of(target)}/{uuid4().hex}"
    ended = site.ended(site.begun("clone", source=source, target=vfid))
    assert ended["state"] == "succeeded", ended
    assert ended["result"]["copied_bytes"] == MIB + 1
    assert used(site, target) == MIB + 1
    assert (site.path(vfid) / "disk").stat().st_size == 1 << 40
    assert site.ended(site.begun("rescan", owner=scope_of(target)))["result"]["drift"] == []
    gone = site.ended(site.begun("delete-files", vfolder=vfid, paths=["disk"]))
    assert gone["state"] == "succeeded"
    assert used(site, target) == 1


def test_a_transfer_pays_what_it_adds_to_what_it_replaces(site: Site) -> None:
    """Also for what it removes, and for a single file."""
    source = site.folder(a="x" * MIB, b="y" * MIB, new="z" * (MIB // 2))
    vfid = limited(site, 3 * MIB)
    target = site.path(vfid)
    (target / "a").write_bytes(b"1" * MIB)
    (target / "b").write_bytes(b"2" * (MIB + 7))
    (target / "extra").write_bytes(b"3" * (MIB // 4))
    (target / "deep").mkdir()
    (target / "deep/extra").write_bytes(b"4" * 100)
    assert site.ended(site.begun("rescan", owner=scope_of(vfid)))["state"] == "succeeded"
    before = used(site, vfid)
    assert before == 2 * MIB + 7 + MIB // 4 + 100
    more = {"on_conflict": "replace", "delete_extra": True}
    ended = site.ended(site.begun("transfer", source=source, target=vfid, **more))
    assert ended["state"] == "succeeded", ended
    assert ended["result"]["replaced_bytes"] == 2 * MIB + 7
    assert used(site, vfid) == 2 * MIB + MIB // 2
    for _ in range(3):
        one = {"source_path": "a", "target_path": "a", "on_conflict": "replace"}
        (site.path(source) / "a").write_bytes(os.urandom(MIB))
        ended = site.ended(site.begun("transfer", source=source, target=vfid, **one))
        assert ended["state"] == "succeeded", ended
    assert used(site, vfid) == 2 * MIB + MIB // 2
    assert site.ended(site.begun("rescan", owner=scope_of(vfid)))["result"]["drift"] == []


def test_a_restore_pays_again(site: Site, client: RunningDoor) -> None:
    vfid = limited(site, 2 * MIB)
    assert upload(site, client, vfid, "a", b"x" * 2 * MIB) == 204
    assert site.ended(site.begun("delete", vfolder=vfid, keep_seconds=600))["done"]
    assert used(site, vfid) == 0
    other = f"{scope_of(vfid)}/{uuid4().hex}"
    assert site.door.call("POST", "/folder/create", {"volume": "local", "vfid": other}).ok
    assert upload(site, client, other, "b", b"x") == 204
    plan = site.submit("restore", vfolder=vfid, plan=True).json()
    assert plan["refusals"][0]["status"] == 422
    refused = site.ended(site.begun("restore", vfolder=vfid))
    assert refused["error"]["title"] == "Quota exceeded"
    assert used(site, vfid) == 1
    assert site.ended(site.begun("delete-files", vfolder=other, paths=["b"]))["done"]
    assert site.ended(site.begun("restore", vfolder=vfid))["state"] == "succeeded"
    assert used(site, vfid) == 2 * MIB


def test_over_the_limit_deletes_still_work(site: Site, client: RunningDoor) -> None:
    vfid = limited(site, MIB)
    Path(site.path(vfid) / "by an agent").write_bytes(b"x" * 2 * MIB)
    assert upload(site, client, vfid, "a", b"x" * MIB) == 204
    body = {"volume": "local", "qsid": scope_of(vfid), "options": {"limit_bytes": 1}}
    assert site.door.call("PATCH", "/quota-scope", body).status_code == 204
    assert ticket(site, vfid, "c", 1).status_code == 422
    assert site.ended(site.begun("delete", vfolder=vfid))["state"] == "succeeded"
    assert used(site, vfid) == 0
