"""Each route of docs/wire.md, called as the released clients do, on a whole node.

The stand-ins (`tests/support/released/`) fail where a released client fails.
"""

from types import ModuleType
from typing import Any

import pytest
import requests
from redis import Redis

from tests.support.node import Node
from tests.support.released import artifacts, clients, files, manager
from tests.support.released.clients import ReleasedClient
from tests.support.released.discovery import discover
from tests.support.released.side import CALLS, PATIENCE_SECONDS, ReleasedManager
from tests.support.wire_table import Row, rows

#: What Prometheus waits for a scrape where its configuration does not say (seconds).
SCRAPE_SECONDS = 10
#: Every call of each door by method and path.
DOOR_CALLS = {"manager": CALLS, "client": clients.CALLS}
#: How long each client waits (seconds); the others have no limit of their own.
PATIENCE = {
    "manager": PATIENCE_SECONDS,
    "SDK and CLI": clients.PATIENCE_SECONDS,
    "Prometheus": SCRAPE_SECONDS,
}
_MODULES: tuple[ModuleType, ...] = (manager, files, artifacts)  # their import fills CALLS


@pytest.fixture
def client(side: ReleasedManager, stack: Node) -> ReleasedClient:
    return ReleasedClient(side, f"http://{stack.settings.api.client.address}")


def test_the_tables_say_who_calls_each_route_and_how_long_they_wait() -> None:
    for door, calls in DOOR_CALLS.items():
        table = {(row.method, row.path): row for row in rows() if row.door == door}
        assert set(table) == set(calls)
        for route, row in table.items():
            assert row.readers == calls[route].readers, row.name
    for row in rows():
        waits = [PATIENCE[name] for name in row.readers if name in PATIENCE]
        assert row.patience == (min(waits) if waits else None), row.name


def _parameter(row: Row) -> Any:
    needs = [pytest.mark.part("seaweedfs")] if row.path.startswith("/v1/storages/s3/") else []
    return pytest.param(row, marks=needs, id=row.name)


@pytest.mark.parametrize("row", [_parameter(row) for row in rows() if row.door in DOOR_CALLS])
def test_a_released_client_calls_the_route(
    row: Row, side: ReleasedManager, client: ReleasedClient
) -> None:
    """The answer is one that it understands, in time, with a status that the table names."""
    caller: Any = side if row.door == "manager" else client
    DOOR_CALLS[row.door][row.method, row.path].drive(caller)
    statuses = {status for method, path, status in side.asked if _is_of(row, method, path)}
    assert statuses
    assert statuses <= row.success


def _is_of(row: Row, method: str, path: str) -> bool:
    top, variable, _ = row.path.partition("<")
    return method == row.method and (path.startswith(top) if variable else path == row.path)


def test_we_answer_sooner_than_the_manager_gives_up(stack: Node) -> None:
    own = stack.settings.vfolder
    assert own.usage.answer_seconds < PATIENCE_SECONDS
    assert own.doors.backend_timeout < PATIENCE_SECONDS


@pytest.mark.parametrize("path", [row.path for row in rows() if row.door == "internal"])
def test_probes_and_prometheus(stack: Node, path: str) -> None:
    url = f"http://{stack.settings.api.manager.internal_address}{path}"
    assert requests.get(url, timeout=PATIENCE_SECONDS).status_code == 200


# -- What these clients meet on the way ------------------------------------------------------------
#: More entries than the manager door counts by itself.
MANY = 20_600


def test_the_usage_of_a_big_vfolder_is_numbers(side: ReleasedManager) -> None:
    (side.path / "dir").mkdir(parents=True)
    for index in range(MANY - 2):
        (side.path / "dir" / str(index)).touch()
    side.write("a", "12345")
    assert manager.get_usage(side) == manager.Usage(MANY, 5)
    assert manager.get_used_bytes(side).used_bytes > 0


def test_a_purge_ends_by_its_event_whatever_is_gone(side: ReleasedManager) -> None:
    """An absent vfolder is deleted; a delete on a volume without a node fails."""
    assert manager.delete_folder(side, made=False).name == "vfolder_deletion_success"
    side.volume, side.vfid = "gone", side.vfid.replace("user:", "project:")
    assert manager.delete_folder(side, made=False).name == "vfolder_deletion_failure"


def test_the_record_of_discovery(stack: Node) -> None:
    """Its reader takes it, and Prometheus scrapes what listens there."""
    target = stack.settings.vfolder.redis.target("live")
    with Redis.from_url(f"{target.plain_url}/0") as redis:
        (service,) = discover(redis, "storage-proxy")
    url = f"http://{service.endpoint.prometheus_address}/metrics"
    assert "vfolder_" in requests.get(url, timeout=SCRAPE_SECONDS).text
    door = f"http://{service.endpoint.address}/"
    assert requests.get(door, timeout=PATIENCE_SECONDS).json()["type"] == "manager-facing"


def test_paths_with_dots_that_stay_inside(side: ReleasedManager, client: ReleasedClient) -> None:
    side.write("dir/b", "beta")
    assert files.fetch_file(side, "dir/../a") == b"text"
    assert {one.name for one in files.list_files(side, "dir/../dir")} == {"b"}
    assert manager.get_mount_path(side, "dir/../dir")
    token = files.request_download(side, "dir/../a")
    assert client.send("GET", f"/download?token={token}").text == "text"
    assert client.send("GET", f"/download?token={token}&dst_dir=dir/..").text == "text"
    url = client.upload_url(b"0123456789", "dir/../dir/new")
    sent = {**clients.PIECE, "Upload-Offset": "0"}
    assert client.send("PATCH", url, data=b"0123456789", headers=sent).status_code == 204
    assert client.stored("dir/new") == b"0123456789"
    token = files.request_archive(side, "dir/../dir/b")
    assert client.send("GET", f"/download-archive?token={token}").status_code == 200


def test_an_upload_whose_vfolder_is_gone(side: ReleasedManager, client: ReleasedClient) -> None:
    url = client.upload_url()
    manager.delete_folder(side)
    for method in ("HEAD", "PATCH"):
        sent = {**clients.PIECE, "Upload-Offset": "0"}
        answer = client.send(method, url, headers=sent, data=b"0123456789" * (method == "PATCH"))
        assert answer.status_code in {404, 410}


def test_metric_is_a_capability_where_figures_are_given(side: ReleasedManager) -> None:
    (volume,) = manager.get_volumes(side)
    assert ("metric" in volume.capabilities) == (manager.get_performance(side) is not None)
