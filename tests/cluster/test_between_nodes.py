"""Copies between volumes of two nodes, of which each serves one: streamed, resumed, verified."""

import os
import pwd
import signal
import socket
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psutil
import pytest
import redis

from api.jobs.doorbell import ringer
from backends.tree import RemoteTree, compare_trees, pack_frame, read_frame
from contract.trees import Opener, hostile
from core.cluster import NODE_HEADER, TREES_PATH, NodeStore, NodeVolume
from core.errors import NodeAway
from core.jobs import Unattended, requests
from core.jobs.store import JobStore, Submission
from core.names import VFolderId, VFolderPath
from core.process import unix_address
from core.redis import Database, connect
from core.settings import CONFIG_VARIABLE, Settings, load
from tests.cluster.test_connections import tls_in_front
from tests.support import preloaded
from tests.support.cable import Cable, laid
from tests.support.doors import RunningDoor, running_door, settings_in
from tests.support.node import gone, wait_for
from tests.support.node_records import node_record
from tests.support.reachable import reachable
from tests.support.trees import attributes
from tests.support.valkey import Valkey
from tests.support.worker import running_worker
from workers.verbs.transfer.node_trees import NodeTrees

#: Long enough for a slow machine: a job that lost its lease begins its count again.
LEASE_SECONDS = 8.0
MORE = f"""
[vfolder.jobs]
lease-seconds = {LEASE_SECONDS}
ring-again-seconds = 1.0
[vfolder.worker]
concurrency = 2
tree-processes = 2
[vfolder.doors]
processes = 1
backend-timeout = 55.0
"""
#: A file of three pieces under this limit, which takes seconds to copy.
BIG_BYTES, SLOW_BYTES_PER_SECOND = 48 << 20, 12_000_000
#: The reason of a running job that waits.
AWAY = "waiting for the source's node, which does not answer"


class Site:
    """A node with one volume: its worker and its manager door, each under the real server."""

    def __init__(self, settings: Settings, volume: str, before: Sequence[str] = ()) -> None:
        self.settings = settings
        self._before = before
        self.volume = volume
        self.door: RunningDoor | None = None
        self.worker = 0
        self._opened = ExitStack()

    def start(self) -> None:
        self.start_worker()
        self.door = self._opened.enter_context(running_door("manager", self.settings, self._before))

    def start_worker(self) -> None:
        self.worker = self._opened.enter_context(running_worker(self.settings, self.volume))

    def kill(self) -> None:
        """Kill all its processes at once, as a power failure does."""
        assert self.door is not None
        pids = [self.door.process.pid, self.worker]
        below = [
            child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True)
        ]
        _kill([*pids, *below])

    def kill_worker(self) -> None:
        below = [child.pid for child in psutil.Process(self.worker).children(recursive=True)]
        _kill([self.worker, *below])

    def announce(self, address: str) -> None:
        """Have other nodes ask its door at another address; before its start."""
        path = Path(self.settings.origin)
        table = "[api.manager]"
        path.write_text(path.read_text().replace(table, f'{table}\nannounce-addr = "{address}"'))
        self.settings = load(path, environ={})

    def stop(self) -> None:
        self._opened.close()

    def path(self, vfolder: str) -> Path:
        return self.settings.directory / self.volume / VFolderId.parse(vfolder).directory

    def staging(self) -> list[Path]:
        return list((self.settings.directory / self.volume).glob("*/.vfolder/staging/*"))


def _kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_for(lambda: gone(pids))


class Pair:
    """Node A serves the volume of targets, B that of sources; the tests ask the door of A."""

    def __init__(self, a: Site, b: Site, cable: Cable) -> None:
        self.a, self.b = a, b
        #: The way from A to the door of B.
        self.cable = cable

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        assert self.a.door is not None
        return self.a.door.taken(method, path, body)

    def submit(self, verb: str, source: str, target: str, **more: Any) -> str:
        order = {"verb": verb, "volume": self.b.volume, "source": source}
        order |= {"target": target, "target_volume": self.a.volume, **more}
        plan = self.ask("POST", "/v1/jobs", order | {"plan": True}).json()
        assert (plan["would_start"], plan["refusals"]) == (True, [])
        answer = self.ask("POST", "/v1/jobs", order)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job: str) -> Any:
        return self.ask("GET", f"/v1/jobs/{job}").json()

    def ended(self, job: str) -> Any:
        assert self.a.door is not None
        door, end = self.a.door, {"Prefer": "wait=30"}

        def done() -> Any:
            answer = door.call("GET", f"/v1/jobs/{job}", on_fault=True, headers=end, timeout=90)
            return answer.ok and answer.json()["done"] and answer.json()

        return wait_for(done, 120, lambda: str(self.job(job)))

    def has_copied(self, job: str, size_bytes: int) -> bool:
        document = self.job(job)
        assert not document["done"], document
        progress = document["progress"] or {}
        return (progress.get("done_bytes") or 0) >= size_bytes

    def waits(self, job: str) -> Any:
        """Return the progress of a job that says that it waits for the source's node."""
        document = self.job(job)
        assert not document["done"], document
        progress = document["progress"]
        if progress["phase"] != "wait for the source's node":
            return False
        assert (document["state"], document["state_reason"]) == ("running", AWAY)
        assert f"state_reason: {AWAY}\n" in self.said("jobs", "show", job)
        # A next attempt (a busy machine may lose the lease) has counted nothing yet.
        listed = AWAY if progress["percent"] is None else f"{AWAY}, at "
        assert listed in self.said("jobs", "list")
        return progress

    def said(self, *words: str) -> str:
        """Return what the command line of node A prints."""
        environment = os.environ | {CONFIG_VARIABLE: self.a.settings.origin}
        done = preloaded.run(["api.cli", *words], environment, 120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stands(self, job: str) -> bool:
        """Return whether nothing was copied for longer than a piece takes."""
        before = self.job(job)["progress"]["done_bytes"]
        time.sleep(3 * LEASE_SECONDS / 5)  # progress is stored once in a fifth of the lease
        return bool(self.job(job)["progress"]["done_bytes"] == before)


@contextmanager
def _pair(
    directory: Path,
    valkey: Valkey,
    volumes: tuple[str, str] = ("near", "far"),
    table: str = "[storage-proxy]",
    before: Sequence[str] = (),
) -> Iterator[Pair]:
    """Two nodes; `table` is the beginning of that table in the file of B."""
    sites = []
    for name, volume in zip("ab", volumes, strict=True):
        (directory / name / volume).mkdir(parents=True)
        settings = settings_in(directory / name, valkey.url, MORE)
        path = Path(settings.origin)
        text = path.read_text().replace('"node1"', f'"node-{volume}"')
        text = text.replace("[volume.local]", f"[volume.{volume}]").replace(
            '"local"', f'"{volume}"'
        )
        path.write_text(text.replace("[storage-proxy]", table) if name == "b" else text)
        sites.append(Site(load(path, environ={}), volume, before))
    with ExitStack() as opened:
        a, b = sites
        cable = opened.enter_context(laid(b.settings.api.manager.address.port))
        b.announce(f"127.0.0.1:{cable.port}")
        for site in sites:
            opened.callback(site.stop)
            site.start()
        yield Pair(a, b, cable)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[Pair]:
    with _pair(tmp_path_factory.mktemp("pair"), valkey) as found:
        yield found


@pytest.fixture
def source(pair: Pair) -> str:
    found = new_id()
    made = pair.ask("POST", "/folder/create", {"volume": "far", "vfid": found})
    assert made.status_code == 204
    return found


@pytest.fixture
def anchor() -> Iterator[Opener]:
    with ExitStack() as opened:

        def open_directory(path: Path) -> int:
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
            opened.callback(os.close, fd)
            return fd

        yield open_directory


def new_id() -> str:
    return f"user:{uuid4()}/{uuid4().hex}"


def fill(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def texts(root: Path) -> dict[str, str]:
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_text() for path in paths}


@pytest.mark.parametrize("verify", ["none", "size", "checksum"])
@pytest.mark.parametrize("verb", ["clone", "transfer"])
def test_a_hostile_tree_arrives_whole(
    pair: Pair, source: str, anchor: Opener, verb: str, verify: str
) -> None:
    hostile(pair.b.path(source))
    target = new_id()
    done = pair.ended(pair.submit(verb, source, target, verify=verify))
    assert (done["state"], done["node"]) == ("succeeded", "node-near"), done
    sides = anchor(pair.b.path(source)), anchor(pair.a.path(target))
    assert list(compare_trees(*sides, control=Unattended())) == []
    assert pair.a.staging() == []


def test_over_an_existing_tree(pair: Pair, source: str) -> None:
    target = new_id()
    fill(pair.b.path(source), same="same", changed="new", d__added="added", skipped="skipped.o")
    pair.ended(pair.submit("transfer", source, target))
    fill(pair.b.path(source), changed="newer", d__more="more", **{"no.o": "excluded"})
    fill(pair.a.path(target), extra="extra", **{"kept.o": "kept"})
    job = pair.submit(
        "transfer",
        source,
        target,
        on_conflict="replace",
        delete_extra=True,
        verify="checksum",
        filters=["- *.o"],
    )
    done = pair.ended(job)
    assert done["state"] == "succeeded", done
    assert texts(pair.a.path(target)) == {
        "same": "same",
        "changed": "newer",
        "d/added": "added",
        "d/more": "more",
        "skipped": "skipped.o",
        "kept.o": "kept",
    }
    counts = {name: done["result"][name] for name in ("same", "extra", "extra_removed", "files")}
    assert counts == {"same": 3, "extra": 1, "extra_removed": 1, "files": 2}


def test_rules_and_bounds_select_before_anything_is_sent(pair: Pair, source: str) -> None:
    target = new_id()
    fill(pair.b.path(source), a="a", big="b" * 1000, d__c="c")
    more = {"max_bytes": 10, "filters": ["- c"]}
    done = pair.ended(pair.submit("transfer", source, target, **more))
    assert done["state"] == "succeeded"
    assert texts(pair.a.path(target)) == {"a": "a"}


def test_a_file_and_a_directory_of_a_vfolder(pair: Pair, source: str) -> None:
    target = new_id()
    fill(pair.b.path(source), d__e="e", d__f="f", other="o")
    made = pair.ask("POST", "/folder/create", {"volume": "near", "vfid": target})
    assert made.status_code == 204
    one = {"source_path": "d/e", "target_path": "x/y"}
    assert pair.ended(pair.submit("transfer", source, target, **one))["state"] == "succeeded"
    two = {"source_path": "d", "target_path": "z"}
    assert pair.ended(pair.submit("transfer", source, target, **two))["state"] == "succeeded"
    assert texts(pair.a.path(target)) == {"x/y": "e", "z/e": "e", "z/f": "f"}
    missing = pair.ended(pair.submit("transfer", source, target, source_path="none"))
    assert missing["state"] == "failed"
    assert missing["error"]["title"] == "No such entry"


def test_no_node_moves_that_serves_one_end_only(pair: Pair, source: str) -> None:
    """The door refuses it; a run that cannot do it changes nothing, and goes back to the queue."""
    target = new_id()
    fill(pair.b.path(source), a="a")
    order = {"verb": "transfer", "volume": "far", "source": source, "remove_source": True}
    order |= {"target": target, "target_volume": "near"}
    refused = pair.ask("POST", "/v1/jobs", order)
    assert refused.status_code == 400
    assert refused.json()["type"].endswith("/storage/copy/no-common-node")
    settings = pair.a.settings
    store = JobStore(connect(settings, Database.JOBS), ringer(settings))
    job = store.submit(Submission(requests.parse(order)))
    wait_for(lambda: store.get(job.id).attempt > 2)
    assert pair.ask("POST", f"/v1/jobs/{job.id}/cancel").status_code == 202
    ended = pair.ended(job.id)
    assert ended["state"] == "cancelled", (ended["error"], ended["attempt"])
    assert texts(pair.b.path(source)) == {"a": "a"}
    assert not pair.a.path(target).exists()


def big(pair: Pair, source: str) -> bytes:
    data = os.urandom(BIG_BYTES)
    root = pair.b.path(source)
    (root / "big").write_bytes(data)
    os.link(root / "big", root / "second")
    fill(root, **{f"d{number}__small": "s" * 1000 for number in range(50)})
    return data


def check_big(pair: Pair, source: str, target: str, data: bytes) -> None:
    root = pair.a.path(target)
    assert (root / "big").read_bytes() == data
    assert (root / "second").stat().st_ino == (root / "big").stat().st_ino
    assert attributes(root / "d7") == attributes(pair.b.path(source) / "d7")
    assert len(list(root.iterdir())) == 52


def test_the_worker_of_the_target_is_killed_within_a_big_file(pair: Pair, source: str) -> None:
    data, target = big(pair, source), new_id()
    job = pair.submit("transfer", source, target, bytes_per_second=SLOW_BYTES_PER_SECOND)
    wait_for(lambda: pair.has_copied(job, 18 << 20))
    pair.a.kill_worker()
    assert not pair.a.path(target).exists()
    pair.a.start_worker()
    done = pair.ended(job)
    assert (done["state"], done["attempt"]) == ("succeeded", 2), done
    check_big(pair, source, target, data)


def test_the_node_of_the_source_is_killed_within_a_big_file(pair: Pair, source: str) -> None:
    data, target = big(pair, source), new_id()
    more = {"bytes_per_second": SLOW_BYTES_PER_SECOND, "verify": "checksum"}
    job = pair.submit("transfer", source, target, **more)
    wait_for(lambda: pair.has_copied(job, 18 << 20))
    pair.b.kill()
    try:
        waits = wait_for(lambda: pair.waits(job))
    finally:
        pair.b.start()
    # A busy machine may lose the lease; a next attempt counts the pieces when it goes on.
    assert waits["done_bytes"] >= 18 << 20 or pair.job(job)["attempt"] > 1, waits
    assert waits["bytes_per_second"] is waits["items_per_second"] is waits["eta_seconds"] is None
    done = pair.ended(job)
    assert (done["state"], done["state_reason"]) == ("succeeded", None), done
    check_big(pair, source, target, data)


def test_the_cable_between_the_nodes_is_cut_within_a_big_file(pair: Pair, source: str) -> None:
    """No packet passes for a while; a second time, the connections are lost meanwhile, too."""
    data, target = big(pair, source), new_id()
    more = {"bytes_per_second": SLOW_BYTES_PER_SECOND, "verify": "checksum"}
    job = pair.submit("transfer", source, target, **more)
    for size_bytes in (6 << 20, 24 << 20):
        wait_for(lambda least=size_bytes: pair.has_copied(job, least))
        pair.cable.cut()
        wait_for(lambda: pair.stands(job))
        if size_bytes > BIG_BYTES // 3:
            pair.cable.reset()
        pair.cable.mend()
    done = pair.ended(job)
    assert (done["state"], done["attempt"]) == ("succeeded", 1), done
    counts = {name: done["result"][name] for name in ("files", "copied_bytes", "hard_links")}
    assert counts == {"files": 51, "copied_bytes": BIG_BYTES + 50_000, "hard_links": 1}
    check_big(pair, source, target, data)


def test_a_pause_within_a_big_file(pair: Pair, source: str) -> None:
    data, target = big(pair, source), new_id()
    job = pair.submit("transfer", source, target, bytes_per_second=SLOW_BYTES_PER_SECOND)
    wait_for(lambda: pair.has_copied(job, 1))
    assert pair.ask("POST", f"/v1/jobs/{job}/pause").status_code == 202
    wait_for(lambda: pair.job(job)["state"] == "queued")
    assert not pair.a.path(target).exists()
    assert pair.ask("POST", f"/v1/jobs/{job}/resume").status_code == 202
    assert pair.ended(job)["state"] == "succeeded"
    check_big(pair, source, target, data)


def test_a_cancel_leaves_nothing(pair: Pair, source: str) -> None:
    big(pair, source)
    target = new_id()
    job = pair.submit("transfer", source, target, bytes_per_second=1_000_000)
    wait_for(lambda: pair.has_copied(job, 1))
    assert pair.ask("POST", f"/v1/jobs/{job}/cancel").status_code == 202
    assert pair.ended(job)["state"] == "cancelled"
    assert not pair.a.path(target).exists()
    assert pair.a.staging() == []


def test_the_budget_of_the_source_holds(pair: Pair, source: str) -> None:
    (pair.b.path(source) / "file").write_bytes(os.urandom(4_000_000))
    budget = "/v1/volumes/far/bandwidth"
    assert pair.ask("PUT", budget, {"bytes_per_second": 1_000_000}).status_code == 204

    def is_paced() -> bool:
        """The door of the source learns of a changed budget a moment later."""
        began = time.monotonic()
        done = pair.ended(pair.submit("clone", source, new_id(), verify="none"))
        assert done["state"] == "succeeded"
        return time.monotonic() - began > 2.0

    try:
        wait_for(is_paced)
    finally:
        assert pair.ask("PUT", budget, {"bytes_per_second": None}).status_code == 204


def question(volume: str, vfolder: str, *words: Any) -> bytes:
    return pack_frame([volume, vfolder, "", list(words)])


def test_a_node_with_tls_needs_a_trusted_certificate(
    pair: Pair, source: str, valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pair.b.door is not None
    path = VFolderPath.parse("")
    port = int(pair.b.door.url.rpartition(":")[2])
    with (
        tls_in_front(port, tmp_path) as (tls_port, certificate),
        redis.Redis.from_url(valkey.url, db=13, decode_responses=True) as apart,
    ):
        there = f"https://127.0.0.1:{tls_port}"
        served = {"far": NodeVolume(proven=True)}
        nodes = NodeStore(apart)
        nodes.renew(node_record("node-far", manager_url=there, volumes=served, answers=True))
        for trusted in (False, True):
            if trusted:
                monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            trees = NodeTrees(pair.a.settings, nodes, "far")
            assert trees.look()
            tree = RemoteTree(trees.to(VFolderId.parse(source))(path))
            if trusted:
                assert stat.S_ISDIR(tree.value("status")[0])
            else:
                with pytest.raises(NodeAway):
                    tree.value("status")


@pytest.mark.part("root")
def test_the_doors_need_no_right_to_read_what_is_copied(valkey: Valkey) -> None:
    """The door of the source belongs to another user than the files; its worker is root."""
    with TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        user = pwd.getpwuid(65_534)
        more = f'[storage-proxy]\nuser = "{user.pw_name}"'
        with _pair(place, valkey, ("closed", "open"), more, reachable()) as pair:
            assert pair.b.door is not None
            os.chown(place / "b/open", user.pw_uid, user.pw_gid)
            source, target = new_id(), new_id()
            root = pair.b.path(source)
            root.mkdir(parents=True)
            (root / "secret").write_text("secret")
            (root / "secret").chmod(0o600)
            assert psutil.Process(pair.b.door.process.pid).uids().real == user.pw_uid
            done = pair.ended(pair.submit("clone", source, target, verify="checksum"))
            assert done["state"] == "succeeded", done
            copy = pair.a.path(target) / "secret"
            assert copy.read_text() == "secret"
            assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_only_nodes_with_the_secret_read(pair: Pair, source: str) -> None:
    assert pair.b.door is not None
    right = {NODE_HEADER: "node-far"}
    asked = question("far", source, "status")
    for status, body, headers in (
        (403, asked, {**right, "X-BackendAI-Storage-Auth-Token": "wrong"}),
        (421, asked, {}),
        (421, question("near", source, "status"), right),
        (400, b"no question", right),
        (400, b"", right),
        (400, question("far", "../etc", "status"), right),
        (200, asked, right),
    ):
        answer = pair.b.door.send("POST", TREES_PATH, data=body, headers=headers)
        assert answer.status_code == status, answer.text
    with socket.socket(socket.AF_UNIX) as client:
        with unix_address(pair.b.settings.tree_socket) as address:
            client.connect(address)
        client.sendall(pack_frame(["wrong", "far", source, "", ["status"]]))
        with client.makefile("rb") as stream:
            assert read_frame(stream.read)[:2] == ("storage", "Forbidden")
