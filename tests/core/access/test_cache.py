"""The cache of access on a real store: how old an answer may be, with the store up and away."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from redis import Redis

from core.access import AccessCache, AccessChange, CacheKey, group_key, record_key, user_key
from core.access.cache import (
    AWAY_SECONDS,
    CHANGING_SECONDS,
    CHANNEL,
    CHECK_SECONDS,
    PAUSE_SECONDS,
    VALUE_MAX_BYTES,
)
from core.errors import VFolderNotFound
from core.settings import Settings
from tests.support.doors import settings_in
from tests.support.valkey import Valkey, running_valkey

#: After this, a value is compared again; less than the second that is promised.
STEP_SECONDS = CHECK_SECONDS + 0.05
#: A process that died in a test must not hold the run for longer.
WAIT_SECONDS = 60.0


class Clock:
    """The time of every process of a test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class File:
    """What lies on the volume, and how often it was read."""

    def __init__(self, text: bytes | None) -> None:
        self.text = text
        self.reads = 0

    def __call__(self) -> bytes | None:
        self.reads += 1
        return self.text


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(valkey: Valkey, tmp_path: Path) -> Settings:
    return settings_in(tmp_path, valkey.url)


def get(cache: AccessCache, key: CacheKey, file: File) -> bytes | None:
    return cache.get(key, file, lambda text: text)


def vfolder() -> tuple[UUID, CacheKey]:
    one = uuid4()
    return one, record_key("local", one)


def eventually(check: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not check():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_value_is_read_once_by_all_processes(settings: Settings, clock: Clock) -> None:
    _, key = vfolder()
    file = File(b"text")
    first, second = AccessCache(settings, clock), AccessCache(settings, clock)
    for _ in range(3):
        assert get(first, key, file) == get(second, key, file) == b"text"
        clock.now += STEP_SECONDS
    assert file.reads == 1


def test_that_there_is_no_file_is_kept_too(settings: Settings, clock: Clock) -> None:
    _, key = vfolder()
    file = File(None)
    assert get(AccessCache(settings, clock), key, file) is None
    assert get(AccessCache(settings, clock), key, file) is None
    assert file.reads == 1


def test_every_process_sees_a_change_within_a_second(settings: Settings, clock: Clock) -> None:
    one, key = vfolder()
    file = File(b"old")
    writer, reader, idle = (AccessCache(settings, clock) for _ in range(3))
    for cache in (writer, reader, idle):
        get(cache, key, file)
    file.text = b"new"
    writer.changed(AccessChange(vfolders=(one,), volumes=("local",)))
    assert get(writer, key, file) == b"new"
    assert get(reader, key, file) == b"old", "not compared yet, which is what the bound allows"
    clock.now += STEP_SECONDS
    assert STEP_SECONDS < 1
    assert get(reader, key, file) == get(idle, key, file) == b"new"


def test_the_deletion_of_a_vfolder_by_the_manager_is_a_change(
    settings: Settings, clock: Clock, valkey: Valkey
) -> None:
    """The other cache of vfolders raises the same counter, and knows nothing of records."""
    one, key = vfolder()
    cache = AccessCache(settings, clock)
    assert get(cache, key, File(b"old")) == b"old"
    with Redis.from_url(f"{valkey.url}/0") as client:
        client.incr(f"vfolder:{one.hex}:version")
    clock.now += STEP_SECONDS

    def gone() -> bytes | None:
        raise VFolderNotFound("It was deleted.")

    with pytest.raises(VFolderNotFound):
        cache.get(key, gone, lambda text: text)


def test_a_change_during_a_read_is_not_lost(settings: Settings, clock: Clock) -> None:
    one, key = vfolder()
    slow, other = AccessCache(settings, clock), AccessCache(settings, clock)

    def load() -> bytes:
        other.changed(AccessChange(vfolders=(one,), volumes=("local",)))
        return b"old"

    assert slow.get(key, load, lambda text: text) == b"old"
    clock.now += STEP_SECONDS
    assert get(slow, key, File(b"new")) == b"new"
    assert get(other, key, File(b"none")) == b"new"


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_dropped(settings: Settings, clock: Clock, whole: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    user, group, other = uuid4(), uuid4(), uuid4()
    keys = [user_key(user), group_key(group), user_key(other)]
    cache, reader = AccessCache(settings, clock), AccessCache(settings, clock)
    for key in keys:
        get(reader, key, File(b"old"))
    cache.changed(
        AccessChange(everything=True) if whole else AccessChange(users=(user,), groups=(group,))
    )
    clock.now += STEP_SECONDS
    seen = [get(reader, key, File(b"new")) for key in keys]
    assert seen == [b"new", b"new", b"new" if whole else b"old"]


def test_a_process_that_is_killed_after_its_write_leaves_nothing_old(
    settings: Settings, clock: Clock, valkey: Valkey
) -> None:
    """It wrote the file and sent no message; all others see it within a second nevertheless."""
    one, key = vfolder()
    writer, near, other = (AccessCache(settings, clock) for _ in range(3))
    file = File(b"old")
    assert get(near, key, file) == b"old"
    writer.begin_change(key)
    assert get(other, key, file) == b"old"  # read during the write, and kept nowhere
    file.text = b"new"  # and the writer is killed
    clock.now += STEP_SECONDS
    assert get(near, key, file) == get(other, key, file) == b"new"
    with Redis.from_url(f"{valkey.url}/0") as client:
        assert 0 < client.ttl(key.changing) <= CHANGING_SECONDS
        client.delete(key.changing)  # its time has passed
    clock.now += STEP_SECONDS
    assert get(near, key, file) == get(other, key, file) == b"new"
    reads = file.reads
    clock.now += STEP_SECONDS
    assert get(near, key, file) == get(other, key, file) == b"new"
    assert file.reads == reads, "it is kept again"
    writer.begin_change(key)
    writer.changed(AccessChange(vfolders=(one,), volumes=("local",)))
    with Redis.from_url(f"{valkey.url}/0") as client:
        assert not client.exists(key.changing)


def test_a_write_that_may_still_come_keeps_its_mark(settings: Settings, clock: Clock) -> None:
    """A volume that hangs may write long after the door has answered."""
    one, key = vfolder()
    cache, file = AccessCache(settings, clock), File(b"old")
    cache.begin_change(key)
    cache.changed(AccessChange(vfolders=(one,), volumes=("local",), settled=False))
    assert get(cache, key, file) == b"old"
    file.text = b"new"
    clock.now += STEP_SECONDS
    assert get(cache, key, file) == b"new"


def test_a_long_record_is_read_from_its_file(settings: Settings, clock: Clock) -> None:
    _, key = vfolder()
    file = File(b"x" * (VALUE_MAX_BYTES + 1))
    for _ in range(2):
        assert get(AccessCache(settings, clock), key, file) == file.text
    assert file.reads == 2


def test_a_change_is_published(settings: Settings, clock: Clock, valkey: Valkey) -> None:
    one, _ = vfolder()
    with valkey.client() as client, client.pubsub() as channel:
        channel.subscribe(CHANNEL)
        eventually(lambda: channel.get_message() is not None)
        AccessCache(settings, clock).changed(AccessChange(vfolders=(one,), volumes=("local",)))
        found = []
        eventually(lambda: bool(found.append(channel.get_message())) or found[-1] is not None)
        assert str(one) in found[-1]["data"]


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    with running_valkey(tmp_path / "store") as server:
        yield server


def test_without_the_store_a_value_is_used_for_5_seconds_at_most(
    own_valkey: Valkey, tmp_path: Path, clock: Clock
) -> None:
    one, key = vfolder()
    settings = settings_in(tmp_path, own_valkey.url)
    reader, writer = AccessCache(settings, clock), AccessCache(settings, clock)
    file = File(b"old")
    assert get(reader, key, file) == b"old"
    own_valkey.kill()
    file.text = b"new"
    writer.changed(AccessChange(vfolders=(one,), volumes=("local",)))
    clock.now += STEP_SECONDS
    assert get(reader, key, file) == b"old"
    clock.now += AWAY_SECONDS - STEP_SECONDS + 0.1
    assert get(reader, key, file) == b"new"
    file.text = b"newest"
    own_valkey.start()

    def sees_it() -> bool:
        """Once the writer has published its change, all see it; without it the counter is old."""
        clock.now += AWAY_SECONDS
        return get(AccessCache(settings, clock), key, file) == b"newest"

    eventually(sees_it)
    with own_valkey.client() as client:
        eventually(lambda: client.get(key.version) == "1")


def test_a_store_that_comes_back_with_old_values_is_not_believed(
    own_valkey: Valkey, tmp_path: Path, clock: Clock
) -> None:
    """The process that made the change has not published it yet."""
    _, key = vfolder()
    with own_valkey.client() as client:
        client.config_set("appendfsync", "always")
    cache, file = AccessCache(settings_in(tmp_path, own_valkey.url), clock), File(b"old")
    assert get(cache, key, file) == b"old"
    own_valkey.kill()
    file.text = b"new"
    clock.now += AWAY_SECONDS + STEP_SECONDS
    assert get(cache, key, file) == b"new"
    own_valkey.start()
    with own_valkey.client() as client:
        assert client.get(key.value), "the old value is in the store"
    clock.now += PAUSE_SECONDS + STEP_SECONDS
    assert get(cache, key, file) == b"new"


def test_a_store_that_lost_everything_costs_a_read(
    settings: Settings, clock: Clock, valkey: Valkey
) -> None:
    _, key = vfolder()
    cache, file = AccessCache(settings, clock), File(b"text")
    get(cache, key, file)
    with valkey.client() as client:
        client.delete(key.value, key.version)
    assert get(AccessCache(settings, clock), key, file) == b"text"
    assert file.reads == 2


def test_an_answer_lives_as_long_as_it_says(settings: Settings, clock: Clock) -> None:
    user = uuid4()
    cache, other = AccessCache(settings, clock), AccessCache(settings, clock)
    calls = [0]

    def ask(missing: list[int]) -> list[tuple[int, float]]:
        calls[0] += 1
        return [(calls[0], 30.0) for _ in missing]

    def answer(name: str = "a") -> int:
        items = [((name, str(user)), [user_key(user).version])]
        return cache.answers(items, ask)[0]

    assert [answer(), answer()] == [1, 1]
    clock.now += 29
    assert answer() == 1
    clock.now += 1
    assert answer() == 2
    other.changed(AccessChange(users=(user,)))
    clock.now += STEP_SECONDS
    assert answer() == 3
    other.changed(AccessChange(everything=True))
    clock.now += STEP_SECONDS
    assert answer() == 4


def test_one_question_for_all_missing_answers(settings: Settings, clock: Clock) -> None:
    cache, asked = AccessCache(settings, clock), []

    def ask(missing: list[int]) -> list[tuple[int, float]]:
        asked.append(missing)
        return [(at, 1.0 if at else 30.0) for at in missing]

    items = [((str(at),), [f"vfolder:{at}:version"]) for at in range(4)]
    assert cache.answers(items[:2], ask) == [0, 1]
    assert cache.answers(items, ask) == [0, 1, 2, 3]
    clock.now += 2
    assert cache.answers(items, ask) == [0, 1, 2, 3]
    assert asked == [[0, 1], [2, 3], [1, 2, 3]]


def test_changes_that_wait_for_the_store_hold_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store may be away for hours, and people go on sharing meanwhile."""
    monkeypatch.setattr("core.access.cache.PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("core.access.cache.UNPUBLISHED_MAX", 20)
    cache = AccessCache(settings_in(tmp_path, "redis://127.0.0.1:1"))
    published: list[AccessChange] = []
    is_back = threading.Event()

    def publish(change: AccessChange) -> bool:
        if is_back.is_set():
            published.append(change)
        return is_back.is_set()

    monkeypatch.setattr(cache, "_publish", publish)
    before = threading.active_count()
    changes = [AccessChange(users=(uuid4(),)) for _ in range(50)]
    for change in changes:
        cache.changed(change)
    assert threading.active_count() <= before + 1
    is_back.set()
    eventually(lambda: changes[-1] in published)
    assert AccessChange(everything=True) in published
    assert len(published) <= 21
