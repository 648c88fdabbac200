"""Every address where a node listens is in a table of operations.md, and is closed to others."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import requests

from core.settings import Settings
from deploy.procfile import read
from tests.support.node import ROOT, Node

PAGE = ROOT / "docs" / "operations.md"
ROW = re.compile(
    r"^\| `\[(?P<table>[\w.]+)\] (?P<key>[\w-]+)` \| 127\.0\.0\.1:\d+ \|", re.MULTILINE
)
PAGES = ("/docs", "/redoc", "/openapi.json")
OPEN_AT_MANAGER = ("/", "/status", "/version", "/health", "/livez", "/readyz", *PAGES)
OPEN_AT_INTERNAL = ("/version", "/health", "/livez", "/readyz", "/metrics", *PAGES)
ASKED = ("/metrics", "/volumes", "/v1/jobs", "/v1/nodes", "/nowhere", "/download")


def listed(settings: Settings) -> set[tuple[str, int]]:
    """The addresses of the table, with the values of this node."""
    found = set()
    for row in ROW.finditer(PAGE.read_text("utf-8")):
        value: object = settings
        for name in [*row["table"].split("."), row["key"]]:
            value = getattr(value, name.replace("-", "_"))
        host, _, port = str(value).rpartition(":")
        found.add((host or "127.0.0.1", int(port)))
    return found


def listening(node: Node) -> Iterator[tuple[str, int]]:
    """Every TCP and UDP address where a process of the node waits for others."""
    for pid in (node.pid, *node.children()):
        try:
            connections = psutil.Process(pid).net_connections("inet")
        except psutil.NoSuchProcess:
            continue
        for one in connections:
            if one.status == psutil.CONN_LISTEN or (
                one.type == socket.SOCK_DGRAM and not one.raddr
            ):
                yield one.laddr.ip, one.laddr.port


def unix_sockets(node: Node) -> set[str]:
    """The paths of the Unix sockets of the node's processes."""
    pids = [node.pid, *node.children()]
    alive = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    every = (one.laddr for process in alive for one in process.net_connections("unix"))
    return {str(path) for path in every if path}


def test_a_node_listens_where_the_table_says_and_nowhere_else(stack: Node) -> None:
    table = listed(stack.settings)
    assert len(table) == 5
    assert set(listening(stack)) == table
    paths = {Path(path) for path in unix_sockets(stack)}
    assert {path.name for path in paths if path.is_absolute()} == {stack.settings.tree_socket.name}
    assert f"`{stack.settings.tree_socket.name}`" in PAGE.read_text("utf-8")
    assert set(read()) >= {"redis", "manager", "client", "internal", "flower"}


def status(url: str, method: str = "GET") -> int:
    return requests.request(method, url, timeout=60, allow_redirects=False).status_code


def test_the_manager_door_needs_its_secret(stack: Node) -> None:
    url = f"http://{stack.settings.api.manager.address}"
    for path in OPEN_AT_MANAGER:
        assert status(url + path) in (200, 503)
        assert status(url + path, "POST") == 403
    for path in ASKED:
        assert {status(url + path, method) for method in ("GET", "POST", "DELETE")} == {403}, path


def test_the_client_door_needs_a_ticket(stack: Node) -> None:
    url = f"http://{stack.settings.api.client.address}"
    for path in ("/download", "/download-archive", "/upload"):
        assert status(url + path) in (400, 404, 405)
        assert status(url + path, "PATCH") in (400, 404, 405)
    for path in set(ASKED) - {"/download"}:
        assert status(url + path) == 404, path


def test_the_internal_door_has_nothing_but_its_open_routes(stack: Node) -> None:
    url = f"http://{stack.settings.api.manager.internal_address}"
    for path in OPEN_AT_INTERNAL:
        assert status(url + path) in (200, 503)
        assert status(url + path, "POST") == 405
    for path in set(ASKED) - set(OPEN_AT_INTERNAL):
        assert status(url + path) == 404, path


def test_the_store_needs_its_password(stack: Node) -> None:
    address = ("127.0.0.1", stack.settings.vfolder.redis.port)
    with socket.create_connection(address, 60) as caller:
        for command in (b"PING\r\n", b"KEYS *\r\n", b"CONFIG GET dir\r\n"):
            caller.sendall(command)
            assert caller.recv(1000).startswith(b"-NOAUTH"), command


def test_flower_needs_its_login(stack: Node) -> None:
    url = f"http://{stack.settings.vfolder.flower.address}"
    for path in ("/", "/metrics", "/healthcheck", "/api/workers", "/tasks", "/static/", "/nowhere"):
        assert status(url + path) == 401, path
