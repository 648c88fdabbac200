"""A manager door with artifact storages, a worker, a hub and the manager of another site."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from core.settings import Settings
from tests.core.events.reader import Reader
from tests.support import object_storage, remote_manager
from tests.support.doors import RunningDoor, running_door, settings_in
from tests.support.hub import StandInHub, running_hub
from tests.support.remote_manager import StandInManager, running_manager
from tests.support.valkey import Valkey, running_valkey
from tests.support.worker import running_worker

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
endpoint = "{endpoint}"
access-key = "{key}"
secret-key = "{secret}"
buckets = ["{buckets[0]}", "{buckets[1]}"]
region = "us-east-1"
[artifact-storages.dead-bucket]
type = "object_storage"
[artifact-storages.dead-bucket.object-storage]
endpoint = "http://127.0.0.1:1"
access-key = "{key}"
secret-key = "{secret}"
buckets = ["none"]
region = "us-east-1"
[artifact-registries.other-site]
type = "reservoir"
[artifact-registries.other-site.reservoir]
endpoint = "{endpoint}"
object-storage-access-key = "{key}"
object-storage-secret-key = "{secret}"
object-storage-region = "us-east-1"
"""


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


#: The registries of this room; `dead` is a hub that is away.
REGISTRIES = """
[vfolder.jobs]
lease-seconds = 5.0
[artifact-registries.hub]
type = "huggingface"
[artifact-registries.hub.huggingface]
endpoint = "{hub.url}"
token = "{hub.token}"
max-model-size = 30000000
[artifact-registries.dead]
type = "huggingface"
huggingface = {{ endpoint = "http://127.0.0.1:1" }}
[artifact-registries.site]
type = "reservoir"
[artifact-registries.site.reservoir]
manager_endpoint = "{site.url}"
manager_access_key = "{access_key}"
manager_secret_key = "{secret_key}"
manager_api_version = "{version}"
storage_name = "{storage}"
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[StandInHub]:
    """The hub, shared by all tests: each adds models of its own."""
    with running_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def remote() -> Iterator[StandInManager]:
    """The manager of another site, shared as the hub is."""
    with running_manager() as manager:
        yield manager


@pytest.fixture(scope="module")
def storages(request: pytest.FixtureRequest) -> str:
    """The tables of the storages, with two buckets of a real server where there is one."""
    keys = {"key": object_storage.ACCESS_KEY, "secret": object_storage.SECRET_KEY}
    if object_storage.weed() is None:
        return STORAGES.format(endpoint="http://127.0.0.1:1", buckets=["one", "two"], **keys)
    server: object_storage.ObjectStorage = request.getfixturevalue("object_storage")
    buckets = [server.new_bucket().name for _ in range(2)]
    return STORAGES.format(endpoint=server.url, buckets=buckets, **keys)


@pytest.fixture(scope="module")
def verifiers() -> str:
    """The tables of the verifiers: none, unless a module has some."""
    return ""


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory,
    valkey: Valkey,
    hub: StandInHub,
    remote: StandInManager,
    storages: str,
    *,
    verifiers: str,
) -> Settings:
    registries = REGISTRIES.format(
        hub=hub,
        site=remote,
        access_key=remote_manager.ACCESS_KEY,
        secret_key=remote_manager.SECRET_KEY,
        version=remote_manager.VERSION,
        storage=remote_manager.STORAGE,
    )
    return settings_in(
        tmp_path_factory.mktemp("door"), valkey.url, storages + registries + verifiers
    )


@pytest.fixture(scope="module")
def worker(settings: Settings) -> Iterator[int]:
    """The worker of the node."""
    with running_worker(settings) as pid:
        yield pid


@pytest.fixture(scope="module")
def heard(valkey: Valkey) -> Iterator[Reader]:
    """All events, as the manager reads them."""
    with Reader(valkey.url) as reader:
        yield reader
    assert not reader.errors


@pytest.fixture(scope="module")
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
