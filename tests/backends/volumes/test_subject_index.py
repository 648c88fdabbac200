"""The index of keys and groups: changes are read one by one, and all records only where needed."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
import redis
from msgspec import structs
from redis.backoff import NoBackoff
from redis.retry import Retry

from backends.volumes.access.subject_index import (
    AWAY_SECONDS,
    CHANGED_KEY,
    CHANGES_KEPT,
    CHANGING_KEY,
    CHANGING_LOOK_SECONDS,
    CHANGING_SECONDS,
    INDEX_SECONDS,
    VERSION_KEY,
    SubjectIndex,
)
from core.access import SubjectRecord
from tests.support.node import wait_for
from tests.support.valkey import Valkey, running_valkey


class Volume:
    """The records of a home volume; it counts how often it is read."""

    def __init__(self, client: "redis.Redis") -> None:
        self.records: dict[UUID, SubjectRecord] = {}
        self.scans = 0
        self.reads = 0
        self.now = 1000.0
        #: A record is being read; and may be read to its end.
        self.reading, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.index = self.another(client)

    def another(self, client: "redis.Redis") -> SubjectIndex:
        return SubjectIndex(client, self._all, self._one, lambda: self.now)

    def _all(self) -> list[SubjectRecord]:
        self.scans += 1
        return list(self.records.values())

    def _one(self, subject: UUID) -> SubjectRecord | None:
        self.reads += 1
        self.reading.set()
        assert self.go_on.wait(60)
        return self.records.get(subject)

    def user(self, *keys: str) -> UUID:
        record = SubjectRecord(kind="user", id=uuid4(), keys=tuple({"id": key} for key in keys))
        self.records[record.id] = record
        return record.id


@pytest.fixture
def client(valkey: Valkey) -> Iterator["redis.Redis"]:
    with valkey.client() as found:
        found.flushdb()
        yield found


def test_only_changed_records_are_read_again(client: "redis.Redis") -> None:
    volume = Volume(client)
    users = [volume.user(f"key-{number}") for number in range(50)]
    other = volume.another(client)
    for index in (volume.index, other):
        assert index.current().holders["key-7"] == users[7]
    assert (volume.scans, volume.reads) == (2, 0)
    volume.records[users[7]] = structs.replace(volume.records[users[7]], keys=({"id": "new"},))
    volume.index.announce(users[7])
    new = volume.user("key-50")
    volume.index.announce(new)
    del volume.records[users[8]]
    volume.index.announce(users[8])
    for index in (volume.index, other, volume.index, other):
        view = index.current()
        assert view.holders["new"] == users[7]
        assert view.holders["key-50"] == new
        assert not {"key-7", "key-8"} & set(view.holders)
    assert (volume.scans, volume.reads) == (2, 6)


def test_groups_follow_their_records(client: "redis.Redis") -> None:
    volume = Volume(client)
    user, admin, group = uuid4(), uuid4(), uuid4()
    record = SubjectRecord(
        kind="group", id=group, members=(user,), admins=(admin,), members_kept=True
    )
    volume.records[group] = record
    view = volume.index.current()
    assert (view.groups[user], view.groups[admin], view.admin_of[admin]) == ({group},) * 3
    volume.records[group] = structs.replace(record, members=())
    volume.index.announce(group)
    assert user not in volume.index.current().groups
    volume.records[group] = structs.replace(record, members_kept=False)
    volume.index.announce(group)
    assert volume.index.current().groups == {}, "tokens say who the members are"


def test_who_missed_too_much_reads_all(client: "redis.Redis") -> None:
    volume = Volume(client)
    user = volume.user("a")
    volume.index.current()
    for _ in range(CHANGES_KEPT):
        volume.index.announce(uuid4())
    volume.records[user] = structs.replace(volume.records[user], keys=())
    assert volume.index.current().holders == {}
    assert (volume.scans, volume.reads) == (2, 0)
    assert client.zcard(CHANGED_KEY) == CHANGES_KEPT
    client.delete(VERSION_KEY, CHANGED_KEY)  # the store lost everything
    volume.index.current()
    assert volume.scans == 3
    volume.now += INDEX_SECONDS
    volume.index.current()
    assert volume.scans == 4


def test_without_the_store_all_is_read_every_five_seconds() -> None:
    volume = Volume(redis.Redis(port=1, retry=Retry(NoBackoff(), 0)))
    volume.user("a")
    for _ in range(5):
        assert "a" in volume.index.current().holders
    assert volume.scans == 1
    new = volume.user("b")
    volume.now += AWAY_SECONDS
    assert volume.index.current().holders["b"] == new
    later = volume.user("c")
    volume.index.announce(later)
    assert volume.index.current().holders["c"] == later, "its own change is seen at once"


def test_a_thread_waits_for_a_change_that_another_one_reads(client: "redis.Redis") -> None:
    volume = Volume(client)
    volume.index.current()
    user = volume.user("new")
    volume.index.announce(user)
    volume.go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(volume.index.current)
        assert volume.reading.wait(60)
        second = pool.submit(volume.index.current)
        with pytest.raises(TimeoutError):
            second.result(0.2)
        volume.go_on.set()
        assert [done.result(60).holders["new"] for done in (first, second)] == [user, user]
    assert (volume.scans, volume.reads) == (1, 1)


def test_a_process_that_is_killed_after_its_write_leaves_nothing_old(client: "redis.Redis") -> None:
    volume = Volume(client)
    other = volume.another(client)
    user = volume.user("old")
    other.current()
    volume.index.begin(user)
    assert "old" in other.current().holders
    volume.records[user] = structs.replace(volume.records[user], keys=())  # and it is killed
    for _ in range(3):
        volume.now += CHANGING_LOOK_SECONDS
        assert other.current().holders == {}
        volume.records[user] = structs.replace(volume.records[user], keys=({"id": "late"},))
        volume.now += CHANGING_LOOK_SECONDS
        assert "late" in other.current().holders, "it may still be written"
        volume.records[user] = structs.replace(volume.records[user], keys=())
    reads = volume.reads
    other.current()
    assert volume.reads == reads, "twice a second is enough"
    # No process looked until the mark was old: the change is announced in place of its process.
    mark = str(client.zrange(CHANGING_KEY, 0, -1)[0])
    moment = int(client.time()[0])
    client.zadd(CHANGING_KEY, {mark: moment - CHANGING_SECONDS + 60})
    other.current()
    assert client.zcard(CHANGING_KEY) == 1
    client.zadd(CHANGING_KEY, {mark: moment - CHANGING_SECONDS})
    assert other.current().holders == {}
    assert (client.zcard(CHANGING_KEY), client.get(VERSION_KEY)) == (0, "1")
    assert volume.scans == 1


def test_a_write_ends_its_own_mark_alone(client: "redis.Redis") -> None:
    volume = Volume(client)
    user = volume.user("a")
    first, second = volume.index.begin(user), volume.index.begin(user)
    volume.index.announce(user, first)
    assert client.zrange(CHANGING_KEY, 0, -1) == [second]
    volume.index.give_up(second)
    assert client.zcard(CHANGING_KEY) == 0


def test_a_change_while_the_store_is_killed_is_announced_later(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as own, own.client() as client:
        volume = Volume(client)
        other = volume.another(client)
        user = volume.user("old")
        for index in (volume.index, other):
            assert "old" in index.current().holders
        own.kill()
        mark = volume.index.begin(user)
        volume.records[user] = structs.replace(volume.records[user], keys=())
        volume.index.announce(user, mark)
        volume.index.give_up(mark)
        own.start()
        # The other process did not look while the store was away.
        wait_for(lambda: other.current().holders == {}, 60)
        assert volume.scans == 2
