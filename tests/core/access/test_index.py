"""The index of records on a real store: what a user or group owns or shares."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest
from msgspec import structs

from core.access import AccessIndex, Grant, RecordOwner, VFolderRecord
from core.settings import Settings
from tests.support.doors import settings_in
from tests.support.valkey import Valkey


@pytest.fixture
def settings(valkey: Valkey, tmp_path: Path) -> Settings:
    return settings_in(tmp_path, valkey.url)


@pytest.fixture
def index(settings: Settings) -> AccessIndex:
    return AccessIndex(settings)


def record(owner: UUID, *to: str, volume: str = "", revision: int = 1) -> VFolderRecord:
    return VFolderRecord(
        id=uuid4(),
        volume=volume or f"v-{uuid4()}",
        scope=f"user:{owner}",
        owner=RecordOwner(kind="user", id=owner),
        grants=tuple(Grant(id=str(at), to=word, permission="ro") for at, word in enumerate(to)),
        revision=revision,
    )


def found(index: AccessIndex, *words: str) -> list[UUID]:
    return [entry.id for entry in index.shared_with(words)]


def test_owner_and_grantees_find_a_vfolder(index: AccessIndex) -> None:
    owner, user, group = uuid4(), uuid4(), uuid4()
    one = record(owner, f"user:{user}", f"group:{group}")
    index.put(one)
    for word in (f"user:{owner}", f"user:{user}", f"group:{group}"):
        assert found(index, word) == [one.id]
    assert found(index, f"user:{user}", f"group:{group}") == [one.id]
    assert found(index, f"user:{uuid4()}") == []


def test_who_lost_its_grant_finds_it_no_more(index: AccessIndex) -> None:
    owner, user = uuid4(), uuid4()
    one = record(owner, f"user:{user}")
    index.put(one)
    index.put(structs.replace(one, grants=(), revision=2))
    assert (found(index, f"user:{user}"), found(index, f"user:{owner}")) == ([], [one.id])


def test_the_words_are_those_who_own_or_share_something(index: AccessIndex) -> None:
    owner, user, group = uuid4(), uuid4(), uuid4()
    one, other = record(owner, f"user:{user}", f"group:{group}"), record(owner)
    for made in (one, other):
        index.put(made)
    assert index.holders(f"user:{owner}", "", 10) == [f"user:{owner}"]
    assert index.counts([f"user:{owner}", f"group:{group}", f"user:{uuid4()}"]) == [2, 1, 0]
    pages, after = list[str](), ""
    while page := index.holders("user:", after, 1):
        (after,) = page
        pages += page
    assert {f"user:{owner}", f"user:{user}"} <= set(pages)
    assert pages == sorted(set(pages))
    assert index.holders("group:", after, 10) == []
    index.put(structs.replace(one, grants=(), revision=2))
    index.drop(other.volume, other.id)
    assert index.holders(f"user:{user}", "", 10) == index.holders(f"group:{group}", "", 10) == []
    assert index.holders(f"user:{owner}", "", 10) == [f"user:{owner}"]
    index.drop(one.volume, one.id)
    assert index.holders(f"user:{owner}", "", 10) == []


def test_an_older_record_changes_nothing(index: AccessIndex) -> None:
    owner, user = uuid4(), uuid4()
    one = record(owner, revision=5)
    assert index.put(one)
    assert not index.put(
        structs.replace(record(owner, f"user:{user}"), id=one.id, volume=one.volume)
    )
    assert (found(index, f"user:{user}"), index.revision(one.volume, one.id)) == ([], 5)


def test_the_id_in_another_scope_is_another_vfolder(index: AccessIndex) -> None:
    """The revision of one must not make the record of the other look old, and so forged."""
    first = record(uuid4(), revision=5)
    other = record(uuid4(), volume=first.volume, revision=2)
    twin = structs.replace(other, id=first.id)
    scopes = [one.owner.id.hex for one in (first, twin)]
    assert index.put(first)
    assert [index.revision(first.volume, first.id, scope) for scope in scopes] == [5, 0]
    assert index.put(twin)
    assert [index.revision(first.volume, first.id, scope) for scope in scopes] == [0, 2]
    guessed = structs.replace(twin, scope=f"project:{twin.owner.id}", revision=1)
    assert not index.put(guessed), "the kind of a scope is no part of its place"


def test_a_vfolder_that_is_gone_is_dropped(index: AccessIndex) -> None:
    one = record(uuid4())
    index.put(one)
    for _ in range(2):
        index.drop(one.volume, one.id)
    assert found(index, one.owner.word) == []
    assert index.revision(one.volume, one.id) == 0


def test_the_index_is_built_again_from_the_records(index: AccessIndex) -> None:
    owner, volume = uuid4(), f"v:{uuid4()}"
    kept, gone, new = (record(owner, volume=volume) for _ in range(3))
    index.put(kept)
    index.put(gone)
    assert not index.is_complete(volume)
    assert index.rebuild(volume, [kept, new]) == (2, 1)
    assert index.is_complete(volume)
    assert set(found(index, f"user:{owner}")) == {kept.id, new.id}


def test_many_vfolders_of_one_user(index: AccessIndex) -> None:
    owner, volume = uuid4(), f"v-{uuid4()}"
    index.rebuild(volume, (record(owner, volume=volume) for _ in range(2_100)))
    assert len(found(index, f"user:{owner}")) == 2_100
