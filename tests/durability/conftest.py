"""One file system whose power can fail, and one store, for all tests of a process."""

from collections.abc import Iterator

import pytest

from tests.durability.site import Site
from tests.support.crashfs import CrashFS, mounted, syncfs_marks
from tests.support.disk_model import State
from tests.support.valkey import Valkey, running_valkey


@pytest.fixture(scope="session")
def _parts(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[CrashFS, State, Valkey]]:
    with (
        running_valkey(tmp_path_factory.mktemp("valkey")) as valkey,
        mounted(tmp_path_factory.mktemp("crashing")) as volume,
    ):
        yield volume, volume.now(), valkey


@pytest.fixture
def site(_parts: tuple[CrashFS, State, Valkey], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A node with an empty volume and an empty store."""
    volume, empty, valkey = _parts
    volume.start_again(empty)
    with valkey.client() as client:
        client.flushall()
    syncfs_marks(monkeypatch)
    found = Site(volume, valkey, monkeypatch)
    yield found
    found.client.close()
