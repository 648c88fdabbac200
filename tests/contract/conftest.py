"""The contract suite: on every backend here, or on one volume of a site.

pytest tests/contract --volume NAME --config FILE

It makes quota scopes of its own and removes them. It does not touch any other scope.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.fixtures import backend, fitting, quota, scope, snapshots, vfolder
from contract.site import Site, configured
from core.errors import ConfigurationError
from tests.contract import sites
from tests.support.ceph import running_ceph, start_gateway
from tests.support.object_storage import ACCESS_KEY, SECRET_KEY

__all__ = [
    "backend",
    "fitting",
    "quota",
    "scope",
    "snapshots",
    "vfolder",
]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A run on a site's volume, or in the user-mode kernel, starts no further run."""
    within = config.getoption("--volume", default=None) or "UML_XFS" in os.environ
    return True if within and collection_path.name == "test_site.py" else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--volume", help="run the contract suite on this volume of the configuration")
    parser.addoption("--config", help="the configuration file that names the volume")


def pytest_configure(config: pytest.Config) -> None:
    """Check the options before the first test, so that a mistake is one error and not many.

    Raises:
        pytest.UsageError: an option is missing, or the configuration has no such volume.
    """
    name = config.getoption("--volume", default=None)
    file = config.getoption("--config", default=None)
    if name and not file:
        raise pytest.UsageError(
            "--volume needs --config FILE, a complete configuration that names it"
        )
    if file and not name:
        raise pytest.UsageError("--config needs --volume NAME, a volume of this configuration")
    if name:
        try:
            configured(name, file)
        except ConfigurationError as error:
            raise pytest.UsageError(f"--config {file}: {error.detail}") from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "site" not in metafunc.fixturenames:
        return
    name = metafunc.config.getoption("--volume", default=None)
    btrfs, ceph = [pytest.mark.part("btrfs")], [pytest.mark.part("ceph")]
    seaweed = [pytest.mark.part("seaweedfs")]
    rgw = [*ceph, *map(pytest.mark.part, ("radosgw", "fuse", "root"))]
    marks = {
        "s3": seaweed,
        "radosgw": rgw,
        "btrfs": btrfs,
        "btrfs-simple": btrfs,
        "cephfs": ceph,
    }
    module = metafunc.module.__name__.rpartition(".")[2]
    names = [name] if name else sites.here(module)
    values = [pytest.param(each, marks=marks.get(each, [])) for each in names]
    metafunc.parametrize("site", values, indirect=True, scope="module")


@pytest.fixture(scope="package")
def ceph() -> Iterator[Path]:
    """The directory of a real Ceph for all modules of the suite."""
    with running_ceph() as directory:
        yield directory


@pytest.fixture(scope="package")
def gateway(ceph: Path) -> str:
    """The URL of the S3 gateway of that Ceph."""
    return start_gateway(ceph, ACCESS_KEY, SECRET_KEY)


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The volume under test."""
    file = request.config.getoption("--config", default=None)
    if file:
        yield configured(request.param, file)
        return
    if request.param == "s3":
        storage = request.getfixturevalue("object_storage")
        yield sites.s3(tmp_path_factory.mktemp("site"), storage)
        return
    if request.param == "cephfs":
        yield sites.with_part("cephfs", sites.cephfs(request.getfixturevalue("ceph")))
        return
    if request.param == "radosgw":
        yield sites.radosgw(tmp_path_factory.mktemp("site"), request.getfixturevalue("gateway"))
        return
    with sites.MAKERS[request.param](tmp_path_factory.mktemp("site")) as made:
        yield sites.with_part(request.param, made)
