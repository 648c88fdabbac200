"""The volumes the contract is held on: one of each backend on its real file system, or a site's."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.base import Mount
from backends.btrfs import BtrfsBackend
from backends.cephfs import CephFsBackend
from backends.posix import PosixBackend
from backends.registry import Volumes, backend_class
from backends.tree import Aspect
from core import privileges
from core import settings as configuration
from tests.support.ceph import running_ceph
from tests.support.loops import mounted


@dataclass(frozen=True)
class Kind:
    """What is known of a kind of storage system."""

    #: What its file system cannot keep; a copy is not blamed for it.
    cannot_keep: frozenset[Aspect] = frozenset()
    #: How far usage may pass a limit before writers are stopped (bytes); None: not stopped.
    lateness_bytes: int | None = None
    #: How long writers rest between two MiB: what notices late is not asked to notice at once.
    rest_seconds: float = 0.0
    #: Whether a scope that somebody else made as a plain directory can get a limit.
    takes_over: bool = True


KINDS = {
    "xfs": Kind(lateness_bytes=0),
    "ext4": Kind(lateness_bytes=0),
    # what is written is counted when it is committed; metadata in blocks of 16 KiB
    "btrfs": Kind(lateness_bytes=1 << 20, takes_over=False),
    # a client notices a full scope a second late; flags of inodes and holes it does not know
    "cephfs": Kind(
        cannot_keep=frozenset({Aspect.FLAGS, Aspect.HOLES}),
        lateness_bytes=24 << 20,
        rest_seconds=0.1,
    ),
}


@dataclass(frozen=True)
class Site:
    """A volume under test, and what is known of its kind."""

    backend: PosixBackend

    @property
    def kind(self) -> Kind:
        """Of its backend's name; a backend unknown here keeps all and notices at once."""
        return KINDS.get(self.backend.name, Kind(lateness_bytes=0))


Maker = Callable[[Path], Iterator[Site]]


@contextmanager
def vfs(directory: Path) -> Iterator[Site]:
    top = directory / "vfs"
    top.mkdir()
    yield Site(PosixBackend(Mount("local", top)))
    shutil.rmtree(top)


@contextmanager
def _btrfs(directory: Path, options: dict[str, str]) -> Iterator[Site]:
    make = ["mkfs.btrfs", "-q", "-m", "single", "-d", "single"]
    with mounted(directory / "btrfs", make, size_bytes=512 << 20) as top:
        yield Site(BtrfsBackend(Mount("btrfs", top, options)))


def btrfs(directory: Path) -> Iterator[Site]:
    return _btrfs(directory, {})


def btrfs_simple(directory: Path) -> Iterator[Site]:
    return _btrfs(directory, {"quota": "simple"})


@contextmanager
def cephfs(_: Path) -> Iterator[Site]:
    with running_ceph() as directory:
        options = {"ceph_conf": directory / "ceph.conf", "ceph_keyring": directory / "keyring"}
        yield Site(CephFsBackend(Mount("cephfs", directory / "mnt", options)))


def _in_kernel(name: str, variable: str) -> Callable[[Path], Iterator[Site]]:
    """A volume on a file system that the user-mode kernel has mounted."""

    @contextmanager
    def made(_: Path) -> Iterator[Site]:
        privileges.renounce(privileges.CAP_SYS_RESOURCE)  # as the service does (`registry.Volumes`)
        top = Path(os.environ[variable]) / "volume"
        top.mkdir(exist_ok=True)
        backend = backend_class(name)(Mount(name, top))
        assert isinstance(backend, PosixBackend)
        yield Site(backend)

    return made


MAKERS = {
    "vfs": vfs,
    "btrfs": btrfs,
    "btrfs-simple": btrfs_simple,
    "cephfs": cephfs,
    "xfs": _in_kernel("xfs", "UML_XFS"),
    "ext4": _in_kernel("ext4", "UML_EXT4"),
}
#: Those that need a kernel with project quota.
IN_KERNEL = ("xfs", "ext4")


def here() -> list[str]:
    """The backends whose file system can be had where the tests run."""
    if "UML_XFS" in os.environ:
        return list(IN_KERNEL)
    return [name for name in MAKERS if name not in IN_KERNEL]


def configured(name: str, file: str) -> Site:
    """A site's own volume, from its own configuration."""
    backend = Volumes(configuration.load(Path(file))).get(name)
    assert isinstance(backend, PosixBackend)
    return Site(backend)
