"""Mounts by events of the manager: only allowed ones, answered by events, and unmounted again."""

import json
import os
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from redis import Redis

from tests.support.broadcasts import subscribed
from tests.support.doors import settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey
from tests.support.worker import running_worker

ALLOWED = '[vfolder.mounts]\nallowed = ["tmpfs of-a-test-*"]\noptions = "ro,size=1m"'
MOUNT: dict[str, Any] = {
    "dir_name": "more",
    "volume_backend_name": "local",
    "quota_scope_id": "user:00000000-0000-0000-0000-000000000001",
    "fs_location": "of-a-test-1",
    "fs_type": "tmpfs",
    "cmd_options": "size=1m",
    "scaling_group": None,
    "edit_fstab": False,
    "fstab_path": "/etc/fstab",
}
UNMOUNT = {key: MOUNT[key] for key in MOUNT if key not in ("fs_location", "fs_type", "cmd_options")}


class Manager:
    """Sends events as the manager does, and receives the answers."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._channel = subscribed(client, "events_all")

    def send(self, name: str, fields: dict[str, Any], *, older: bool = False) -> None:
        message = {"name": name, "source": "manager"}
        if older:
            message["args"] = b64encode(msgpack.packb(list(fields.values()))).decode()
        else:
            message["payload"] = json.dumps(fields)
        self._client.publish("events_all", json.dumps(message))

    def receive(self, name: str) -> dict[str, Any]:
        def received() -> dict[str, Any] | None:
            message = self._channel.get_message(timeout=0.1)
            found = json.loads(message["data"]) if message else {"name": ""}
            return json.loads(found["payload"]) if found["name"] == name else None

        found = wait_for(received)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mounting")


@pytest.fixture(scope="module")
def manager(top: Path, valkey: Valkey) -> Iterator[Manager]:
    if os.geteuid():
        pytest.skip("mounting needs root")
    settings = settings_in(top, valkey.url, ALLOWED)
    try:
        with running_worker(settings), valkey.client(4) as client:
            wait_for(lambda: client.pubsub_numsub("events_all")[0][1] > 0)
            yield Manager(client)
    finally:
        subprocess.run(["umount", top / "local" / "more"], capture_output=True, check=False)


def test_an_allowed_source_is_mounted_and_unmounted(manager: Manager, top: Path) -> None:
    target = top / "local" / "more"
    for older in (False, True):
        for _ in range(2):  # the second one finds it mounted
            manager.send("do_volume_mount", MOUNT, older=older)
            assert manager.receive("volume_mounted") == {
                "node_id": "node1",
                "node_type": "storage_proxy",
                "mount_path": str(target),
                "quota_scope_id": MOUNT["quota_scope_id"],
                "err_msg": None,
            }
        mounts = Path("/proc/mounts").read_text().splitlines()
        (line,) = (one for one in mounts if f" {target} " in one)
        assert line.startswith("of-a-test-1 ")
        assert {"nosuid", "nodev", "size=1024k"} <= set(line.split()[3].split(","))
        manager.send("do_volume_unmount", UNMOUNT, older=older)
        assert manager.receive("volume_unmounted")["err_msg"] is None
        assert not target.exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fs_location": "other"}, "not among [vfolder.mounts] allowed"),
        ({"fs_type": "ext4"}, "not among [vfolder.mounts] allowed"),
        ({"cmd_options": "size=1m,suid"}, "suid"),
        ({"dir_name": "../../out"}, "one name below"),
        ({"dir_name": "/etc"}, "one name below"),
        ({"dir_name": ".."}, "one name below"),
        ({"edit_fstab": True}, "no fstab"),
    ],
    ids=str,
)
def test_a_mount_that_is_not_allowed_is_refused(
    manager: Manager, top: Path, change: dict[str, Any], reason: str
) -> None:
    before = Path("/proc/mounts").read_text().count(str(top))
    manager.send("do_volume_mount", MOUNT | change)
    assert reason in manager.receive("volume_mounted")["err_msg"]
    assert Path("/proc/mounts").read_text().count(str(top)) == before


def test_events_for_other_nodes_and_unknown_events_are_ignored(manager: Manager) -> None:
    manager.send("do_volume_mount", MOUNT | {"volume_backend_name": "elsewhere"})
    manager.send("do_something_else", {})
    manager.send("do_volume_mount", {"dir_name": "x"}, older=True)
    manager.send("do_volume_unmount", UNMOUNT)
    answer = manager.receive("volume_unmounted")
    assert answer["err_msg"] is None, "nothing was mounted: nothing to do"
