"""One complete node for the files of this room, and the released manager beside it."""

from collections.abc import Iterator

import pytest

from backends.systems.s3 import Bucket
from tests.core.events.reader import Reader
from tests.support import remote_manager
from tests.support.hub import StandInHub, running_hub
from tests.support.node import Node, running_node
from tests.support.object_storage import weed
from tests.support.released.side import ReleasedManager
from tests.support.remote_manager import StandInManager, running_manager

#: What the shared node has beside its volume.
ARTIFACTS = """
[artifact-storages.shelf]
type = "vfs_storage"
vfs-storage = {{ base-path = "shelf" }}
[artifact-registries.hub]
type = "huggingface"
huggingface = {{ endpoint = "{hub}" }}
[artifact-registries.site]
type = "reservoir"
[artifact-registries.site.reservoir]
manager-endpoint = "{remote}"
manager-access-key = "{access_key}"
manager-secret-key = "{secret_key}"
storage-name = "{storage}"
"""
#: An object storage of it, where there is a server.
BUCKET = """
[artifact-storages.bucket]
type = "object_storage"
[artifact-storages.bucket.object-storage]
endpoint = "{url}"
access-key = "{access_key}"
secret-key = "{secret_key}"
buckets = ["{bucket}"]
region = "us-east-1"
"""


def artifacts(hub: StandInHub, remote: StandInManager, bucket: Bucket | None) -> str:
    """The tables of artifacts, with the addresses of the stand-ins."""
    objects = ""
    if bucket is not None:
        own = bucket.endpoint
        keys = {"access_key": own.access_key, "secret_key": own.secret_key}
        objects = BUCKET.format(url=own.url, bucket=bucket.name, **keys)
    return objects + ARTIFACTS.format(
        hub=hub.url,
        remote=remote.url,
        access_key=remote_manager.ACCESS_KEY,
        secret_key=remote_manager.SECRET_KEY,
        storage=remote_manager.STORAGE,
    )


@pytest.fixture(scope="package")
def stack(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Node]:
    """A complete real node under its supervisor, for the files of this room; they do not break it.

    Its start takes many seconds of the processor, so the files that use it are one scope
    (`tests.support.shared_scopes`).
    """
    bucket: Bucket | None = None
    if weed() is not None:
        bucket = request.getfixturevalue("object_storage").new_bucket()
    with (
        running_hub() as hub,
        running_manager() as remote,
        running_node(tmp_path_factory.mktemp("stack"), artifacts(hub, remote, bucket)) as node,
    ):
        node.hub, node.remote, node.bucket = hub, remote, bucket
        yield node


@pytest.fixture(scope="package")
def heard(stack: Node) -> Iterator[Reader]:
    """All events of the node, as the manager reads them."""
    with Reader(stack.settings.vfolder.redis.target().plain_url) as reader:
        yield reader
    assert not reader.errors


@pytest.fixture
def side(stack: Node, heard: Reader) -> ReleasedManager:
    """The manager's client, with the id of a new vfolder in a new quota scope."""
    settings = stack.settings
    mount = settings.volume_path(settings.volume["local"])
    url = f"http://{settings.api.manager.address}"
    assert stack.hub is not None
    assert stack.remote is not None
    secret = settings.api.manager.secret
    return ReleasedManager(url, secret, heard, mount, stack.hub, stack.remote, stack.bucket)
