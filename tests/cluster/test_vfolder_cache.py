"""The cache of vfolders: filled by reads, emptied by changes, and never needed."""

import base64
from pathlib import Path
from uuid import uuid4

from redis import Redis

from backends.fs import layout
from core.cluster import VFolderCache
from core.cluster.vfolder_cache import KEEP_SECONDS, PAYLOAD_MAX_BYTES
from core.names import VFolderId
from tests.support.doors import RunningDoor, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey, running_valkey
from tests.support.worker import running_worker


def vfolder() -> VFolderId:
    return VFolderId.parse(f"user:{uuid4()}/{uuid4().hex}")


def store(door: RunningDoor, vfid: VFolderId, payload: bytes) -> None:
    body = {"volume": "local", "vfid": str(vfid), "payload": base64.b64encode(payload).decode()}
    assert door.call("POST", "/folder/metadata", body).ok


def stored(door: RunningDoor, vfid: VFolderId) -> bytes | None:
    body = {"volume": "local", "vfid": str(vfid)}
    text = door.call("GET", "/folder/metadata", body).json()["payload"]
    return None if text is None else base64.b64decode(text)


def made(door: RunningDoor) -> VFolderId:
    found = vfolder()
    assert door.call("POST", "/folder/create", {"volume": "local", "vfid": str(found)}).ok
    return found


def test_metadata_is_cached_until_a_change(
    tmp_path: Path, valkey: Valkey, redis_client: Redis
) -> None:
    settings = settings_in(tmp_path, valkey.url)
    with running_worker(settings), running_door("manager", settings) as door:
        vfid = made(door)
        key = f"vfolder:{vfid.id.hex}:metadata:local"
        assert stored(door, vfid) is None
        assert 0 < redis_client.ttl(key) <= KEEP_SECONDS
        store(door, vfid, b"one")
        assert not redis_client.exists(key)
        assert stored(door, vfid) == b"one"
        (tmp_path / "local" / layout.metadata(vfid)).write_bytes(b"past us")
        assert stored(door, vfid) == b"one", "the answer is from the cache"
        redis_client.delete(key)
        assert stored(door, vfid) == b"past us", "the cache is cold"
        store(door, vfid, bytes(PAYLOAD_MAX_BYTES + 1))
        assert stored(door, vfid) == bytes(PAYLOAD_MAX_BYTES + 1)
        assert not redis_client.exists(key), "too large to cache"
        store(door, vfid, b"two")
        assert stored(door, vfid) == b"two"
        body = {"volume": "local", "vfid": str(vfid)}
        job = door.call("POST", "/folder/delete", body).json()["id"]
        wait_for(lambda: door.call("GET", f"/v1/jobs/{job}").json()["done"])
        assert door.call("GET", "/folder/metadata", body).status_code == 404


def test_a_read_that_a_change_overtook_is_not_cached(
    tmp_path: Path, valkey: Valkey, redis_client: Redis
) -> None:
    cache, vfid = VFolderCache(settings_in(tmp_path, valkey.url)), vfolder()

    def slow_read() -> bytes:
        cache.forget("local", vfid)  # a writer changes it during the read
        return b"old"

    assert cache.metadata("local", vfid, slow_read) == b"old"
    assert cache.metadata("local", vfid, lambda: b"new") == b"new"
    assert cache.metadata("local", vfid, lambda: b"not asked") == b"new"


def test_everything_works_without_it(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    with running_valkey(tmp_path / "valkey") as server:
        settings = settings_in(tmp_path, server.url)
        with running_door("manager", settings) as door:
            vfid = made(door)
            store(door, vfid, b"here")
            server.kill()
            assert stored(door, vfid) == b"here"
            store(door, vfid, b"there")
            assert stored(door, vfid) == b"there"
