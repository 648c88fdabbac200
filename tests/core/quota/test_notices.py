"""Notices: the newest first over several subjects, page by page, and read by each reader alone."""

import time
from uuid import UUID, uuid4

import pytest

from core.quota import NoticeStore
from core.quota.notices import KEEP_SECONDS
from tests.support.valkey import Valkey


@pytest.fixture
def store(valkey: Valkey) -> NoticeStore:
    return NoticeStore(valkey.client())


def facts(
    store: NoticeStore, subjects: list[UUID], count: int = 100, before: str = ""
) -> list[int]:
    return [one.facts["n"] for one in store.of(subjects, count, before)]


def test_pages_hold_each_notice_once(store: NoticeStore) -> None:
    one, other, stranger = uuid4(), uuid4(), uuid4()
    for number in range(7):
        store.add((one if number % 2 else other).hex, {"n": number})
    store.add(stranger.hex, {"n": 99})
    every = facts(store, [one, other])
    assert sorted(every) == list(range(7))
    assert facts(store, [one]) == [5, 3, 1]
    pages, before = list[int](), ""
    while page := store.of([one, other, one], 2, before):
        pages += [notice.facts["n"] for notice in page]
        before = page[-1].id
    assert pages == every
    assert facts(store, []) == []


def test_notices_of_one_moment_are_on_one_page_or_the_next(
    store: NoticeStore, valkey: Valkey
) -> None:
    """Streams of different subjects give the same ids."""
    subjects = [uuid4() for _ in range(5)]
    at = f"{round(time.time() * 1000)}-0"
    for number, subject in enumerate(sorted(subjects)):
        valkey.client().xadd(f"vf:notices:{subject.hex}", {"facts": f'{{"n": {number}}}'}, id=at)
    found, before = list[int](), ""
    while page := store.of(subjects, 2, before):
        found += [notice.facts["n"] for notice in page]
        before = page[-1].id
    assert found == [4, 3, 2, 1, 0]


def test_each_reader_has_marks_of_its_own(store: NoticeStore) -> None:
    group, first, second = uuid4(), uuid4(), uuid4()
    store.add(group.hex, {"n": 1})
    (notice,) = store.of([group], 10)
    assert store.named(notice.id, [first]) is None, "it is of none of its subjects"
    found = store.named(notice.id, [first, group])
    assert found == notice
    store.mark_read(first, notice)
    assert store.read_by(first) == {notice.id}
    assert store.read_by(second) == frozenset()
    for text in ("", "absent", notice.id + "0", f"{group.hex}-1-0", f"{group}-1-0"):
        assert store.named(text, [group]) is None


def test_what_is_old_is_gone(store: NoticeStore, valkey: Valkey) -> None:
    subject, client = uuid4(), valkey.client()
    old = round((time.time() - KEEP_SECONDS - 10) * 1000)
    client.xadd(f"vf:notices:{subject.hex}", {"facts": '{"n": 0}'}, id=f"{old}-0")
    client.hset(f"vf:notices-read:{subject.hex}", f"{subject.hex}-{old}-0", str(old))
    store.add(subject.hex, {"n": 1})
    (notice,) = store.of([subject], 10)
    assert notice.facts == {"n": 1}
    store.mark_read(subject, notice)
    assert store.read_by(subject) == {notice.id}
    assert 0 < client.ttl(f"vf:notices:{subject.hex}") <= KEEP_SECONDS
