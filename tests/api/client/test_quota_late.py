"""Uploads into a full quota scope of CephFS, whose clients learn of it a moment late."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from backends.base import Mount
from backends.systems.cephfs.backend import CephFsBackend
from tests.api.client.conftest import ClientDoor, Folder, door_to
from tests.api.client.test_uploads import patch, problem, staged
from tests.support.ceph import running_ceph
from tests.support.node import wait_for
from tests.support.valkey import Valkey

pytestmark = pytest.mark.part("ceph")
MIB = 1 << 20
LIMIT = 10 * MIB
WRITERS = 64


@pytest.fixture(scope="module")
def door(valkey: Valkey) -> Iterator[ClientDoor]:
    """A door with a real CephFS as volume."""
    with (
        running_ceph() as ceph,
        door_to(CephFsBackend(Mount("local", ceph / "mnt")), "cephfs", valkey) as made,
    ):
        yield made


def used_bytes(folder: Folder) -> int:
    assert folder.id.scope
    return folder.door.backend.describe_scope(folder.id.scope).used_bytes or 0


def test_many_uploads_at_a_time_are_refused_once_the_client_knows(door: ClientDoor) -> None:
    folder = door.vfolder()
    assert folder.id.scope
    door.backend.set_limit(folder.id.scope, LIMIT)
    urls = [[folder.upload(f"{turn}-{n}", MIB) for n in range(WRITERS)] for turn in range(2)]

    def send(url: str) -> int:
        answer = patch(url, 0, os.urandom(MIB))
        if answer.status_code != 204:
            problem(answer, 422, "storage/quota/exceeded")
        return answer.status_code

    def published() -> int:
        return sum(path.stat().st_size for path in folder.path.iterdir())

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(send, urls[0]))
        reached = published()
        assert LIMIT - MIB < reached <= WRITERS * MIB, "late, by no more than was on its way"
        wait_for(lambda: used_bytes(folder) >= reached)
        assert Counter(pool.map(send, urls[1])) == {422: WRITERS}
    assert published() == reached
    assert sum(path.stat().st_size for path in staged(folder)) == 0
    wait_for(lambda: used_bytes(folder) == reached)
    print(f"{reached} bytes against a limit of {LIMIT}")  # noqa: T201
