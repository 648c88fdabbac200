"""The stand-in speaks the protocol of `huggingface_hub`: the library itself is content with it."""

import os
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub  # it loads its parts when they are used; all of them take seconds
import pytest

from tests.support.hub import StandInHub, running_hub

FILES = {
    "README.md": b"# A model",
    "config.json": b"{}",
    "empty.txt": b"",
    "weights/a.bin": os.urandom(300_000),
    "weights/b.bin": os.urandom(2000),
}


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with running_hub() as hub:
        repo = hub.add("org/model", FILES)
        repo.tags["v1"] = repo.branches["main"]
        yield hub


@pytest.fixture
def library(hub: StandInHub) -> "huggingface_hub.HfApi":
    return huggingface_hub.HfApi(endpoint=hub.url, token=hub.token)


def test_models_and_branches(hub: StandInHub, library: "huggingface_hub.HfApi") -> None:
    for number in range(5):
        hub.add(f"org/other{number}", {"README.md": b"x"})
    found = list(library.list_models(search="org", sort="last_modified", limit=5))
    assert [one.id for one in found] == ["org/model", *(f"org/other{n}" for n in range(4))]
    refs = library.list_repo_refs("org/model")
    assert [one.name for one in refs.branches + refs.tags] == ["main", "v1"]
    info = library.model_info("org/model", revision="v1")
    assert info.sha == hub.repos["org/model"].tags["v1"]


def test_files(hub: StandInHub, library: "huggingface_hub.HfApi", tmp_path: Path) -> None:
    tree = list(library.list_repo_tree("org/model", recursive=True))
    sizes = {one.path: one.size for one in tree if hasattr(one, "size")}
    assert sizes == {name: len(data) for name, data in FILES.items()}
    place = huggingface_hub.snapshot_download(
        "org/model", endpoint=hub.url, token=hub.token, local_dir=tmp_path / "x", cache_dir=tmp_path
    )
    for name, data in FILES.items():
        assert (Path(place) / name).read_bytes() == data


def test_what_is_absent(hub: StandInHub, library: "huggingface_hub.HfApi", tmp_path: Path) -> None:
    with pytest.raises(huggingface_hub.errors.RepositoryNotFoundError):
        library.model_info("org/none")
    with pytest.raises(huggingface_hub.errors.EntryNotFoundError):
        huggingface_hub.hf_hub_download("org/model", "none", endpoint=hub.url, cache_dir=tmp_path)
