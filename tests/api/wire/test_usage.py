"""How much vfolders hold: exact for small ones, honest for big ones, never a hang."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from core.names import QuotaScope, ScopeKind, VFolderId
from core.quota import LastUsageStore
from core.redis import Database, connect
from core.settings import Settings
from simulators.arrays import weka
from simulators.serving import serving
from simulators.shelf import Shelf
from tests.api.wire.conftest import make_vfolder
from tests.backends.systems.arrays.simulated import trusting
from tests.support.doors import RunningDoor, mark, running_door, settings_in
from tests.support.loops import run
from tests.support.valkey import Valkey

MANY = 20_600
#: A file of some bytes takes so many on the simulated WEKA.
BLOCK = 4096
HASTY = """
[vfolder.usage]
answer-seconds = 0.5
"""
Hasty = tuple[RunningDoor, Settings]


def du_bytes(path: Path) -> int:
    du = subprocess.run(
        ["du", "-s", "-B1", path], check=True, capture_output=True, text=True
    ).stdout
    return int(du.split()[0])


def test_a_small_vfolder_is_counted(manager: RunningDoor, vfid: str, root: Path) -> None:
    os.link(root / "a.txt", root / "hard")
    (root / "hole").touch()
    os.truncate(root / "hole", 1 << 40)
    body = {"volume": "local", "vfid": vfid}
    usage = manager.call("GET", "/folder/usage", body)
    assert usage.status_code == 200
    entries = [Path(d, n) for d, ds, fs in os.walk(root) for n in ds + fs]
    held = {
        p.lstat().st_ino: min(p.lstat().st_size, p.lstat().st_blocks * 512)
        for p in entries
        if p.is_file() and not p.is_symlink()
    }
    assert usage.json()["file_count"] == len({p.lstat().st_ino for p in entries})
    assert usage.json()["used_bytes"] == sum(held.values())
    assert usage.json()["as_of"]
    used = manager.call("GET", "/folder/used-bytes", body).json()
    assert used["used_bytes"] == du_bytes(root)


def test_an_absent_vfolder(manager: RunningDoor, vfid: str) -> None:
    for path in ("/folder/usage", "/folder/used-bytes"):
        response = manager.call("GET", path, {"volume": "local", "vfid": vfid})
        assert response.status_code == 404
        assert response.json()["error_code"] == "vfolder_read_not-found"


@pytest.mark.part("root")
def test_a_size_that_is_unknown_is_said(tmp_path: Path, valkey: Valkey) -> None:
    """The manager divides the figures: a null would be its own 500, so it gets the reason."""
    settings = settings_in(tmp_path, valkey.url)
    run("mount", "-t", "tmpfs", "-o", "size=0", "tmpfs", tmp_path / "local")  # without a limit
    try:
        mark(settings, {"local": tmp_path / "local"})
        with running_door("manager", settings) as door:
            refused = door.call("GET", "/folder/fs-usage", {"volume": "local"})
    finally:
        run("umount", tmp_path / "local")
    assert refused.status_code == 400
    assert refused.json()["error_code"] == "vfolder_request_not-implemented"
    assert refused.json()["detail"] == "The storage of volume local does not say how big it is."


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[Hasty]:
    """A door whose callers wait for a moment only, and no worker."""
    settings = settings_in(tmp_path_factory.mktemp("hasty"), valkey.url, HASTY)
    with running_door("manager", settings) as door:
        yield door, settings


def test_a_count_that_takes_too_long(hasty: Hasty, vfid: str) -> None:
    """The manager calls `int()` on the figures: it gets numbers or an error, never null."""
    door, settings = hasty
    root = make_vfolder(settings, vfid)
    for index in range(MANY):
        (root / "dir" / str(index)).touch()
    body = {"volume": "local", "vfid": vfid}
    first = door.call("GET", "/folder/usage", body, on_fault=True)
    assert first.status_code == 503
    assert first.json()["retriable"]
    assert int(first.headers["Retry-After"]) > 0
    job = door.send("GET", f"/v1/jobs/{first.json()['job_id']}").json()
    assert job["verb"] == "usage"
    assert job["priority"] == 0
    again = door.call("GET", "/folder/used-bytes", body, on_fault=True)
    assert again.json()["job_id"] == job["id"]
    found = {"file_count": MANY, "used_bytes": 9, "allocated_bytes": 8192}
    with connect(settings, Database.JOBS) as client:
        LastUsageStore(client).keep("local", VFolderId.parse(vfid), found)
    known = door.call("GET", "/folder/usage", body)
    assert known.status_code == 200
    assert known.json()["file_count"] == MANY
    assert known.json()["as_of"]
    assert door.call("GET", "/folder/used-bytes", body).json()["used_bytes"] == 8192
    door.send("POST", f"/v1/jobs/{job['id']}/cancel")


def test_a_storage_that_counts_bytes_only(tmp_path: Path, valkey: Valkey) -> None:
    """Its bytes are the answer where only bytes are asked; its entries are counted by a walk."""
    vfolder, top = VFolderId(QuotaScope(ScopeKind.USER, uuid4()), uuid4()), tmp_path / "weka"
    assert vfolder.scope
    (top / vfolder.directory).mkdir(parents=True)
    (top / vfolder.directory / "file").write_bytes(b"12345")
    simulator = weka.WekaSim(Shelf(top))
    simulator.give_quota(str(vfolder.directory))
    with serving(simulator) as array:
        given = trusting({**weka.options(array.url), "weka_vfolder_quotas": True})
        lines = [f"{name} = {json.dumps(value)}" for name, value in given.items()]
        table = f"""
[volume.weka]
backend = "weka"
path = "weka"
[volume.weka.options]
{chr(10).join(lines)}
"""
        settings = settings_in(tmp_path, valkey.url, table)
        mark(settings, {"weka": top})
        body = {"volume": "weka", "vfid": str(vfolder)}
        with running_door("manager", settings) as door:
            used = door.call("GET", "/folder/used-bytes", body).json()
            usage = door.call("GET", "/folder/usage", body).json()
    assert used["used_bytes"] == BLOCK, "as WEKA counts it"
    assert (usage["file_count"], usage["used_bytes"]) == (1, 5)
    assert array.asked("GET", "/quota/")
