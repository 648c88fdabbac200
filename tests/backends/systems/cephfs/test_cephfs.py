"""A client of a real CephFS with fewer rights: clear errors, and no capability that it lacks."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import HardwareStatus, Mount, capabilities
from backends.systems.cephfs.backend import CephFsBackend
from contract.waiting import eventually
from core import errors
from core.names import QuotaScope, ScopeKind, VFolderId
from tests.support.ceph import running_ceph

pytestmark = pytest.mark.part("ceph")
MIB = 1 << 20
#: Reads and writes, but neither limits (`p`) nor snapshots (`s`).
CAPS = ("mon", "allow r", "osd", "allow rw tag cephfs *=*", "mds", "allow rw")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    with running_ceph() as directory:
        yield directory


@pytest.fixture(scope="module")
def limited(cluster: Path) -> Iterator[CephFsBackend]:
    """The same file system, mounted by a client with fewer rights."""
    conf, key, top = cluster / "ceph.conf", cluster / "limited.keyring", cluster / "limited"
    admin = ["ceph", "-c", conf, "--connect-timeout", "120"]
    make = [*admin, "auth", "get-or-create", "client.limited", *CAPS]
    key.write_bytes(subprocess.run(make, check=True, capture_output=True).stdout)
    top.mkdir()
    mount = ["ceph-fuse", "-c", conf, "-n", "client.limited", "-k", key, top]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        options = {"ceph_conf": conf, "ceph_user": "client.limited", "ceph_keyring": key}
        yield CephFsBackend(Mount("limited", top, options))
    finally:
        subprocess.run(["fusermount3", "-u", "-z", top], check=True)


def complete(cluster: Path) -> CephFsBackend:
    options = {"ceph_conf": cluster / "ceph.conf", "ceph_keyring": cluster / "keyring"}
    return CephFsBackend(Mount("complete", cluster / "mnt", options))


def test_capabilities_are_those_of_the_client(cluster: Path, limited: CephFsBackend) -> None:
    expected = {"quota", "snapshot", "metric", "fast-size"}
    eventually(lambda: set(capabilities(complete(cluster))) >= expected)
    named = set(capabilities(limited))
    assert not named & {"quota", "snapshot"}
    assert "fast-size" in named


def test_errors_name_the_missing_right(cluster: Path, limited: CephFsBackend) -> None:
    scope = QuotaScope(ScopeKind.USER, uuid4())
    with pytest.raises(errors.AccessRefused, match="allow rwp"):
        limited.create_scope(scope, MIB)
    admin = complete(cluster)
    admin.create_scope(scope, 4 * MIB)
    vfolder = VFolderId(scope, uuid4())
    limited.create_vfolder(vfolder)
    assert limited.describe_scope(scope).limit_bytes == 4 * MIB
    with pytest.raises(errors.AccessRefused, match="needs `s`"):
        limited.create_snapshot(vfolder, "one")
    admin.create_snapshot(vfolder, "one")
    with pytest.raises(errors.AccessRefused, match="needs `s`"):
        limited.delete_snapshot(vfolder, "one")
    assert [kept.name for kept in limited.list_snapshots(vfolder)] == ["one"]
    admin.delete_snapshot(vfolder, "one")


def test_a_cluster_that_cannot_be_asked(cluster: Path, tmp_path: Path) -> None:
    """Its mount keeps working."""
    unasked = CephFsBackend(
        Mount("unasked", cluster / "mnt", {"ceph_conf": tmp_path / "absent.conf"})
    )
    assert "metric" not in capabilities(unasked)
    with pytest.raises(errors.StorageError):
        unasked.performance()


def test_a_client_that_the_cluster_does_not_know(cluster: Path, tmp_path: Path) -> None:
    key = tmp_path / "keyring"
    key.write_text((cluster / "keyring").read_text().replace("[client.admin]", "[client.none]"))
    options = {"ceph_conf": cluster / "ceph.conf", "ceph_user": "client.none", "ceph_keyring": key}
    unknown = CephFsBackend(Mount("unknown", cluster / "mnt", options))
    with pytest.raises(errors.AccessRefused, match="ceph_keyring"):
        unknown.performance()


def test_a_cluster_has_no_number_of_inodes(cluster: Path) -> None:
    backend = complete(cluster)
    eventually(lambda: backend.capacity().capacity_bytes is not None)
    found = backend.capacity()
    assert (found.inodes, found.used_inodes) == (None, None)


def test_health_is_the_clusters_own(cluster: Path) -> None:
    backend = complete(cluster)
    # A new or a busy cluster reports other warnings first.
    eventually(lambda: backend.hardware().status == HardwareStatus.HEALTHY)
    flag = ["ceph", "-c", f"{cluster / 'ceph.conf'}", "osd"]
    subprocess.run([*flag, "set", "noout"], check=True, capture_output=True)
    try:
        eventually(lambda: backend.hardware().status_info == "OSDMAP_FLAGS")
        found = backend.hardware()
        assert found.status == HardwareStatus.DEGRADED
        assert found.metadata["health"] == "HEALTH_WARN"
    finally:
        subprocess.run([*flag, "unset", "noout"], check=True, capture_output=True)
