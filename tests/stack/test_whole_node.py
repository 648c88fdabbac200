"""A complete node: its processes agree, and it survives a killed worker."""

import os
import signal
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from deploy.demo import trees
from deploy.demo.http import Doors
from tests.support.node import Node, gone, wait_for

FILES = 3000
DIRECTORIES = 60
FILE_BYTES = 100
#: With this limit the files take minutes.
SLOW_BYTES_PER_SECOND = 2000


def flower(node: Node, job_id: str) -> dict[str, Any]:
    """Flower's view of the task of a job; empty while there is none."""
    table = node.settings.vfolder.flower
    url = f"http://{table.address}/api/task/info/{job_id}"
    try:
        answer = requests.get(url, auth=(table.user, table.password or ""), timeout=60)
    except requests.ConnectionError:  # it may be the last of all to listen
        return {}
    return answer.json() if answer.ok else {}


def paced(doors: Doors, bytes_per_second: int | None) -> None:
    """Make jobs slower than any caller waits, or remove the limit."""
    path = "/v1/volumes/local/bandwidth"
    doors.call("PUT", path, bytes_per_second=bytes_per_second)


def many_files(doors: Doors) -> tuple[str, Path]:
    """A vfolder with many small files, some links among them."""
    scope = f"user:{uuid.uuid4()}"
    vfolder = f"{scope}/{uuid.uuid4().hex}"
    doors.call("POST", "/folder/create", volume="local", vfid=vfolder)
    mount = Path(doors.call("GET", "/folder/mount", volume="local", vfid=vfolder)["path"])
    for directory in range(DIRECTORIES):
        below = mount / f"d{directory}"
        below.mkdir()
        for number in range(FILES // DIRECTORIES):
            (below / f"f{number}").write_bytes(b"%d" % number * FILE_BYTES)
        (below / "soft").symlink_to("f1")
        (below / "hard").hardlink_to(below / "f2")
    return vfolder, mount


def job_of(doors: Doors, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = doors.call("GET", f"/v1/jobs/{job_id}")
    return job


@pytest.mark.slow
def test_a_clone_survives_the_death_of_its_worker_and_flower_shows_it(own_stack: Node) -> None:
    doors = Doors(own_stack.settings)
    source, mount = many_files(doors)
    paced(doors, SLOW_BYTES_PER_SECOND)
    target = source.partition("/")[0] + "/" + uuid.uuid4().hex
    job_id = doors.call(
        "POST", "/v1/jobs", verb="clone", volume="local", source=source, target=target
    )["id"]

    def copying() -> bool:
        job = job_of(doors, job_id)
        assert not job["done"], "it ended before it could be killed"
        return "copy" in ((job["progress"] or {}).get("text") or "")

    wait_for(copying, 60)
    task = wait_for(lambda: (t := flower(own_stack, job_id)).get("state") == "PROGRESS" and t, 60)
    assert task["name"] == "storage.clone"
    assert task["result"].split()[0] in {"start", "plan", "copy", "verify", "publish"}
    assert not job_of(doors, job_id)["done"], "it ended before it could be killed"
    worker = own_stack.pid_of(["workers.serve", "worker"])
    below = [child.pid for child in psutil.Process(worker).children(recursive=True)]
    os.kill(worker, signal.SIGKILL)
    paced(doors, None)
    assert not doors.exists("local", target)
    wait_for(lambda: gone([worker, *below]))
    assert own_stack.pid_of(["workers.serve", "worker"]) != worker
    wait_for(lambda: job_of(doors, job_id)["done"], 180, lambda: str(job_of(doors, job_id)))

    job = job_of(doors, job_id)
    assert job["state"] == "succeeded", job
    assert job["attempt"] > 1
    clone = doors.call("GET", "/folder/mount", volume="local", vfid=target)["path"]
    assert list(trees.differences(mount, Path(clone))) == []
    seen = wait_for(lambda: (t := flower(own_stack, job_id)).get("state") == "SUCCESS" and t)
    assert seen["uuid"] == job_id
    flower_takes_no_orders(own_stack, job_id)
    draining_leaves_no_process(own_stack)


def flower_takes_no_orders(node: Node, job_id: str) -> None:
    table = node.settings.vfolder.flower
    login = (table.user, table.password or "")

    def run_times() -> bool:
        metrics = requests.get(f"http://{table.address}/metrics", auth=login, timeout=60)
        return 'le="259200.0"' in metrics.text

    wait_for(run_times, 60)  # Flower hears of the end of a task a moment after the store has it
    revoke = f"http://{table.address}/api/task/revoke/{job_id}"
    assert requests.post(revoke, timeout=60).status_code == 401
    assert requests.post(revoke, auth=login, timeout=60).status_code == 403
    assert requests.get(f"http://{table.address}/", timeout=60).status_code == 401


def draining_leaves_no_process(node: Node) -> None:
    pids = list(node.children())
    assert len(pids) >= 10
    assert node.stop() == 0
    wait_for(lambda: gone(pids))
    assert "has not ended" not in node.output


def test_no_secret_is_in_an_argument_list_or_in_the_output(stack: Node) -> None:
    settings = stack.settings
    secrets = [
        settings.storage_proxy.secret,
        settings.api.manager.secret,
        settings.vfolder.redis.password,
        settings.vfolder.flower.password,
    ]
    lines = [" ".join(line) for line in stack.children().values()]
    for secret in secrets:
        assert secret
        assert secret not in stack.output
        assert not any(secret in line for line in lines)


def test_the_internal_door_adds_up_what_the_others_count(stack: Node) -> None:
    doors = Doors(stack.settings)
    doors.call("GET", "/volumes")
    url = f"http://{stack.settings.api.manager.internal_address}/metrics"
    assert requests.get(url, timeout=60).ok
