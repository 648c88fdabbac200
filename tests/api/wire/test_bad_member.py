"""One bad member never breaks the whole: a volume, a plugin or a node's record that is wrong."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from core.cluster import STATS_KEY
from core.cluster.nodes import _NODES, _SEEN
from core.redis import Database, connect
from core.settings import Settings
from tests.api.wire.test_health import checks
from tests.support.doors import RunningDoor, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey

#: Each volume is wrong in another way; the reason must have these words.
REASONS = {
    "arrays": "there is no option 'netapp_endpoit'",
    "lacks": "missing required field `weka_username`",
    "typed": "projects_file",
    "absent": "No backend is called 'absent'",
    "plugin": "the plugin 'breaks' (breaks:Breaks) raised KeyError",
    "probes": "raised ZeroDivisionError",
    "faulty": "`faults` a file",
}
NOT_YET = {"error_message": "not proved yet"}
VOLUMES = """
[volume.arrays]
backend = "netapp"
path = "local"
options = { netapp_endpoit = "https://array" }
[volume.lacks]
backend = "weka"
path = "local"
options = { weka_endpoint = "https://array" }
[volume.typed]
backend = "xfs"
path = "local"
options = { projects_file = 7 }
[volume.absent]
backend = "absent"
path = "local"
[volume.plugin]
backend = "breaks"
path = "local"
[volume.probes]
backend = "divides"
path = "local"
[volume.faulty]
backend = "faulty"
path = "local"
"""
PLUGINS = """
from backends.mounted import PosixBackend


class Breaks(PosixBackend):
    def __init__(self, mount):
        super().__init__(mount)
        self.endpoint = mount.options["endpoint"]


class Divides(PosixBackend):
    def probe(self):
        return str(1 / 0)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Settings:
    directory = tmp_path_factory.mktemp("bad")
    more = VOLUMES + "[vfolder.doors]\nprocesses = 1\n"
    return settings_in(directory, valkey.url, more)


@pytest.fixture(scope="module")
def door(place: Settings) -> Iterator[RunningDoor]:
    package = place.directory / "packages"
    (package / "breaks-1.0.dist-info").mkdir(parents=True)
    (package / "breaks-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: breaks\nVersion: 1.0\n"
    )
    (package / "breaks-1.0.dist-info" / "entry_points.txt").write_text(
        "[vfolder.backends]\nbreaks = breaks:Breaks\ndivides = breaks:Divides\n"
    )
    (package / "breaks.py").write_text(PLUGINS)
    with running_door("manager", place, ["env", f"PYTHONPATH={package}"]) as running:
        yield running


def test_the_list_of_volumes_has_the_others(door: RunningDoor) -> None:
    wait_for(lambda: "volume/probes" in checks(door.url, "/readyz")[1])
    found = door.call("GET", "/volumes").json()["volumes"]
    assert {volume["name"] for volume in found} == {"local", "probes"}


def test_each_is_down_with_its_reason(door: RunningDoor) -> None:
    def all_seen() -> dict[str, dict[str, Any]] | None:
        found = checks(door.url, "/readyz")[1]
        said = [found.get(f"volume/{name}", NOT_YET)["error_message"] for name in REASONS]
        return None if NOT_YET["error_message"] in said else found

    found = wait_for(all_seen)
    for name, words in REASONS.items():
        check = found[f"volume/{name}"]
        assert not check["is_healthy"]
        assert words in check["error_message"]
    assert found["volume/local"]["is_healthy"]
    assert door.call("GET", "/health").json()["status"] == "degraded"


@pytest.mark.parametrize("volume", [name for name in REASONS if name != "probes"])
def test_a_call_of_it_is_refused_and_no_defect(door: RunningDoor, volume: str) -> None:
    folder = f"user:{uuid4()}/{uuid4()}"
    job = {"verb": "usage", "vfolder": folder, "volume": volume}
    calls = [
        ("GET", "/volume/hwinfo", {}),
        ("GET", "/folder/fs-usage", {}),
        ("POST", "/folder/create", {"vfid": folder}),
        ("POST", "/v1/jobs", job),
        ("POST", "/folder/file/list", {"vfid": folder, "relpath": "."}),
    ]
    for method, path, body in calls:
        answer = door.call(method, path, {"volume": volume, **body}, on_fault=True)
        assert answer.status_code == 503, (path, answer.text)
        problem = answer.json()
        assert problem["error_code"] == "storage_access_unavailable"
        assert "configuration" in problem["detail"]
    plan = door.call("POST", "/v1/jobs", {**job, "plan": True}).json()
    assert not plan["would_start"]
    assert [one["error_code"] for one in plan["refusals"]] == ["storage_access_unavailable"]


def test_a_record_of_a_node_that_cannot_be_read_is_left_out(
    door: RunningDoor, valkey: Valkey
) -> None:
    with valkey.client() as client:
        seconds, _ = client.time()
        for name, text in {"other": "no JSON", "newer": '{"id": "newer", "volumes": []}'}.items():
            client.hset(_NODES, name, text)
            client.zadd(_SEEN, {name: seconds + 3600})
        try:
            nodes = wait_for(lambda: door.call("GET", "/v1/nodes"))
            assert not {"other", "newer"} & {node["id"] for node in nodes.json()["nodes"]}
            for _ in range(3):
                assert door.call("GET", "/volumes").status_code == 200
        finally:
            client.hdel(_NODES, "other", "newer")
            client.zrem(_SEEN, "other", "newer")


def test_a_record_of_speed_that_cannot_be_read_hides_nothing_else(
    door: RunningDoor, place: Settings
) -> None:
    with connect(place, Database.LIVE) as client:
        client.set(STATS_KEY + "local", "no JSON")
        client.set(STATS_KEY + "arrays", '{"observed_at": 1}')
        try:
            answer = door.call("GET", "/volume/performance-metric", {"volume": "local"})
            assert answer.status_code in {200, 400}, answer.text
            with running_door("internal", place) as internal:
                text = wait_for(lambda: scraped(internal, 'vfolder_volume_up{volume="local"} 1.0'))
            assert 'vfolder_volume_up{volume="arrays"} 0.0' in text
        finally:
            client.delete(STATS_KEY + "local", STATS_KEY + "arrays")


def scraped(internal: RunningDoor, words: str) -> str:
    """Return the metrics once they have these words; empty before."""
    answer = internal.send("GET", "/metrics")
    assert answer.status_code == 200, answer.text
    return answer.text if words in answer.text else ""
