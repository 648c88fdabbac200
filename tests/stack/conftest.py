"""The released manager beside the shared node: one consumer group of events for all files."""

from collections.abc import Iterator

import pytest

from tests.core.events.reader import Reader
from tests.support.node import Node
from tests.support.released.side import ReleasedManager


@pytest.fixture(scope="module")
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
