"""Sites that several tests share; everything is repaired before each test."""

from collections.abc import Iterator

import pytest

from tests.chaos.site import BRITTLE_LOSSES, Setup, Site
from tests.support.brittlefs import BrittleFS, mounted
from tests.support.valkey import Valkey, running_valkey

SEED = 7


@pytest.fixture
def valkey_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A store for one site: nodes of two sites would run each other's jobs."""
    with running_valkey(tmp_path_factory.mktemp("valkey-alone")) as server:
        yield server


@pytest.fixture(scope="module")
def _two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_valkey(tmp_path_factory.mktemp("two-valkey")) as server:
        site = Site(tmp_path_factory.mktemp("two"), server, SEED)
        site.start()
        try:
            yield site
        finally:
            site.stop()


@pytest.fixture
def two_nodes(_two_nodes: Site) -> Iterator[Site]:
    """Two healthy nodes; what the test breaks is repaired for the next one."""
    _two_nodes.ready()
    yield _two_nodes
    _two_nodes.wake(everything=True)


@pytest.fixture(scope="module")
def _brittle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, BrittleFS]]:
    with (
        running_valkey(tmp_path_factory.mktemp("brittle-valkey")) as valkey,
        mounted(tmp_path_factory.mktemp("brittle")) as volume,
    ):
        setups = {"one": Setup(path=volume.path, max_losses=BRITTLE_LOSSES)}
        directory = volume.path.parent
        site = Site(directory, valkey, SEED, setups=setups, volume=volume.backing)
        site.start()
        try:
            yield site, volume
        finally:
            volume.heal()
            site.stop()


@pytest.fixture
def brittle(_brittle: tuple[Site, BrittleFS]) -> Iterator[tuple[Site, BrittleFS]]:
    """One node, and its volume on a file system whose faults the test sets."""
    site, volume = _brittle
    site.ready()
    yield site, volume
    volume.heal()
