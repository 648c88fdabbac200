"""A hub with mirrors: who is asked, whose error counts, and that no mirror gets the token."""

import os
from collections.abc import Iterator

import pytest

from backends.systems.registries import Hub
from core.errors import ModelNotFound, RegistryRefused, RegistryUnavailable
from core.settings import HuggingFaceTable
from tests.support.hub import StandInHub, running_hub

LARGE = os.urandom(100_000)
FILES = {"README.md": b"# A model", "weights.bin": LARGE, "a": b"1", "b": b"2", "c": b"3"}
MODEL = "org/model"


@pytest.fixture
def main() -> Iterator[StandInHub]:
    with running_hub() as hub:
        hub.add(MODEL, FILES)
        yield hub


@pytest.fixture
def mirror() -> Iterator[StandInHub]:
    with running_hub() as hub:
        hub.add(MODEL, FILES)
        yield hub


@pytest.fixture
def hub(main: StandInHub, mirror: StandInHub) -> Hub:
    table = HuggingFaceTable(endpoint=main.url, token=main.token, mirrors=[mirror.url + "/"])
    return Hub(table)


def test_a_mirror_is_asked_while_the_endpoint_fails(
    hub: Hub, main: StandInHub, mirror: StandInHub
) -> None:
    assert hub.commit(MODEL, "main")
    assert not mirror.requests
    main.fail("", 503, times=99)
    commit = hub.commit(MODEL, "main")
    assert commit == mirror.repos[MODEL].branches["main"]
    asked = len(main.requests)
    assert {one.path: one.size for one in hub.files(MODEL, str(commit))} == {
        name: len(data) for name, data in FILES.items()
    }
    with hub.open(MODEL, str(commit), "weights.bin", 1000) as file:
        assert b"".join(file.pieces()) == LARGE[1000:]
    assert hub.readme(MODEL, "main") == "# A model"
    assert [one.id for one in hub.search("org", "likes", 5, seconds=60)] == [MODEL]
    assert len(main.requests) == asked  # it rests
    assert not any(mirror.with_token("hub"))


def test_what_a_mirror_lacks_says_nothing(hub: Hub, main: StandInHub, mirror: StandInHub) -> None:
    main.add("org/new", {"a": b"1"})
    main.fail("", 503, times=3)
    with pytest.raises(RegistryUnavailable):
        hub.commit("org/new", "main")
    assert hub.commit("org/new", "main") == main.repos["org/new"].branches["main"]
    mirror.fail("", 403, times=9)
    assert hub.commit(MODEL, "main")


@pytest.mark.parametrize(("status", "error"), [(404, ModelNotFound), (403, RegistryRefused)])
def test_the_word_of_the_endpoint_counts(
    hub: Hub, main: StandInHub, mirror: StandInHub, status: int, error: type[Exception]
) -> None:
    main.fail("", status)
    with pytest.raises(error):
        hub.commit(MODEL, "main")
    assert not mirror.requests


def test_all_servers_are_away() -> None:
    table = HuggingFaceTable(endpoint="http://127.0.0.1:1", mirrors=["http://127.0.0.1:2"])
    with pytest.raises(RegistryUnavailable):
        Hub(table).commit(MODEL, "main")
