"""`vfolder doctor --write` on what is no array: file systems, commands, and Lustre."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from backends.volumes.registry import _BUILT_IN, _BY_PATH
from simulators.programs.mmfs import standin as mmfs
from simulators.serving import Faults
from simulators.shelf import BtrfsShelf
from simulators.systems import SYSTEMS
from simulators.volume import simulated
from tests.support import lustrefs
from tests.support.ceph import running_ceph
from tests.support.clinic import Clinic
from tests.support.loops import mounted

pytestmark = pytest.mark.part("root")
#: Examined by `test_doctor.py` and `tests/kernel/test_doctor.py`, or another's name.
ELSEWHERE = {*SYSTEMS, "vfs", "s3", "xfs", "ext4", "spectrumscale"}
Maker = Callable[[Path], AbstractContextManager[Clinic]]


@contextmanager
def on_btrfs(directory: Path) -> Iterator[Path]:
    make = ["mkfs.btrfs", "-q", "-m", "single", "-d", "single"]
    with mounted(directory / "btrfs", make, size_bytes=1 << 30) as top:
        yield top


@contextmanager
def btrfs(directory: Path) -> Iterator[Clinic]:
    with on_btrfs(directory) as top:
        yield Clinic(directory, top, "btrfs")


@contextmanager
def cephfs(directory: Path) -> Iterator[Clinic]:
    with running_ceph() as ceph:
        options = {"ceph_conf": str(ceph / "ceph.conf"), "ceph_keyring": str(ceph / "keyring")}
        yield Clinic(directory, ceph / "mnt", "cephfs", options)


@contextmanager
def gpfs_commands(directory: Path) -> Iterator[Clinic]:
    programs = directory / "mmfs"
    programs.mkdir()
    with on_btrfs(directory) as top:
        shelf = BtrfsShelf(top)
        with mmfs.commands(programs, shelf):
            yield Clinic(directory, top, "gpfs", mmfs.options(programs, shelf))


@contextmanager
def exascaler(directory: Path) -> Iterator[Clinic]:
    with lustre(directory) as (clinic, _):
        yield clinic


@contextmanager
def lustre(directory: Path) -> Iterator[tuple[Clinic, lustrefs.LustreFS]]:
    """Lustre on a node without its tool."""
    home = directory / "fuse"
    home.mkdir()
    with lustrefs.mounted(home) as found:
        options = {"lfs_path": "/nonexistent/lfs"}
        yield Clinic(directory, found.path, "exascaler", options), found


@contextmanager
def hammerspace_base(directory: Path) -> Iterator[Clinic]:
    top = directory / "top"
    top.mkdir()
    yield Clinic(directory, top, "hammerspace-base")
    shutil.rmtree(top)


MAKERS: dict[str, Maker] = {
    "btrfs": btrfs,
    "cephfs": cephfs,
    "gpfs": gpfs_commands,
    "exascaler": exascaler,
    "hammerspace-base": hammerspace_base,
}
PARTS = {"btrfs": "btrfs", "gpfs": "btrfs", "cephfs": "ceph", "exascaler": "fuse"}
#: Those whose limits the service holds.
WITHOUT_QUOTA = {"hammerspace-base"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.part(PARTS.get(name, "root"))) for name in MAKERS],
)
def test_every_system_with_write(name: str, tmp_path: Path) -> None:
    with MAKERS[name](tmp_path) as clinic:
        clinic.checks()
        assert clinic.names == [], "a look changes nothing"
        found = clinic.checks("--write")
        assert not clinic.has_left
    assert found["removal"]["status"] == "ok"
    assert (found["quota"]["status"] == "ok") == (name not in WITHOUT_QUOTA)


def test_every_backend_is_examined() -> None:
    assert {*_BUILT_IN, *_BY_PATH} == {*MAKERS, *ELSEWHERE}


@pytest.mark.part("fuse")
def test_a_lustre_whose_servers_enforce_nothing(tmp_path: Path) -> None:
    with lustre(tmp_path) as (clinic, servers):
        servers.change(enforced="none")
        found = clinic.checks("--write", status=1)
        assert servers.limits == {}
    assert "Nothing stopped a writer" in found["quota"]["text"]


def test_a_lustre_by_its_tool(tmp_path: Path) -> None:
    """The stand-in of the tool keeps limits and enforces none: the doctor finds that out."""
    top = tmp_path / "top"
    top.mkdir()
    with simulated("exascaler", tmp_path, top, "2.15", Faults(1, 0.0)) as volume:
        found = Clinic(tmp_path, top, "exascaler", volume.options).checks("--write", status=1)
    assert found["capacity"]["status"] == "ok"
    assert "Nothing stopped a writer" in found["quota"]["text"]
