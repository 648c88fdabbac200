"""A volume that hangs, fails or is full: only its own callers notice."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from api.volumes.deadlines import STUCK_SECONDS
from backends.fs import marker
from tests.support.doors import RunningDoor, mark, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey

#: What a starved door needs for a volume that is well, and more.
DEADLINE_SECONDS = 8.0
FAULTY = """
[volume.bad]
backend = "faulty"
path = "bad"
[volume.bad.options]
backend = "vfs"
faults = "{faults}"
[vfolder.doors]
processes = 1
threads = 24
backend-timeout = {timeout}
"""


class Bad:
    """The volume `bad` and what is wrong with it."""

    def __init__(self, directory: Path) -> None:
        self.faults = directory / "faults.toml"
        self.path = directory / "bad"
        self.path.mkdir()

    def suffer(self, text: str) -> None:
        """From now on; the empty text is health."""
        growing = self.faults.with_suffix(".new")
        growing.write_text(text)
        growing.rename(self.faults)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Bad:
    return Bad(tmp_path_factory.mktemp("bad"))


@pytest.fixture(scope="module")
def door(bad: Bad, valkey: Valkey) -> Iterator[RunningDoor]:
    more = FAULTY.format(faults=bad.faults, timeout=DEADLINE_SECONDS)
    settings = settings_in(bad.path.parent, valkey.url, more)
    mark(settings, {"bad": bad.path})  # the store may know the `bad` of another file
    with running_door("manager", settings) as running:
        yield running
        bad.suffer("")


@pytest.fixture(autouse=True)
def healed(bad: Bad, door: RunningDoor) -> Iterator[None]:
    yield
    bad.suffer("")
    wait_for(lambda: ask(door, "bad") == 200)  # those that hung have gone on


def ask(door: RunningDoor, volume: str) -> int:
    return door.call("GET", "/folder/fs-usage", {"volume": volume}, on_fault=True).status_code


def test_a_hung_volume_keeps_only_its_own_callers(door: RunningDoor, bad: Bad) -> None:
    bad.suffer("hang = true")
    late = door.call("GET", "/folder/fs-usage", {"volume": "bad"}, on_fault=True)
    assert late.status_code == 504
    assert late.json()["retriable"] is True
    assert late.headers["Retry-After"]
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(ask(door, "bad"))) for _ in range(40)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert ask(door, "local") == 200
    wait_for(lambda: 504 in codes)
    for thread in threads:
        thread.join()
    assert set(codes) == {503, 504}


def test_while_a_volume_is_stuck_nobody_waits(door: RunningDoor, bad: Bad) -> None:
    bad.suffer("hang = true")
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(ask(door, "bad"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    wait_for(lambda: 503 in codes)
    full = door.call("GET", "/folder/fs-usage", {"volume": "bad"}, on_fault=True)
    assert full.status_code == 503
    assert full.json()["retriable"] is True
    for thread in threads:
        thread.join()
    bad.suffer("")
    wait_for(lambda: ask(door, "bad") == 200)


def test_a_busy_volume_lets_callers_wait(door: RunningDoor, bad: Bad) -> None:
    bad.suffer("delay_seconds = 0.05")

    def quick_burst() -> bool:
        """Whether 20 callers at once were answered in a time that no volume counts as stuck for.

        No caller of such a burst may be refused. A slower one shows a machine that stood still.
        """
        codes: list[int] = []
        began = time.monotonic()
        threads = [
            threading.Thread(target=lambda: codes.append(ask(door, "bad"))) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if time.monotonic() - began > STUCK_SECONDS:
            return False
        assert codes == [200] * 20
        return True

    wait_for(quick_burst)


def test_jobs_of_a_hung_volume_are_refused_in_time(door: RunningDoor, bad: Bad) -> None:
    bad.suffer("hang = true")
    scope = f"user:{uuid4()}"
    body = {
        "src_volume": "bad",
        "src_vfid": f"{scope}/{uuid4()}",
        "dst_volume": None,
        "dst_vfid": f"{scope}/{uuid4()}",
    }
    response = door.call("POST", "/folder/clone", body, on_fault=True)
    assert response.status_code in (503, 504)
    assert ask(door, "local") == 200


def test_a_broken_volume_is_told(door: RunningDoor, bad: Bad) -> None:
    bad.suffer('error = "EIO"')
    body = {"volume": "bad", "vfid": f"user:{uuid4()}/{uuid4()}"}
    response = door.call("POST", "/folder/create", body, on_fault=True)
    assert response.status_code == 503
    assert response.json()["detail"] == "The storage failed: Input/output error."
    assert "bad/" not in response.text


def test_a_full_volume_takes_nothing(door: RunningDoor, bad: Bad) -> None:
    bad.suffer("full = true")
    body = {"volume": "bad", "vfid": f"user:{uuid4()}/{uuid4()}"}
    assert door.call("POST", "/folder/create", body, on_fault=True).status_code == 507
    usage = door.call("GET", "/folder/fs-usage", {"volume": "bad"}).json()
    assert usage["used_bytes"] == usage["capacity_bytes"]
    assert [path.name for path in bad.path.iterdir()] == [marker.NAME]


def test_a_door_that_starts_while_a_volume_hangs_lists_it_beside_the_others(
    tmp_path: Path, valkey: Valkey
) -> None:
    late = Bad(tmp_path)
    late.suffer("hang = true")
    more = FAULTY.format(faults=late.faults, timeout=DEADLINE_SECONDS)
    more += "[vfolder.worker]\nprove-timeout = 0.5\nprove-seconds = 0.2\n"
    settings = settings_in(tmp_path, valkey.url, more)
    mark(settings, {"bad": late.path})
    with running_door("manager", settings) as door:

        def listed() -> dict[str, list[str]]:
            found = door.call("GET", "/volumes").json()["volumes"]
            return {volume["name"]: volume["capabilities"] for volume in found}

        assert listed()["bad"] == ["vfolder"]
        assert listed()["local"][0] == "vfolder"
        late.suffer("")
        wait_for(lambda: listed()["bad"] == listed()["local"])
