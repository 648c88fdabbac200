"""A volume that is away hides nothing of the others, and tells no one what others have."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from backends.fs import marker
from core.names import VFolderId
from tests.api.people.conftest import People, Person
from tests.support.node import wait_for


@contextmanager
def away(people: People, volume: str) -> Iterator[None]:
    """The volume's marker is gone, as when nothing is mounted at its path."""
    top = people.settings.directory / volume
    wait_for((top / marker.NAME).exists)
    hidden = top.with_name(f"{volume}.marker")
    (top / marker.NAME).rename(hidden)
    try:
        yield
    finally:
        hidden.rename(top / marker.NAME)


@pytest.fixture
def owner(people: People) -> Person:
    return people.person()


@pytest.fixture
def mine(people: People, owner: Person) -> VFolderId:
    return people.vfolder(owner, f="content")


def status(people: People, person: Person, method: str, path: str, body: object = None) -> int:
    return people.call(person, method, path, body, on_fault=True).status_code


def test_what_another_volume_has_can_be_read(
    people: People, owner: Person, mine: VFolderId
) -> None:
    with away(people, "second"):
        for path in ("", "/entries", "/content?path=f"):
            for _ in range(2):
                assert status(people, owner, "GET", f"/v1/vfolders/{mine.id}{path}") == 200


def test_a_change_waits_because_the_id_may_be_on_both(
    people: People, owner: Person, mine: VFolderId
) -> None:
    body = {"paths": ["d"]}
    with away(people, "second"):
        path = f"{mine.id}/directories"
        assert status(people, owner, "POST", f"/v1/vfolders/{path}", body) == 503
        assert not (people.path(mine) / "d").exists()
        assert status(people, owner, "POST", f"/v1/vfolders/local:{path}", body) == 201
    assert (people.path(mine) / "d").is_dir()


def test_what_is_hidden_looks_as_what_is_absent(
    people: People, owner: Person, mine: VFolderId
) -> None:
    stranger = people.person()
    with away(people, "second"):
        for method, more in (("GET", ""), ("GET", "/entries"), ("POST", "/directories")):
            body = {"paths": ["d"]} if method == "POST" else None
            hidden, absent = (
                status(people, stranger, method, f"/v1/vfolders/{one}{more}", body)
                for one in (mine.id, uuid4())
            )
            assert hidden == absent, (method, more)
            assert hidden >= 400
        for one in (mine.id, uuid4()):
            assert status(people, stranger, "GET", f"/v1/vfolders/local:{one}") == 404


def test_a_list_has_what_the_other_volumes_have(
    people: People, owner: Person, mine: VFolderId
) -> None:
    people.vfolder(owner, "second")
    with away(people, "second"):
        listed = people.call(owner, "GET", "/v1/vfolders").json()
    assert [one["volume"] for one in listed["vfolders"]] == ["local"]
    assert listed["complete"] is False
