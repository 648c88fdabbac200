"""The same request many times at once; a door that dies between record and doorbell."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from core.jobs import State
from core.names import VFolderId
from core.settings import Settings
from tests.chaos.check import differences
from tests.chaos.site import VOLUME, Site
from tests.support.cable import laid
from tests.support.doors import RunningDoor, running_door, settings_in
from tests.support.node import wait_for

pytestmark = pytest.mark.part("rsync")

AT_ONCE = 10
FILES = 40


def door_settings(directory: Path, site: Site, broker: str = "") -> Settings:
    directory.mkdir(exist_ok=True)
    more = f"""
answer-timeout = 20
connect-timeout = 20
[volume.{VOLUME}]
backend = "vfs"
path = "{site.volume}"
[vfolder.jobs]
ring-again-seconds = 1.0
{broker}
"""
    return settings_in(directory, site.valkey.url, more)


@pytest.fixture
def door(tmp_path: Path, two_nodes: Site) -> Iterator[RunningDoor]:
    with running_door("manager", door_settings(tmp_path / "door", two_nodes)) as running:
        yield running


def clone_of(source: VFolderId, target: VFolderId) -> dict[str, Any]:
    return {"verb": "clone", "volume": VOLUME, "source": str(source), "target": str(target)}


@pytest.mark.parametrize("keyed", [True, False], ids=["with a key", "without"])
def test_the_same_request_ten_times_at_once_is_one_job(
    two_nodes: Site, door: RunningDoor, *, keyed: bool
) -> None:
    source, target = two_nodes.filled(FILES), two_nodes.vfolder()
    body = clone_of(source, target)
    headers = {"Idempotency-Key": f"ten {target}"} if keyed else {}

    def ask(_number: int) -> requests.Response:
        return door.send("POST", "/v1/jobs", json=body, headers=headers)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask, range(AT_ONCE)))
    ended = {answer.status_code for answer in answers}
    # Without a key, a request after the end of the job finds the target.
    assert ended <= ({202} if keyed else {202, 409}), ended
    jobs = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert len(jobs) == 1
    found = two_nodes.wait_for_end(two_nodes.store.get(jobs.pop()))
    assert (found.state, found.attempt) == (State.SUCCEEDED, 1)
    paths = (two_nodes.backend.vfolder_path(vfolder) for vfolder in (source, target))
    assert differences(*paths) == ""


def test_a_door_killed_between_record_and_doorbell_loses_nothing(
    tmp_path: Path, two_nodes: Site
) -> None:
    """Its doorbell goes through a proxy that is cut off; the door dies while it sends."""
    source, target = two_nodes.filled(FILES), two_nodes.vfolder()
    body, headers = clone_of(source, target), {"Idempotency-Key": f"killed {target}"}
    valkey = two_nodes.valkey
    with laid(valkey.port) as cable, ThreadPoolExecutor(1) as pool:
        cable.cut()
        broker = f'broker = "redis://:{valkey.password}@127.0.0.1:{cable.port}/2"'
        settings = door_settings(tmp_path / "dying", two_nodes, broker)
        with running_door("manager", settings) as dying:
            answer = pool.submit(dying.send, "POST", "/v1/jobs", json=body, headers=headers)
            key = headers["Idempotency-Key"]
            wait_for(
                lambda: two_nodes.store.has_idempotency_key("manager", key),
                failure="the door never recorded the job",
            )
            wait_for(lambda: cable.waiting_bytes > 0, failure="the door never sent the doorbell")
            kill_door(dying)
            with suppress(requests.ConnectionError):
                answer.result(60)
    with running_door("manager", door_settings(tmp_path / "next", two_nodes)) as door:
        again = door.call("POST", "/v1/jobs", body, headers=headers)
        assert again.status_code == 202
        found = two_nodes.wait_for_end(two_nodes.store.get(again.json()["id"]))
        assert (found.state, found.attempt) == (State.SUCCEEDED, 1)
        assert int(found.fields["rung"]) >= 1, "the reaper did not send the doorbell"
        nodes = door.call("GET", "/v1/nodes").json()["nodes"]
        proven = {node["id"] for node in nodes if node["volumes"][VOLUME]["proven"]}
        assert {"one", "two"} <= proven
    paths = (two_nodes.backend.vfolder_path(vfolder) for vfolder in (source, target))
    assert differences(*paths) == ""


def kill_door(door: RunningDoor) -> None:
    """Kill gunicorn's master and all its children with SIGKILL."""
    master = psutil.Process(door.process.pid)
    for each in (master, *master.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            each.kill()
