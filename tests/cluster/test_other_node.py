"""One node's doors serve the volume of another: operations, errors, files and tickets."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from api.doors.manager import node_operations
from backends.entries import entries
from backends.volumes import PATH, NodeCalls, remote
from core.access import DownloadTicket, tickets
from core.cluster import NODE_HEADER, Node
from core.errors import DeadlineExceeded, Unavailable
from core.names import VFolderId, VFolderPath
from core.settings import Settings, load
from core.settings.reference import ManagerDoorTable
from tests.cluster.test_connections import tls_in_front
from tests.support.doors import SECRET, TICKET_SECRET, RunningDoor, running_door, settings_in
from tests.support.node import wait_for
from tests.support.node_records import node_record
from tests.support.valkey import Valkey
from tests.support.worker import running_worker

#: Long enough (seconds) for a call to another node on an overloaded machine.
DOORS = "[vfolder.doors]\nbackend-timeout = 55.0\n"
#: A name that is not UTF-8.
ODD = "odd-\udcff"


@dataclass
class Two:
    """Node A has the doors that the tests ask, node B has the volume `far`, which A lacks."""

    a: RunningDoor
    manager_b: RunningDoor
    client_a: RunningDoor
    client_b: RunningDoor
    far: Path
    b: Settings

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        """Return the answer of node A's manager door, once node B is there.

        A node that stood still for some seconds is lost for the others until its next beat.
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
        manager_b = opened.enter_context(running_door("manager", b))
        client_a = opened.enter_context(running_door("client", a))
        client_b = opened.enter_context(running_door("client", b))
        yield Two(manager, manager_b, client_a, client_b, b.directory / "far", b)


@pytest.fixture
def vfid(two: Two) -> str:
    found = f"user:{uuid4()}/{uuid4().hex}"
    made = two.ask("POST", "/folder/create", {"volume": "far", "vfid": found})
    assert made.status_code == 204
    return found


def root_of(two: Two, vfid: str) -> Path:
    return two.far / VFolderId.parse(vfid).directory


def far(two: Two, method: str, path: str, vfid: str, **more: Any) -> requests.Response:
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


def test_operations_on_entries(two: Two, vfid: str) -> None:
    root = root_of(two, vfid)
    assert root.is_dir()
    made = far(two, "POST", "/folder/file/mkdir", vfid, relpath=["d/e", "f"], parents=True)
    assert made.status_code == 200
    (root / "d" / ODD).write_bytes(b"12345")
    items = far(two, "POST", "/folder/file/list", vfid, relpath="d").json()["items"]
    assert [item["name"] for item in items] == ["e", ODD]
    assert items[1]["stat"]["size"] == 5
    assert items[1]["stat"]["modified"].startswith("20")
    moved = far(two, "POST", "/folder/file/move", vfid, src_relpath="d", dst_relpath="g")
    assert moved.status_code == 204
    renamed = far(two, "POST", "/folder/file/rename", vfid, relpath="g/e", new_name="n")
    assert renamed.status_code == 204
    used = far(two, "GET", "/folder/usage", vfid).json()
    assert (used["file_count"], used["used_bytes"]) == (4, 5)
    body = {"relpaths": [f"g/{ODD}", "f"], "recursive": True}
    assert far(two, "POST", "/folder/file/delete", vfid, **body).status_code == 200
    assert sorted(path.name for path in root.rglob("*")) == ["g", "n"]


def test_operations_on_volume_scope_and_metadata(two: Two, vfid: str) -> None:
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
    kept = far(two, "POST", "/folder/metadata", vfid, payload=payload)
    assert kept.status_code == 200
    assert far(two, "GET", "/folder/metadata", vfid).json()["payload"] == payload
    where = far(two, "GET", "/folder/mount", vfid, subpath="").json()
    assert where == {"path": str(root_of(two, vfid))}


def test_errors_are_the_same_as_at_home(two: Two, vfid: str) -> None:
    absent = f"user:{uuid4()}/{uuid4().hex}"
    (root_of(two, vfid) / "out").symlink_to("/etc")
    for path, body, status in (
        ("/folder/file/list", {"vfid": absent, "relpath": "."}, 404),
        ("/folder/file/list", {"vfid": vfid, "relpath": "none"}, 400),
        ("/folder/file/list", {"vfid": vfid, "relpath": "out"}, 400),
        ("/folder/create", {"vfid": vfid}, 409),
        ("/folder/file/list", {"vfid": vfid, "relpath": ".", "volume": "nowhere"}, 400),
    ):
        answer = two.ask("POST", path, {"volume": "far", **body})
        assert answer.status_code == status, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert str(two.far) not in answer.text


def test_files_come_in_pieces(two: Two, vfid: str) -> None:
    data = bytes(range(256)) * 12_000
    (root_of(two, vfid) / "big").write_bytes(data)
    assert far(two, "POST", "/folder/file/fetch", vfid, relpath="big").content == data
    assert far(two, "POST", "/folder/file/fetch", vfid, relpath="none").content == b""


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


@pytest.mark.parametrize("verb", ["clone", "transfer"])
def test_a_copy_that_no_node_can_do_is_refused_by_name(two: Two, verb: str) -> None:
    """Plan and submission agree, and nothing waits for a node that will never come.

    Node A has no worker, so no other node can read its volume.
    """
    volumes = ("local", "far")
    source, target = (f"user:{uuid4()}/{uuid4().hex}" for _ in range(2))
    made = two.ask("POST", "/folder/create", {"volume": volumes[0], "vfid": source})
    assert made.status_code == 204
    order = {"verb": verb, "volume": volumes[0], "source": source}
    order |= {"target": target, "target_volume": volumes[1]}
    plan = two.ask("POST", "/v1/jobs", order | {"plan": True}).json()
    assert plan["would_start"] is False
    assert [one["status"] for one in plan["refusals"]] == [400]
    refused = two.ask("POST", "/v1/jobs", order)
    assert refused.status_code == 400
    assert refused.json()["type"] == "/problems/storage/copy/no-common-node"
    assert plan["refusals"][0]["detail"] == refused.json()["detail"]


def test_tickets_lead_to_the_node_of_the_volume(two: Two, vfid: str) -> None:
    (root_of(two, vfid) / "file").write_text("far away")
    issued = far(two, "POST", "/folder/file/download", vfid, relpath="file").json()
    assert issued["client_url"] == two.client_b.url
    ticket = tickets.read(DownloadTicket, issued["token"], TICKET_SECRET)
    assert ticket.client_url == two.client_b.url
    path = f"/download?token={issued['token']}"

    def redirected() -> list[requests.Response]:
        answer = two.client_a.send("GET", path, allow_redirects=False)
        return [] if answer.status_code == 503 else [answer]  # node B counts as lost for a moment

    sent = wait_for(redirected)[0]
    assert sent.status_code == 307
    assert sent.headers["Location"] == two.client_b.url + path
    assert two.client_a.send("GET", path).text == "far away"


def test_an_upload_at_the_wrong_door_arrives(two: Two, vfid: str) -> None:
    order = {"relpath": "up", "size": "4"}
    issued = far(two, "POST", "/folder/file/upload", vfid, **order).json()
    path = f"/upload?token={issued['token']}"
    assert two.client_a.send("HEAD", path, allow_redirects=True).headers["Upload-Offset"] == "0"
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
    headers["Content-Type"] = "application/offset+octet-stream"
    sent = two.client_a.send("PATCH", path, data=b"data", headers=headers)
    assert sent.status_code == 204
    assert (root_of(two, vfid) / "up").read_bytes() == b"data"


def call_of(two: Two, vfid: str) -> bytes:
    """A call that makes the directory `made` in a vfolder of node B."""
    path = VFolderPath(("made",))
    return remote.encode_call("far", entries.make_directory, vfid, path, parents=False)


def post(door: RunningDoor, call: bytes, **headers: str) -> requests.Response:
    return door.send("POST", PATH, data=call, headers=headers)


def test_a_call_is_done_at_the_node_that_is_meant_or_not_at_all(two: Two, vfid: str) -> None:
    """It is never sent on, so it cannot go round in circles."""
    call = call_of(two, vfid)
    for door, node in ((two.a, "node-a"), (two.a, "node-b"), (two.manager_b, "node-a")):
        answer = post(door, call, **{NODE_HEADER: node})
        assert answer.status_code == 421, (door.url, node)
        assert answer.json()["retriable"] is True
    assert post(two.manager_b, call).status_code == 421
    assert not (root_of(two, vfid) / "made").exists()
    done = post(two.manager_b, call, **{NODE_HEADER: "node-b"})
    assert done.status_code == 200
    assert (root_of(two, vfid) / "made").is_dir()


def test_a_call_needs_the_secret_and_must_be_one(two: Two, vfid: str) -> None:
    right = {NODE_HEADER: "node-b"}
    wrong = {**right, "X-BackendAI-Storage-Auth-Token": "wrong"}
    assert post(two.manager_b, call_of(two, vfid), **wrong).status_code == 403
    assert post(two.manager_b, b"no call", **right).status_code == 400
    too_much = b"x" * (node_operations.BODY_MAX_BYTES + 1)
    assert post(two.manager_b, too_much, **right).status_code == 413


@contextmanager
def listener(*, answers: bool) -> Iterator[str]:
    """A manager door that is away, or one that takes a request and dies."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        if not answers:
            server.close()
            yield url
            return

        def die() -> None:
            connection, _ = server.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=die)
        thread.start()
        yield url
        thread.join()


def node(name: str, url: str) -> Node:
    return node_record(name, manager_url=url)


def test_the_next_node_is_asked_only_when_the_first_did_not_begin(two: Two, vfid: str) -> None:
    calls = NodeCalls(SECRET, 10.0)
    call = call_of(two, vfid)
    there = node("node-b", two.manager_b.url)
    with listener(answers=False) as away:
        for first in (node("x", away), node("x", two.manager_b.url), node("x", "")):
            outcome = calls.send("far", [first, there], call)
            assert remote.decode_outcome(entries.make_directory, outcome) is None
            (root_of(two, vfid) / "made").rmdir()
            with pytest.raises(Unavailable, match="takes calls"):
                calls.send("far", [first], call)
    with listener(answers=True) as dying, pytest.raises(DeadlineExceeded, match="take effect"):
        calls.send("far", [node("x", dying), there], call)
    assert not (root_of(two, vfid) / "made").exists()


def test_a_node_with_tls_needs_a_trusted_certificate(
    two: Two, vfid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = call_of(two, vfid)
    port = int(two.manager_b.url.rpartition(":")[2])
    with tls_in_front(port, tmp_path) as (tls_port, certificate):
        there = node("node-b", f"https://127.0.0.1:{tls_port}")
        with pytest.raises(Unavailable, match="takes calls"):
            NodeCalls(SECRET, 10.0).send("far", [there], call)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        NodeCalls(SECRET, 10.0).send("far", [there], call)
    assert (root_of(two, vfid) / "made").is_dir()


@pytest.mark.parametrize(
    ("table", "url"),
    [
        ({"service_addr": "10.0.0.1:6022"}, "http://10.0.0.1:6022"),
        ({"service_addr": "0.0.0.0:6022"}, ""),
        ({"service_addr": "0.0.0.0:6022", "announce_addr": "n1:7022"}, "http://n1:7022"),
        ({"service_addr": "[::]:6022", "announce_addr": "[fd00::1]:1"}, "http://[fd00::1]:1"),
        ({"announce_addr": "n1:1", "ssl_enabled": True}, "https://n1:1"),
    ],
    ids=str,
)
def test_a_node_announces_an_address_that_others_can_reach(table: dict[str, Any], url: str) -> None:
    assert ManagerDoorTable(secret="s", **table).url == url
