"""One node's doors serve the volume of another: every act, its errors, its files, its tickets."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from core.access import DownloadTicket, tickets
from core.names import VFolderId
from core.settings import Settings, load
from tests.support.doors import TICKET_SECRET, RunningDoor, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey
from tests.support.worker import running_worker

#: A call to another node may take as long as a starved machine needs.
DOORS = "[vfolder.doors]\nbackend-timeout = 55.0\n"
#: A name that is no UTF-8.
ODD = "odd-\udcff"


@dataclass
class Two:
    """Node A has the doors that are asked, node B the volume `far` that nobody else mounts."""

    a: RunningDoor
    client_a: RunningDoor
    client_b: RunningDoor
    far: Path
    b: Settings

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        """The answer of node A's manager door, once node B is there.

        A node that stood still for some seconds is lost for the others, until it tells again.
        """
        return self.a.taken(method, path, body)


def _two(directory: Path, valkey: Valkey) -> tuple[Settings, Settings]:
    found = []
    for name in ("a", "b"):
        (directory / name).mkdir()
        settings = settings_in(directory / name, valkey.url, DOORS)
        path = Path(settings.origin)
        text = path.read_text().replace('"node1"', f'"node-{name}"')
        if name == "b":
            (path.parent / "far").mkdir()
            text = text.replace("[volume.local]", "[volume.far]").replace('"local"', '"far"')
            text += f'client-url = "http://{settings.api.client.address}"\n'
        path.write_text(text)
        found.append(load(path, environ={}))
    return found[0], found[1]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[Two]:
    a, b = _two(tmp_path_factory.mktemp("two"), valkey)
    with ExitStack() as opened:
        opened.enter_context(running_worker(b, "far"))
        manager = opened.enter_context(running_door("manager", a))
        client_a = opened.enter_context(running_door("client", a))
        client_b = opened.enter_context(running_door("client", b))
        yield Two(manager, client_a, client_b, b.directory / "far", b)


@pytest.fixture
def vfid(two: Two) -> str:
    found = f"user:{uuid4()}/{uuid4().hex}"
    made = two.ask("POST", "/folder/create", {"volume": "far", "vfid": found})
    assert made.status_code == 204
    return found


def root_of(two: Two, vfid: str) -> Path:
    return two.far / VFolderId.parse(vfid).directory


def asked(two: Two, method: str, path: str, vfid: str, **more: Any) -> requests.Response:
    return two.ask(method, path, {"volume": "far", "vfid": vfid, **more})


def test_the_list_has_the_volumes_of_both(two: Two) -> None:
    listed = {one["name"]: one for one in two.ask("GET", "/volumes").json()["volumes"]}
    assert set(listed) == {"local", "far"}
    assert listed["far"] == {
        "name": "far",
        "backend": "vfs",
        "path": str(two.far),
        "fsprefix": ".",
        "capabilities": listed["local"]["capabilities"],
    }


def test_acts_on_entries(two: Two, vfid: str) -> None:
    root = root_of(two, vfid)
    assert root.is_dir()
    made = asked(two, "POST", "/folder/file/mkdir", vfid, relpath=["d/e", "f"], parents=True)
    assert made.status_code == 200
    (root / "d" / ODD).write_bytes(b"12345")
    items = asked(two, "POST", "/folder/file/list", vfid, relpath="d").json()["items"]
    assert [item["name"] for item in items] == ["e", ODD]
    assert items[1]["stat"]["size"] == 5
    assert items[1]["stat"]["modified"].startswith("20")
    moved = asked(two, "POST", "/folder/file/move", vfid, src_relpath="d", dst_relpath="g")
    assert moved.status_code == 204
    renamed = asked(two, "POST", "/folder/file/rename", vfid, relpath="g/e", new_name="n")
    assert renamed.status_code == 204
    used = asked(two, "GET", "/folder/usage", vfid).json()
    assert (used["file_count"], used["used_bytes"]) == (4, 5)
    body = {"relpaths": [f"g/{ODD}", "f"], "recursive": True}
    assert asked(two, "POST", "/folder/file/delete", vfid, **body).status_code == 200
    assert sorted(path.name for path in root.rglob("*")) == ["g", "n"]


def test_acts_on_volume_scope_and_metadata(two: Two, vfid: str) -> None:
    full = two.ask("GET", "/folder/fs-usage", {"volume": "far"}).json()
    assert full["capacity_bytes"] >= full["used_bytes"] > 0
    health = two.ask("GET", "/volume/hwinfo", {"volume": "far"}).json()
    assert health["status"] == "healthy"
    scope = {"volume": "far", "qsid": vfid.partition("/")[0]}
    assert two.ask("GET", "/quota-scope", scope).json() == {
        "used_bytes": None,
        "limit_bytes": None,
    }
    payload = "AAEC/w=="
    kept = asked(two, "POST", "/folder/metadata", vfid, payload=payload)
    assert kept.status_code == 200
    assert asked(two, "GET", "/folder/metadata", vfid).json()["payload"] == payload
    where = asked(two, "GET", "/folder/mount", vfid, subpath="").json()
    assert where == {"path": str(root_of(two, vfid))}


def test_refusals_are_the_same_as_at_home(two: Two, vfid: str) -> None:
    nobody = f"user:{uuid4()}/{uuid4().hex}"
    (root_of(two, vfid) / "out").symlink_to("/etc")
    for path, body, status in (
        ("/folder/file/list", {"vfid": nobody, "relpath": "."}, 404),
        ("/folder/file/list", {"vfid": vfid, "relpath": "none"}, 400),
        ("/folder/file/list", {"vfid": vfid, "relpath": "out"}, 400),
        ("/folder/create", {"vfid": vfid}, 409),
        ("/folder/file/list", {"vfid": vfid, "relpath": ".", "volume": "nowhere"}, 400),
    ):
        far = two.ask("POST", path, {"volume": "far", **body})
        assert far.status_code == status, far.text
        assert far.headers["Content-Type"] == "application/problem+json"
        assert str(two.far) not in far.text


def test_files_come_in_pieces(two: Two, vfid: str) -> None:
    data = bytes(range(256)) * 12_000
    (root_of(two, vfid) / "big").write_bytes(data)
    assert asked(two, "POST", "/folder/file/fetch", vfid, relpath="big").content == data
    assert asked(two, "POST", "/folder/file/fetch", vfid, relpath="none").content == b""


def test_jobs_run_where_the_volume_is_and_are_read_here(two: Two, vfid: str) -> None:
    (root_of(two, vfid) / "x").write_text("x")
    target = f"user:{uuid4()}/{uuid4().hex}"
    clone = {"volume": "far", "source": vfid, "target": target}
    plan = two.ask("POST", "/v1/jobs", {"verb": "clone", **clone, "plan": True}).json()
    assert plan["would_start"] is True
    job = two.ask("POST", "/v1/jobs", {"verb": "clone", **clone}).json()["id"]
    wait_for(lambda: two.ask("GET", f"/v1/jobs/{job}").json()["done"])
    done = two.ask("GET", f"/v1/jobs/{job}").json()
    assert (done["state"], done["node"]) == ("succeeded", "node-b")
    assert (root_of(two, target) / "x").read_text() == "x"
    report = two.ask("GET", f"/v1/jobs/{job}/report")
    (line,) = map(json.loads, report.text.splitlines())
    assert line["summary"]["id"] == job
    again = two.ask("POST", "/v1/jobs", {"verb": "clone", **clone})
    assert again.status_code == 409


def test_tickets_lead_to_the_node_of_the_volume(two: Two, vfid: str) -> None:
    (root_of(two, vfid) / "file").write_text("far away")
    told = asked(two, "POST", "/folder/file/download", vfid, relpath="file").json()
    assert told["client_url"] == two.client_b.url
    ticket = tickets.read(DownloadTicket, told["token"], TICKET_SECRET)
    assert ticket.client_url == two.client_b.url
    path = f"/download?token={told['token']}"

    def redirected() -> list[requests.Response]:
        answer = two.client_a.send("GET", path, allow_redirects=False)
        return [] if answer.status_code == 503 else [answer]  # node B is lost just now

    sent = wait_for(redirected)[0]
    assert sent.status_code == 307
    assert sent.headers["Location"] == two.client_b.url + path
    assert two.client_a.send("GET", path).text == "far away"


def test_an_upload_at_the_wrong_door_arrives(two: Two, vfid: str) -> None:
    order = {"relpath": "up", "size": "4"}
    told = asked(two, "POST", "/folder/file/upload", vfid, **order).json()
    path = f"/upload?token={told['token']}"
    assert two.client_a.send("HEAD", path, allow_redirects=True).headers["Upload-Offset"] == "0"
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
    headers["Content-Type"] = "application/offset+octet-stream"
    sent = two.client_a.send("PATCH", path, data=b"data", headers=headers)
    assert sent.status_code == 204
    assert (root_of(two, vfid) / "up").read_bytes() == b"data"
