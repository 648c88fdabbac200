"""The volumes under test: one of each backend on its real file system, or a site's own."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from backends.base import Backend, HasQuota, HasSnapshots, Mount
from backends.mounted import PosixBackend
from backends.systems.btrfs.backend import BtrfsBackend
from backends.systems.cephfs.backend import CephFsBackend
from backends.systems.s3 import Bucket, S3Endpoint
from backends.volumes import backend_factory
from contract.deaths import ALL, Part
from contract.site import Kind, Site, kind_of, mounted_backend
from core.process import privileges
from simulators.arrays import onefs, vast
from simulators.arrays.scale_cluster import SNAPSHOTS as SCALE_SNAPSHOTS
from simulators.programs.mmfs import standin as mmfs
from simulators.serving import Faults, serving
from simulators.shelf import BtrfsShelf
from simulators.systems import SYSTEMS
from tests.backends.systems.arrays.simulated import trusting
from tests.support import nfs as nfs_server
from tests.support.loops import mounted
from tests.support.object_storage import ACCESS_KEY, SECRET_KEY, ObjectStorage
from tests.support.thoroughness import THOROUGH, times

#: The mount of these simulators lists the directory of snapshots; a real one does not.
LISTED_SNAPSHOTS = {
    "dellemc-onefs": onefs.SNAPSHOTS,
    "gpfs": SCALE_SNAPSHOTS,
    "vast": vast.SNAPSHOTS,
}
#: The share of requests to a simulated array that fail, chosen by this seed.
SEED = int(os.environ.get("ARRAY_SEED", "1"))
FAULT_RATE = 0.1

STAND_INS = Path(__file__).resolve().parents[2] / "simulators/programs"

Maker = Callable[[Path], AbstractContextManager[Site]]


@contextmanager
def vfs(directory: Path) -> Iterator[Site]:
    top = directory / "vfs"
    top.mkdir()
    yield _site(PosixBackend(Mount("local", top)), "vfs")
    shutil.rmtree(top)


@contextmanager
def _btrfs(directory: Path, options: dict[str, str]) -> Iterator[Site]:
    make = ["mkfs.btrfs", "-q", "-m", "single", "-d", "single"]
    with mounted(directory / "btrfs", make, size_bytes=512 << 20) as top:
        yield _site(BtrfsBackend(Mount("btrfs", top, options)), "btrfs")


def btrfs(directory: Path) -> AbstractContextManager[Site]:
    return _btrfs(directory, {})


def btrfs_simple(directory: Path) -> AbstractContextManager[Site]:
    return _btrfs(directory, {"quota": "simple"})


def cephfs(cluster: Path) -> Site:
    """CephFS of a cluster that other modules use, too."""
    options = {"ceph_conf": cluster / "ceph.conf", "ceph_keyring": cluster / "keyring"}
    return _site(CephFsBackend(Mount("cephfs", cluster / "mnt", options)), "cephfs")


def _array(name: str, **settings: Any) -> Maker:
    """Return the maker of a volume on a simulated array, which suffers by chance."""

    @contextmanager
    def made(directory: Path) -> Iterator[Site]:
        with _on_btrfs(directory) as shelf:
            simulator = SYSTEMS[name].simulate(shelf, SEED, **settings)
            simulator.chance_of_task_fault = FAULT_RATE
            with serving(simulator, Faults(SEED, FAULT_RATE)) as server:
                yield _on_array(name, shelf.top, SYSTEMS[name].options(server.url))

    return made


@contextmanager
def scale_native(directory: Path) -> Iterator[Site]:
    """Storage Scale by its native REST API, which tells neither snapshots nor who is held."""
    with _on_btrfs(directory) as shelf:
        simulator = SYSTEMS["gpfs"].simulate(shelf, SEED, native=True)
        simulator.chance_of_task_fault = FAULT_RATE
        with serving(simulator, Faults(SEED, FAULT_RATE)) as server:
            options = {**SYSTEMS["gpfs"].options(server.url), **simulator.further_options}
            site = _on_array("gpfs", shelf.top, options)
            kind = replace(site.kind, skills=(HasQuota,), enforced="unknown")
            yield replace(site, kind=replace(kind, enforced_without_rights="unknown"))


@contextmanager
def scale_commands(directory: Path) -> Iterator[Site]:
    """Storage Scale by its commands, each a process."""
    programs = directory / "mmfs"
    programs.mkdir()
    with _on_btrfs(directory) as shelf, mmfs.commands(programs, shelf):
        site = _on_array("gpfs", shelf.top, mmfs.options(programs, shelf))
        kind = replace(
            site.kind,
            skills=(HasQuota, HasSnapshots),
            deadly_calls=("wait4",),  # a process that runs a command dies while it waits for it
            many_scopes=4,
            reads_need_rights=True,
        )
        yield replace(site, kind=kind)


@contextmanager
def flashblade(directory: Path) -> Iterator[Site]:
    programs = directory / "programs"
    programs.mkdir()
    (programs / "pdu").symlink_to(
        Path(__file__).resolve().parents[2] / "simulators/programs/rapidfile.py"
    )
    system = SYSTEMS["purestorage"]
    with (
        _on_btrfs(directory) as shelf,
        serving(system.simulate(shelf), Faults(SEED, FAULT_RATE)) as server,
    ):
        options = {**system.options(server.url), "rapidfile_dir": str(programs)}
        yield _on_array("purestorage", shelf.top, options)


@contextmanager
def _on_btrfs(directory: Path) -> Iterator[BtrfsShelf]:
    """Mount a btrfs that holds the directories of a simulated array, and their limits."""
    make = ["mkfs.btrfs", "-q", "-m", "single", "-d", "single"]
    with mounted(directory / "array", make, size_bytes=512 << 20) as top:
        yield BtrfsShelf(top)


def _on_array(name: str, top: Path, options: dict[str, Any]) -> Site:
    backend = backend_factory(name)(Mount(name, top, trusting(options)))
    listed = LISTED_SNAPSHOTS.get(name, "")
    kind = kind_of(name)
    many = times(4, kind.many_scopes)
    return _site(backend, replace(kind, listed_snapshots=listed, many_scopes=many))


def _site(
    backend: Backend, kind: str | Kind, make: Callable[[Mount], Backend] | None = None
) -> Site:
    found = kind_of(kind) if isinstance(kind, str) else kind
    return Site(mounted_backend(backend), found, make)


def _in_kernel(name: str, variable: str) -> Maker:
    """Return the maker of a volume on a file system of the user-mode kernel."""

    @contextmanager
    def made(_: Path) -> Iterator[Site]:
        privileges.drop(privileges.CAP_SYS_RESOURCE)  # as the service does (`registry.Volumes`)
        top = Path(os.environ[variable]) / "volume"
        top.mkdir(exist_ok=True)
        yield _site(backend_factory(name)(Mount(name, top)), name)

    return made


@contextmanager
def exascaler(directory: Path) -> Iterator[Site]:
    """Lustre by its stand-in: the ids, the counts and the limits are those of an ext4 below."""
    privileges.drop(privileges.CAP_SYS_RESOURCE)  # as the service does (`registry.Volumes`)
    mount = Path(os.environ["UML_EXT4"])
    tool, top = directory / "lustre", mount / "lustre"
    tool.mkdir()
    top.mkdir()
    (tool / "lfs").symlink_to(STAND_INS / "lfs.py")
    (tool / "state.json").write_text(json.dumps({"mount": str(mount), "real": True}))

    def make(given: Mount) -> Backend:
        options = {"lfs_path": str(tool / "lfs")}
        return backend_factory("exascaler")(replace(given, options=options))

    kind = replace(kind_of("exascaler"), lateness_bytes=0)  # that of the ext4
    yield _site(make(Mount("exascaler", top)), kind, make)


@contextmanager
def nfs(_: Path) -> Iterator[Site]:
    """`vfs` on an NFS client of the user-mode kernel."""
    top, _export = nfs_server.volume(Path(os.environ["UML_XFS"]) / "export")
    yield _site(PosixBackend(Mount("nfs", top)), "nfs")


@contextmanager
def faulty(directory: Path) -> Iterator[Site]:
    """`vfs` inside a wrapper, without a fault: the contract binds wrappers too."""
    top = directory / "faulty"
    top.mkdir()
    options = {"faults": str(directory / "no-faults.toml")}

    def make(mount: Mount) -> Backend:
        return backend_factory("faulty")(Mount(mount.volume, mount.path, options))

    yield _site(make(Mount("faulty", top)), "vfs", make)
    shutil.rmtree(top)


def s3(directory: Path, storage: ObjectStorage) -> Site:
    """A bucket of a real server that other tests use too."""
    return _objects(directory, storage.url, storage.new_bucket())


def radosgw(directory: Path, url: str) -> Site:
    """A new bucket of a real Ceph RGW."""
    endpoint = S3Endpoint(url, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    bucket = Bucket(endpoint, f"contract-{uuid4().hex}")
    bucket._calls("create_bucket", Bucket=bucket.name)
    return _objects(directory, url, bucket)


def _objects(directory: Path, url: str, bucket: Bucket) -> Site:
    """A volume that keeps its files in a bucket."""
    top = directory / "records"
    top.mkdir()
    options = {
        "endpoint": url,
        "bucket": bucket.name,
        "prefix": "contract",
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
    }
    return _site(backend_factory("s3")(Mount("objects", top, options)), "s3")


MAKERS: dict[str, Maker] = {
    "vfs": vfs,
    "faulty": faulty,
    "btrfs": btrfs,
    "btrfs-simple": btrfs_simple,
    "ontap": _array("netapp", quota="off"),
    "hammerspace": _array("hammerspace"),
    "weka": _array("weka"),
    "vast": _array("vast"),
    "onefs": _array("dellemc-onefs"),
    "scale": _array("gpfs"),
    "scale-commands": scale_commands,
    "flashblade": flashblade,
    "xfs": _in_kernel("xfs", "UML_XFS"),
    "ext4": _in_kernel("ext4", "UML_EXT4"),
    "nfs": nfs,
    "exascaler": exascaler,
}
if THOROUGH:  # the same backend as `scale`, asked in another way
    MAKERS["scale-native"] = scale_native
#: The points of death that a site has; sites of the same code share them (all: `make thorough`).
DEATHS = {
    "vfs": Part(2, 1),
    "faulty": Part(2, 2),
    "btrfs": Part(2, 1),
    "btrfs-simple": Part(2, 2),
    "cephfs": Part(3, 1),
    "ontap": Part(3, 1),
}
#: Volumes that need a kernel with project quota, or with NFS.
IN_KERNEL = ("xfs", "ext4", "nfs", "exascaler")


#: Sites whose scopes, vfolders and deaths are those of code that another site always runs. Their
#: own commands and faults have tests beside the backend. `make thorough` runs them too.
_COMMANDS = ("scale-commands", "exascaler")
_ARRAYS = ("scale", "onefs", "hammerspace", "weka", "vast", "flashblade")
LONG = {
    "test_deaths": (*_COMMANDS, *_ARRAYS, "ext4", "nfs"),
    "test_vfolders": (*_COMMANDS, *_ARRAYS, "ext4"),
    "": _COMMANDS,
}
#: The modules of the suite that are about a volume of objects, too. Only the first one has much to
#: do with the bucket: the other two are about the records, which are the same on every server.
OF_OBJECTS = ("test_objects", "test_scopes", "test_faults")


def with_part(name: str, made: Site) -> Site:
    """Return the site with its part of the points of death."""
    return made if THOROUGH else replace(made, deaths=DEATHS.get(name, ALL))


def here(module: str) -> list[str]:
    """Return the backends whose file system is available where a module of tests runs."""
    long = () if THOROUGH else LONG.get(module, LONG[""])
    inside = "UML_XFS" in os.environ
    of_objects = ["s3"] if module in OF_OBJECTS and not inside else []
    if of_objects and (THOROUGH or module == "test_objects"):
        of_objects.append("radosgw")
    if module == "test_objects":
        return of_objects
    return of_objects + [
        name for name in (*MAKERS, "cephfs") if (name in IN_KERNEL) == inside and name not in long
    ]
