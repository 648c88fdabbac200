"""The verb `adopt` on a volume that holds limits, and on one that does not."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.api.jobs.conftest import MORE, Site
from tests.support.doors import running_door, settings_in
from tests.support.loops import mounted
from tests.support.valkey import running_valkey
from tests.support.worker import running_worker

pytestmark = pytest.mark.part("btrfs")
MIB = 1 << 20


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A door and a worker with the volume `fast` on btrfs beside `local`."""
    directory = tmp_path_factory.mktemp("holding")
    with (
        mounted(directory / "disk", ["mkfs.btrfs", "-q"], size_bytes=256 * MIB) as top,
        running_valkey(tmp_path_factory.mktemp("valkey")) as valkey,
    ):
        more = f'{MORE}\n[volume.fast]\nbackend = "btrfs"\npath = "{top}"\n'
        settings = settings_in(directory, valkey.url, more)
        with running_worker(settings), running_door("manager", settings) as door:
            yield Site(settings, door, valkey.client(0))


def adopt(site: Site, **body: object) -> dict[str, object]:
    found: dict[str, object] = site.ended(site.begun("adopt", **body))
    return found


def test_a_scope_is_put_under_a_limit(holding: Site) -> None:
    owner = f"user:{uuid4()}"
    order = {"volume": "fast", "qsid": owner}
    assert holding.door.call("POST", "/quota-scope", order).status_code == 204
    done = adopt(holding, volume="fast", owner=owner, limit_bytes=5 * MIB)
    assert done["state"] == "succeeded"
    scope = holding.door.call("GET", "/quota-scope", order).json()
    assert (scope["limit_bytes"], scope["enforced"]) == (5 * MIB, "hard")


def test_what_cannot_be_put_under_one_says_so(holding: Site) -> None:
    owner = f"user:{uuid4()}"
    absent = adopt(holding, volume="fast", owner=owner, limit_bytes=MIB)
    assert absent["state"] == "failed"
    assert absent["error"]["error_code"] == "quota-scope_read_not-found"  # type: ignore[index] # a document
    order = {"volume": "local", "qsid": owner}
    assert holding.door.call("POST", "/quota-scope", order).status_code == 204
    unlimited = adopt(holding, volume="local", owner=owner, limit_bytes=MIB)
    assert unlimited["state"] == "failed"
    assert "enforces no limits" in unlimited["error"]["detail"]  # type: ignore[index] # a document


@pytest.mark.parametrize("limit", [0, -1, 2**63, "5", None, 1.5])
def test_limits_that_are_none(holding: Site, limit: object) -> None:
    order = {"volume": "fast", "owner": f"user:{uuid4()}", "limit_bytes": limit}
    answer = holding.submit("adopt", **order)
    assert answer.status_code == 400, answer.text
