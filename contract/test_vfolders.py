"""Vfolders: created, copied with every attribute that can be kept, deleted; and the volume."""

import os
import subprocess
from uuid import uuid4

import pytest

from backends.base import (
    HardwareStatus,
    HasFastUsage,
    HasMetric,
    HasQuota,
    MountedBackend,
    TreeUsage,
    capabilities,
)
from backends.mounted import counters
from backends.tree import CompareOptions, compare_trees, copy_tree, measure_tree, remove_tree
from contract.site import Site
from contract.trees import hostile, plain
from contract.waiting import eventually
from core import errors
from core.jobs import Unattended
from core.names import QuotaScope, VFolderId


def test_a_vfolder_needs_its_scope_and_is_made_once(
    backend: MountedBackend, scope: QuotaScope
) -> None:
    vfolder = VFolderId(scope, uuid4())
    with pytest.raises(errors.QuotaScopeNotFound):
        backend.create_vfolder(vfolder)
    backend.create_scope(scope)
    backend.create_vfolder(vfolder, 0o750)
    with pytest.raises(errors.VFolderExists):
        backend.create_vfolder(vfolder)
    with backend.open_vfolder(vfolder) as top:
        assert os.fstat(top).st_mode & 0o7777 == 0o750
    with pytest.raises(errors.VFolderNotFound), backend.open_vfolder(VFolderId(scope, uuid4())):
        pass


def test_a_copy_equals_its_source_and_a_delete_leaves_nothing(
    site: Site, vfolder: VFolderId
) -> None:
    backend = site.backend
    hostile(backend.vfolder_path(vfolder), acls=site.kind.has_acls)
    copy = VFolderId(vfolder.scope, uuid4())
    backend.create_vfolder(copy)
    options = CompareOptions(skip=site.kind.cannot_keep)
    with backend.open_vfolder(vfolder) as source, backend.open_vfolder(copy) as target:
        copy_tree(source, target, control=Unattended())
        assert list(compare_trees(source, target, control=Unattended(), options=options)) == []
    path = backend.vfolder_path(copy)
    parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        assert remove_tree(parent, path.name, control=Unattended()).complete
    finally:
        os.close(parent)
    assert not path.exists()


def test_fast_usage_agrees_with_a_walk(
    site: Site, backend: MountedBackend, vfolder: VFolderId
) -> None:
    counter = site.skilled(HasFastUsage)
    plain(backend.vfolder_path(vfolder))
    os.sync()
    with backend.open_vfolder(vfolder) as root:
        walked = measure_tree(root, control=Unattended())
    expected = TreeUsage(walked.entries, walked.size_bytes)
    eventually(lambda: counter.fast_usage(vfolder) == expected)


def test_the_volume_reports_its_state(backend: MountedBackend) -> None:
    assert backend.probe() == backend.probe()
    # A new Ceph under load does not know its size yet, and reports 0.
    eventually(lambda: backend.capacity().capacity_bytes is not None)
    found = backend.capacity()
    assert found.capacity_bytes is not None
    assert found.used_bytes is not None
    assert 0 <= found.used_bytes <= found.capacity_bytes
    assert backend.hardware().status in (HardwareStatus.HEALTHY, HardwareStatus.DEGRADED)


def test_capabilities_are_listed_when_they_are_proved(backend: MountedBackend) -> None:
    assert capabilities(backend)[0] == "vfolder"
    # The storage system may answer later than `lacking` waits for it.
    backend.probe()
    counted = counters(backend.mount.path) is not None
    has_metric = counted or backend.skill(HasMetric) is not None
    eventually(lambda: ("metric" in capabilities(backend)) == has_metric)

    def enforced() -> bool:
        quota = backend.skill(HasQuota)
        return quota is not None and quota.enforces_quota()

    eventually(lambda: ("quota" in capabilities(backend)) == enforced())


def test_sharing_of_blocks_is_listed_when_a_probe_found_it(site: Site) -> None:
    """The result of `cp --reflink` is the truth to compare with."""
    backend, fresh = site.backend, site.another(site.backend.mount)
    assert "reflink" not in fresh.proved(), "no probe has tested it yet"
    names = [backend.mount.path / f"shared-{uuid4()}" for _ in range(2)]
    names[0].write_bytes(b"x" * 100_000)
    try:
        copied = subprocess.run(
            ["cp", "--reflink=always", *names], capture_output=True, check=False
        )
        fresh.probe()
        assert ("reflink" in fresh.proved()) == (copied.returncode == 0)
        assert ("reflink" in capabilities(fresh)) == fresh.reflinks()
    finally:
        for name in names:
            name.unlink(missing_ok=True)


def test_rates_are_reported(site: Site) -> None:
    found = site.skilled(HasMetric).performance()
    assert min(found.iops_read, found.iops_write, found.io_bytes_read, found.io_bytes_write) >= 0
