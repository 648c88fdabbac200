"""Uploads into a quota scope that fills up: the client learns of a refusal, and no bytes stay."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from backends.base import Mount
from backends.systems.btrfs.backend import BtrfsBackend
from tests.api.client.conftest import ClientDoor, Folder, door_to
from tests.api.client.test_uploads import patch, problem, staged
from tests.support.loops import mounted
from tests.support.node import wait_for
from tests.support.valkey import Valkey

pytestmark = pytest.mark.part("btrfs")
MIB = 1 << 20
LIMIT = 10 * MIB
WRITERS = 64
#: Space that btrfs needs for its own trees (bytes).
METADATA_BYTES = 1 * MIB


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[ClientDoor]:
    """A door with a volume that holds limits."""
    disk = tmp_path_factory.mktemp("full") / "disk"
    with (
        mounted(disk, ["mkfs.btrfs", "-q"], size_bytes=512 * MIB) as top,
        door_to(BtrfsBackend(Mount("local", top)), "btrfs", valkey) as made,
    ):
        yield made


@pytest.fixture
def folder(door: ClientDoor) -> Folder:
    made = door.vfolder()
    assert made.id.scope
    door.backend.set_limit(made.id.scope, LIMIT)
    return made


def test_many_uploads_at_a_time_never_pass_the_limit(folder: Folder) -> None:
    """Each fits when it is announced; together they do not."""
    urls = [folder.upload(f"{number}", MIB) for number in range(WRITERS)]

    def send(url: str) -> int:
        answer = patch(url, 0, os.urandom(MIB))
        if answer.status_code != 204:
            problem(answer, 422, "storage/quota/exceeded")
        return answer.status_code

    with ThreadPoolExecutor(WRITERS) as pool:
        ended = Counter(pool.map(send, urls))
    published = [path.stat().st_size for path in folder.path.iterdir()]
    assert published == [MIB] * ended[204]
    assert ended[204] < WRITERS
    assert sum(published) <= LIMIT
    assert sum(path.stat().st_size for path in staged(folder)) == 0
    os.sync()
    assert folder.id.scope
    used = folder.door.backend.describe_scope(folder.id.scope).used_bytes
    assert used is not None
    assert used <= LIMIT + METADATA_BYTES
    if not ended[204]:  # each took a little and none fitted: all space is free again
        assert patch(folder.upload("after", MIB), 0, os.urandom(MIB)).status_code == 204


def test_a_full_scope_can_be_written_to_once_space_is_free(folder: Folder) -> None:
    scope = folder.id.scope
    assert scope
    url = folder.upload("late", 4 * MIB)
    filler = folder.write("filler", os.urandom(8 * MIB))
    os.sync()
    problem(patch(url, 0, os.urandom(4 * MIB)), 422, "storage/quota/exceeded")
    assert sum(path.stat().st_size for path in staged(folder)) == 0
    filler.unlink()

    def freed() -> bool:
        os.sync()
        used = folder.door.backend.describe_scope(scope).used_bytes
        return used is not None and used <= METADATA_BYTES

    wait_for(freed, failure="btrfs keeps counting what was removed")
    answer = patch(folder.upload("late", 4 * MIB), 0, b"x" * 4 * MIB)
    assert answer.status_code == 204
    assert (folder.path / "late").stat().st_size == 4 * MIB
