"""Every process of a node is killed while jobs run: all come back, and no job fails.

The last death is the supervisor's, which leaves no process.
"""

import os
import signal
import time
from itertools import cycle
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from deploy.demo import trees
from deploy.demo.http import Doors
from deploy.demo.show import DemoFailed
from tests.support.node import Node, gone, wait_for

FILES = 2000
SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS)
#: A word of the argument list of each process of the supervisor; the store is a child of its own.
PROCESSES = ("manager", "client", "internal", "beat", "flower", "valkey-server", "worker")


def victims(node: Node) -> list[int]:
    """Every process below the supervisor, those of the doors and of the worker's pool too."""
    return [child.pid for child in psutil.Process(node.pid).children(recursive=True)]


def named(node: Node, word: str) -> set[str]:
    """The argument lists with a word, for processes that are alive."""
    return {" ".join(line) for line in node.children().values() if any(word in w for w in line)}


@pytest.mark.slow
def test_no_death_of_a_process_fails_a_job(own_stack: Node) -> None:
    doors = Doors(own_stack.settings)
    source = f"user:{uuid4()}/{uuid4().hex}"
    doors.call("POST", "/folder/create", volume="local", vfid=source)
    mount = Path(doors.call("GET", "/folder/mount", volume="local", vfid=source)["path"])
    for number in range(FILES):
        (mount / f"f{number}").write_bytes(b"%d" % number)
    before = {word: len(named(own_stack, word)) for word in PROCESSES}
    assert all(before.values()), before
    jobs: dict[str, str] = {}
    numbers = cycle(SIGNALS)
    for word in PROCESSES:
        target = f"{source.partition('/')[0]}/{uuid4().hex}"
        jobs[submitted(doors, source, target)] = target
        for pid in [p for p, line in own_stack.children().items() if any(word in w for w in line)]:
            try:
                os.kill(pid, next(numbers))
            except ProcessLookupError:  # it died with its parent
                continue
            wait_for(lambda pid=pid: gone([pid]))
    for job, target in jobs.items():
        ended = wait_for(lambda job=job: done(doors, job), 300)
        assert ended["state"] == "succeeded", ended
        copied = answered(doors, "GET", "/folder/mount", volume="local", vfid=target)["path"]
        assert list(trees.differences(mount, Path(copied))) == []
    wait_for(
        lambda: all(len(named(own_stack, word)) >= 1 for word in PROCESSES),
        300,
        lambda: str({word: named(own_stack, word) for word in PROCESSES}),
    )
    wait_for(doors.are_open, 300)
    pids = list(own_stack.children())
    own_stack.signal(signal.SIGKILL)
    own_stack.wait()
    wait_for(lambda: gone(pids), failure="the death of the supervisor leaves processes")


def answered(doors: Doors, method: str, path: str, **body: object) -> dict[str, object]:
    """The answer of a door that may be starting again."""
    deadline = time.monotonic() + 300
    while True:
        try:
            found: dict[str, object] = doors.call(method, path, **body)
        except (OSError, DemoFailed):  # requests raises kinds of OSError
            assert time.monotonic() < deadline
            time.sleep(0.2)
        else:
            return found


def submitted(doors: Doors, source: str, target: str) -> str:
    body = {"verb": "clone", "volume": "local", "source": source, "target": target}
    return str(answered(doors, "POST", "/v1/jobs", **body)["id"])


def done(doors: Doors, job: str) -> dict[str, object]:
    found = answered(doors, "GET", f"/v1/jobs/{job}")
    return found if found["done"] else {}
