"""The client of a hub: pages, branches, commits, files; what a refusal means; where tokens go."""

import os
from collections.abc import Iterator

import pytest

from backends.systems.registries import Hub
from core.errors import InvalidName, ModelNotFound, RegistryRefused, RegistryUnavailable
from core.settings import HuggingFaceTable
from tests.support.hub import StandInHub, running_hub

LARGE = os.urandom(400_000)
FILES = {
    "README.md": b"# A model",
    "empty.txt": b"",
    "a/weights.bin": LARGE,
    "a/b/config.json": b"{}",
}


@pytest.fixture
def stand_in() -> Iterator[StandInHub]:
    with running_hub() as stand_in:
        repo = stand_in.add("org/model", FILES)
        repo.tags["v1"] = repo.branches["main"]
        yield stand_in


@pytest.fixture
def hub(stand_in: StandInHub) -> Hub:
    return Hub(HuggingFaceTable(endpoint=stand_in.url, token=stand_in.token))


def test_a_scan_has_each_branch_and_tag(hub: Hub, stand_in: StandInHub) -> None:
    """Pages are followed at the endpoint, whichever host a mirror names."""
    stand_in.next_host = "http://mirror.example"
    for number in range(5):
        stand_in.add(f"org/other{number}", {"a": b"x"})
    found = hub.scan("org", "trending_score", 5, seconds=60)
    names = [(one.id, one.revision) for one in found]
    assert names == [
        *(("org/model", "main"), ("org/model", "v1")),
        *((f"org/other{number}", "main") for number in range(4)),
    ]
    document = found[1].document()
    assert document == {
        "id": "org/model",
        "name": "model",
        "author": "org",
        "revision": "v1",
        "tags": ["license:mit", "en"],
        "created_at": "2024-01-02T03:04:05Z",
        "modified_at": "2024-02-03T04:05:06.789000Z",
        "readme": None,
        "size": None,
        "sha": None,
        "extra": {"gated": False},
    }
    assert hub.scan("nothing", "likes", 5, seconds=60) == []


def test_branches_that_are_not_told_are_main(hub: Hub, stand_in: StandInHub) -> None:
    stand_in.fail("/refs", 403, times=9)
    assert [one.revision for one in hub.scan("org", "likes", 5, seconds=60)] == ["main"]


def test_a_revision_and_its_files(hub: Hub, stand_in: StandInHub) -> None:
    commit = hub.commit("org/model", "v1")
    assert commit == stand_in.repos["org/model"].tags["v1"]
    files = {one.path: one for one in hub.files("org/model", str(commit))}
    assert {name: one.size for name, one in files.items()} == {k: len(v) for k, v in FILES.items()}
    assert files["a/weights.bin"].sha256
    assert files["a/weights.bin"].blob is None
    assert files["empty.txt"].blob
    assert hub.size("org/model", "main") == sum(map(len, FILES.values()))
    assert hub.readme("org/model", "main") == "# A model"
    stand_in.add("org/silent", {"a": b"x"})
    assert hub.readme("org/silent", "main") is None


def test_a_file_from_another_host_comes_without_the_token(hub: Hub, stand_in: StandInHub) -> None:
    with hub.open("org/model", "main", "a/weights.bin", 1000) as file:
        assert (file.start, b"".join(file.pieces())) == (1000, LARGE[1000:])
    assert stand_in.with_token("files") == [False]
    assert all(stand_in.with_token("hub"))


def test_the_readme_of_a_scan_has_the_token(hub: Hub, stand_in: StandInHub) -> None:
    stand_in.add("org/gated", {"README.md": b"secret"}, gated="manual")
    assert hub.readme("org/gated", "main") == "secret"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, ModelNotFound),
        (401, RegistryRefused),
        (403, RegistryRefused),
        (400, RegistryRefused),
        (429, RegistryUnavailable),
        (503, RegistryUnavailable),
    ],
)
def test_what_a_refusal_means(
    hub: Hub, stand_in: StandInHub, status: int, error: type[Exception]
) -> None:
    stand_in.fail("/revision/", status, times=9)
    with pytest.raises(error) as refused:
        hub.model("org/model", "main")
    assert stand_in.token not in str(refused.value)


def test_a_short_failure_is_repeated(hub: Hub, stand_in: StandInHub) -> None:
    stand_in.fail("/revision/", 503, times=2)
    assert hub.model("org/model", "main").author == "org"


def test_a_hub_that_is_away() -> None:
    with pytest.raises(RegistryUnavailable):
        Hub(HuggingFaceTable(endpoint="http://127.0.0.1:1")).commit("org/model", "main")


@pytest.mark.parametrize(
    "name", ["", "..", "a/..", "../a", "a/b/c", "a b", "a/", "/a", "a\n", "a%2f"]
)
def test_ids_that_are_none(hub: Hub, name: str) -> None:
    with pytest.raises(InvalidName):
        hub.model(name, "main")
