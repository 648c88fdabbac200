"""Three nodes in network namespaces: one is killed, one is cut off; both come back.

Nodes 1 and 3 share a volume, node 2 has one alone. The test asks the doors from inside the
namespaces; the store runs in the hub.
"""

import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from redis import Redis
from redis.exceptions import RedisError

from core.names import VFolderId
from core.process import end_with_parent
from core.settings import CONFIG_VARIABLE
from deploy.embedded_store import find_server, write_config
from tests.support import preloaded
from tests.support.broadcasts import subscribed
from tests.support.doors import AUTH, SECRET, TICKET_SECRET
from tests.support.hosts import HUB_ADDRESS, Host, Hosts, hosts
from tests.support.node import wait_for
from tests.support.trees import snapshot

#: The cluster knows its own state after this long (seconds).
RIGHT_WITHIN = 15.0
TURN = ["node_left", "node_joined"]
PORT = 6379
PASSWORD = "of-the-hub"
FILES, FILE_BYTES = 40, 100_000
CLONES = 4
#: Slow enough that the clones still run when the faults come.
SLOW_BYTES_PER_SECOND = 400_000
CONFIG = """
[storage-proxy]
node-id = "{name}"
secret = "{ticket_secret}"
session-expire = "1d"
[api.client]
service-addr = "{address}:6021"
[api.manager]
service-addr = "{address}:6022"
internal-addr = "{address}:16023"
secret = "{secret}"
[volume.{volume}]
backend = "vfs"
path = "{path}"
[vfolder.redis]
url = "redis://:{password}@{hub}:{port}"
[vfolder.jobs]
lease-seconds = 4.0
ring-again-seconds = 1.0
bulk-slots = 4
[vfolder.worker]
concurrency = 2
tree-processes = 1
[vfolder.doors]
processes = 1
threads = 8
client-url = "http://{address}:6021"
"""


class Node:
    """The worker, the manager door and the internal door of one host."""

    def __init__(self, host: Host, number: int, directory: Path, volume: str) -> None:
        self.host = host
        self.name = f"node-{number}"
        self.volume = volume
        self._directory = directory / self.name
        self._directory.mkdir()
        (directory / volume).mkdir(exist_ok=True)
        self._config = self._directory / "storage-proxy.toml"
        self._config.write_text(
            CONFIG.format(
                name=self.name,
                address=host.address,
                volume=volume,
                path=directory / volume,
                secret=SECRET,
                ticket_secret=TICKET_SECRET,
                password=PASSWORD,
                hub=HUB_ADDRESS,
                port=PORT,
            )
        )
        self._log = self._directory / "log"
        self._processes: list[preloaded.Running] = []

    def start(self) -> None:
        for module, what in (("workers", "worker"), ("api", "manager"), ("api", "internal")):
            with self._log.open("ab") as log:
                self._processes.append(
                    preloaded.start(
                        "worker" if what == "worker" else "door",
                        [f"{module}.serve", what],
                        output=log,
                        environment=os.environ | {CONFIG_VARIABLE: str(self._config)},
                        new_session=True,
                        host=self.host.name,
                    )
                )

    def kill(self) -> None:
        """Kill all its processes at once, as a power failure does."""
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(120)
        self._processes.clear()

    def ask(self, method: str, path: str, body: Any = None, port: int = 6022) -> Any:
        """Send a request to a door from its own host; return status and body, or (0, None)."""
        url = f"http://{self.host.address}:{port}{path}"

        def call() -> Any:
            with requests.Session() as session:
                session.trust_env = False
                return session.request(method, url, json=body, headers=AUTH, timeout=60)

        try:
            answer = self.host.run(call)
        except requests.RequestException:
            return 0, None
        return answer.status_code, answer.json() if answer.content else None

    def get(self, path: str, port: int = 6022) -> Any:
        return self.ask("GET", path, port=port)[1]

    def volumes(self) -> set[str]:
        found = self.get("/volumes")
        return {one["name"] for one in found["volumes"]} if found else set()

    def alive(self) -> set[str]:
        found = self.get("/v1/nodes")
        nodes = found.get("nodes", []) if found else []  # a door that just starts answers 503
        return {one["id"] for one in nodes if one["alive"]}

    def ready(self) -> tuple[int, set[str]]:
        """Return the status of `/readyz` and the parts that it calls unhealthy."""
        status, report = self.ask("GET", "/readyz", port=16023)
        checks = report["connectivity"]["connectivity_checks"] if report else []
        return status, {
            f"{c['service_group']}/{c['component_id']}" for c in checks if not c["is_healthy"]
        }

    def lines(self) -> list[dict[str, Any]]:
        text = self._log.read_text("utf-8", "replace")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


class Cluster:
    """The hosts, the store, the nodes, and the events that the nodes send about one another."""

    def __init__(self, hosts: Hosts, directory: Path, store: Path) -> None:
        self.hosts = hosts
        self.directory = directory
        self._store = store
        self.nodes = [
            Node(host, number, directory, volume)
            for number, (host, volume) in enumerate(
                zip(hosts.nodes, ("shared", "alone", "shared"), strict=True), 1
            )
        ]
        self.received: list[tuple[str, str]] = []
        self._stop = threading.Event()
        self._listening: Future[None] | None = None

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        names = {node.name for node in self.nodes}
        wait_for(lambda: all(node.alive() == names for node in self.nodes), 180, self.last_lines)
        wait_for(
            lambda: all(node.ready() == (200, set()) for node in self.nodes), 120, self.last_lines
        )

    def last_lines(self) -> str:
        return "\n".join(str(line) for node in self.nodes for line in node.lines()[-10:])

    def listen(self) -> None:
        """Record the events about nodes from now on."""
        ready = threading.Event()
        self._listening = self.hosts.hub.begin(lambda: self._receive(ready))
        assert ready.wait(60)

    def _receive(self, ready: threading.Event) -> None:
        with Redis(host=HUB_ADDRESS, port=PORT, db=4, password=PASSWORD) as client:
            channel = subscribed(client, "events_all")
            ready.set()
            while not self._stop.is_set():
                message = channel.get_message(timeout=0.2)
                found = json.loads(message["data"]) if message else {"name": ""}
                if found["name"] in ("node_joined", "node_left"):
                    body = json.loads(found["payload"])
                    self.received.append((found["name"], body["node_id"]))
            channel.close()

    def stop(self) -> None:
        self._stop.set()
        if self._listening is not None:
            self._listening.result(120)
        for node in self.nodes:
            node.kill()

    def stream(self) -> list[str]:
        """Return the names of the events for the manager."""

        def read() -> list[str]:
            with Redis(host=HUB_ADDRESS, port=PORT, db=4, password=PASSWORD) as client:
                return [entry[b"name"].decode() for _, entry in client.xrange("events")]

        return self.hosts.hub.run(read)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as opened:
        network = opened.enter_context(hosts(3))
        (tmp_path / "store").mkdir()
        config = write_config(tmp_path / "store", PORT, PASSWORD)
        with config.open("a") as text:
            text.write(f"\nbind {HUB_ADDRESS}\n")
        store = subprocess.Popen(
            network.hub.command(str(find_server()), str(config)),
            preexec_fn=end_with_parent(),  # noqa: PLW1509 - a prctl only
        )
        opened.callback(store.wait, 120)
        opened.callback(store.kill)
        wait_for(lambda: network.hub.run(_store_answers))
        found = Cluster(network, tmp_path, config)
        opened.callback(found.stop)
        found.start()
        yield found


def _store_answers() -> bool:
    try:
        with Redis(host=HUB_ADDRESS, port=PORT, password=PASSWORD) as client:
            return bool(client.ping())
    except RedisError:
        return False


def new_id() -> str:
    return f"user:{uuid4()}/{uuid4().hex}"


def filled(top: Path) -> str:
    vfid = new_id()
    root = top / VFolderId.parse(vfid).directory
    root.mkdir(parents=True)
    for number in range(FILES):
        (root / f"file-{number}").write_text(os.urandom(FILE_BYTES // 2).hex())
    return vfid


@pytest.mark.part("network-namespaces")
@pytest.mark.slow
def test_one_is_killed_and_one_cut_off(cluster: Cluster) -> None:
    one, two, three = cluster.nodes
    assert all(node.volumes() == {"shared", "alone"} for node in cluster.nodes)
    shared = cluster.directory / "shared"
    source = filled(shared)
    limit = {"bytes_per_second": SLOW_BYTES_PER_SECOND}
    assert one.ask("PUT", "/v1/volumes/shared/bandwidth", limit)[0] == 204
    targets = [new_id() for _ in range(CLONES)]
    jobs = [clone(one, source, target) for target in targets]
    # Both nodes of the volume take from its one queue.
    wait_for(
        lambda: {job(one, i)["node"] for i in jobs} >= {"node-1", "node-3"}, 120, cluster.last_lines
    )
    doomed = new_id()
    assert one.ask("POST", "/folder/create", {"volume": "alone", "vfid": doomed})[0] == 204
    cluster.listen()

    two.kill()
    cluster.hosts.cut(3)
    wait_for(lambda: one.alive() == {"node-1"}, RIGHT_WITHIN, cluster.last_lines)
    wait_for(lambda: one.volumes() == {"shared"}, RIGHT_WITHIN, cluster.last_lines)
    away = {"redis/jobs", "redis/events", "broker/jobs"}
    wait_for(lambda: three.ready() == (503, away), RIGHT_WITHIN, cluster.last_lines)
    ready = (200, set[str]())  # a lost neighbour makes no other node unready
    wait_for(lambda: one.ready() == ready, RIGHT_WITHIN, cluster.last_lines)
    assert one.ask("GET", "/folder/fs-usage", {"volume": "alone"})[0] == 503
    waiting = one.ask("POST", "/folder/delete", {"volume": "alone", "vfid": doomed})[1]["id"]
    assert "waiting for a node" in job(one, waiting)["state_reason"]
    placed = one.ask("POST", "/v1/jobs", {"verb": "usage", "volume": "shared", "vfolder": source})[
        1
    ]["id"]

    assert one.ask("PUT", "/v1/volumes/shared/bandwidth", {"bytes_per_second": None})[0] == 204
    everything = [*jobs, placed]
    wait_for(lambda: all(job(one, i)["done"] for i in everything), 120, cluster.last_lines)
    assert {job(one, i)["state"] for i in everything} == {"succeeded"}
    assert job(one, placed)["node"] == "node-1"
    taken_over = [i for i in jobs if job(one, i)["attempt"] > 1]
    assert taken_over, "the cut came when node 3 had a run"

    cluster.hosts.mend(3)
    two.start()
    names = {node.name for node in cluster.nodes}
    wait_for(lambda: one.alive() == names, 120, cluster.last_lines)
    wait_for(lambda: all(node.ready()[0] == 200 for node in cluster.nodes), 120, cluster.last_lines)
    wait_for(lambda: job(one, waiting)["done"], 120, cluster.last_lines)
    assert job(one, waiting)["state"] == "succeeded"
    assert job(one, waiting)["node"] == "node-2"
    check_nothing_ran_twice(cluster, [*everything, waiting])
    original = snapshot(shared / VFolderId.parse(source).directory)
    for target in targets:
        assert snapshot(shared / VFolderId.parse(target).directory) == original
    check_events_about_nodes(cluster)


def clone(node: Node, source: str, target: str) -> str:
    body = {"verb": "clone", "volume": "shared", "source": source, "target": target}
    found: str = node.ask("POST", "/v1/jobs", body)[1]["id"]
    return found


def job(node: Node, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = node.get(f"/v1/jobs/{job_id}")
    return found


def check_nothing_ran_twice(cluster: Cluster, jobs: list[str]) -> None:
    """Check that one run settled each job, and that it began as often as its record says."""
    lines = [line for node in cluster.nodes for line in node.lines()]
    ended = Counter(line["job_id"] for line in lines if line["event"] == "job ended")
    begun = Counter(line["job_id"] for line in lines if line["event"] == "job started")
    one = cluster.nodes[0]
    assert ended == Counter(jobs)
    assert begun == Counter({i: job(one, i)["attempt"] for i in jobs})
    expected = {"vfolder_clone_success": CLONES, "vfolder_deletion_success": 1}
    wait_for(lambda: Counter(cluster.stream()) == expected)


def check_events_about_nodes(cluster: Cluster) -> None:
    """Check that each node left once and then came back once, as the events say.

    Nodes 2 and 3 certainly did. A node that paused for some seconds may have done so, too.
    """

    def in_turn() -> bool:
        stories = {
            node: [e for e, who in cluster.received if who == node.name] for node in cluster.nodes
        }
        turns = all(story == TURN * (len(story) // 2) for story in stories.values())
        return turns and all(stories[node] for node in cluster.nodes[1:])

    wait_for(in_turn, failure=lambda: str(cluster.received))
