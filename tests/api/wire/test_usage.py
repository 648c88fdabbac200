"""How much vfolders hold: exact for small ones, honest for big ones, never a hang."""

import os
import subprocess
from pathlib import Path

from redis import Redis

from core.names import VFolderId
from core.quota import LastUsageStore
from core.redis import Database, connect
from core.settings import Settings
from tests.support.doors import RunningDoor

MANY = 20_600


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
    lengths = {
        p.lstat().st_ino: p.lstat().st_size for p in entries if p.is_file() and not p.is_symlink()
    }
    assert usage.json()["file_count"] == len(entries)
    assert usage.json()["used_bytes"] == sum(lengths.values())
    assert usage.json()["as_of"]
    used = manager.call("GET", "/folder/used-bytes", body).json()
    assert used["used_bytes"] == du_bytes(root)


def test_an_absent_vfolder(manager: RunningDoor, vfid: str) -> None:
    for path in ("/folder/usage", "/folder/used-bytes"):
        response = manager.call("GET", path, {"volume": "local", "vfid": vfid})
        assert response.status_code == 404
        assert response.json()["error_code"] == "vfolder_read_not-found"


def test_a_big_vfolder_is_a_job(
    manager: RunningDoor, settings: Settings, vfid: str, root: Path
) -> None:
    for index in range(MANY):
        (root / "dir" / str(index)).touch()
    body = {"volume": "local", "vfid": vfid}
    first = manager.call("GET", "/folder/usage", body)
    assert first.status_code == 202
    assert first.json()["file_count"] is None
    assert first.json()["used_bytes"] is None
    job = manager.send("GET", first.headers["Location"]).json()
    assert job["id"] == first.json()["bgtask_id"]
    assert job["verb"] == "usage"
    again = manager.call("GET", "/folder/used-bytes", body)
    assert again.json()["bgtask_id"] == job["id"]
    client: Redis = connect(settings, Database.JOBS)
    found = {"file_count": MANY, "used_bytes": 9, "allocated_bytes": 8192}
    LastUsageStore(client).keep("local", VFolderId.parse(vfid), found)
    client.close()
    known = manager.call("GET", "/folder/usage", body)
    assert known.status_code == 200
    assert known.json()["file_count"] == MANY
    assert known.json()["as_of"]
    assert manager.call("GET", "/folder/used-bytes", body).json()["used_bytes"] == 8192
