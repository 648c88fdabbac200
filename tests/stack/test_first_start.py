"""The first start of a node: it prints a link, which signs a browser in to the console."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.api.client.chromium import browser
from tests.support.node import Node, wait_for

pytestmark = [pytest.mark.part("chromium")]
PROCFILE = "redis: python -m deploy.embedded_store\nclient: python -m api.serve client\n"
LINK = re.compile(r"http://127\.0\.0\.1:\d+/console#code=\S+")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path / "node", PROCFILE)
    made.config.unlink()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()


def greeting(node: Node) -> str:
    """Start it on free ports, which a first start does not choose by itself."""
    ports = node.ports
    addresses = {
        "API__CLIENT__SERVICE_ADDR": f"127.0.0.1:{ports.client}",
        "API__MANAGER__SERVICE_ADDR": f"127.0.0.1:{ports.manager}",
        "API__MANAGER__ANNOUNCE_ADDR": f"127.0.0.1:{ports.manager}",
        "API__MANAGER__INTERNAL_ADDR": f"127.0.0.1:{ports.internal}",
        "VFOLDER__REDIS__PORT": str(ports.store),
        "VFOLDER__FLOWER__ADDR": f"127.0.0.1:{ports.flower}",
    }
    node.start(environment={f"VFOLDER__{name}": value for name, value in addresses.items()})
    node.wait_until_it_says("The node runs.", 300)
    return "\n".join(wait_for(node.greeting))


def test_the_link_of_the_first_start_signs_a_browser_in(node: Node, tmp_path: Path) -> None:
    first = greeting(node)
    assert "within two minutes" in first
    link = LINK.search(first)
    assert link
    with browser(tmp_path / "profile") as seen:
        seen.open(link[0])
        seen.until("document.body.innerText.includes('No folders yet.')")
        me = "fetch('/v1/me').then((one) => one.text()).then((text) => (window.me = text)), 1"
        seen.value(me)
        seen.until("window.me !== undefined")
        found = json.loads(seen.value("window.me"))["subject"]
    assert found["name"] == "me"
    node.stop()
    again = greeting(node)
    assert not LINK.search(again), "only the first start makes one"
    command = re.search(r"access user me --id (\S+) --link", again)
    assert command
    assert UUID(command[1]) == UUID(found["id"]), "the next link is for the same user"
