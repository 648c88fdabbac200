"""A manager door with artifact storages."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from core.settings import Settings
from tests.support.doors import RunningDoor, running_door, settings_in
from tests.support.valkey import Valkey, running_valkey

#: The storages of this room; `small` takes files of ten bytes at most.
STORAGES = """
[artifact-storages.shelf]
type = "vfs_storage"
[artifact-storages.shelf.vfs_storage]
base-path = "shelf"
subpath = "models"
[artifact-storages.small]
type = "vfs_storage"
[artifact-storages.small.vfs-storage]
base-path = "small"
max-file-size = 10
[artifact-storages.bucket]
type = "object_storage"
[artifact-storages.bucket.object-storage]
endpoint = "http://127.0.0.1:1"
access-key = "key"
secret-key = "secret"
buckets = ["one", "two"]
region = "local"
"""


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Settings:
    return settings_in(tmp_path_factory.mktemp("door"), valkey.url, STORAGES)


@pytest.fixture(scope="session")
def manager(settings: Settings) -> Iterator[RunningDoor]:
    """The door, shared by all tests: each has a directory of its own in the storage."""
    with running_door("manager", settings) as door:
        yield door


@pytest.fixture
def place(settings: Settings, manager: RunningDoor) -> Path:
    """A new directory in the storage `shelf`, which the start of the door made."""
    path = settings.directory / "shelf" / "models" / uuid4().hex
    path.mkdir()
    return path
