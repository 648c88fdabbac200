"""Real file systems that are shut down without their log: project quotas hold afterwards."""

import fcntl
import os
import struct
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import Mount
from backends.systems.xfs import Ext4Backend, XfsBackend
from backends.systems.xfs.backend import ProjectQuotaBackend
from core.names import QuotaScope, VFolderId
from tests.support.loops import run

#: XFS_IOC_GOINGDOWN, EXT4_IOC_SHUTDOWN: the file system ends; nothing more reaches the disk.
_GOING_DOWN = 0x8004587D
_NO_LOG_FLUSH = 2
SIZE_BYTES = 512 << 20
LIMIT_BYTES = 16 << 20


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (XfsBackend, ["mkfs.xfs", "-q"]),
        (Ext4Backend, ["mkfs.ext4", "-q", "-F", "-O", "quota,project", "-E", "quotatype=prjquota"]),
    ],
    ids=["xfs", "ext4"],
)
def test_a_scope_keeps_its_limit(
    tmp_path: Path, kind: type[ProjectQuotaBackend], make: list[str]
) -> None:
    image, top = tmp_path / "image", tmp_path / "top"
    top.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    run(*make, image)
    run("modprobe", "-d", "/run/root", "loop")
    mount = ["mount", "-o", "loop,prjquota", str(image), str(top)]
    run(*mount)
    try:
        backend = kind(Mount("local", top))
        scopes = [(QuotaScope.parse(f"user:{uuid4()}"), limit) for limit in (LIMIT_BYTES, None)]
        for scope, limit in scopes:
            backend.create_scope(scope, limit)
            power_fails(top)
            run(*mount)
            used = used_after(backend, scope)
            found = backend.describe_scope(scope)
            assert found.limit_bytes == limit
            assert found.used_bytes is not None
            assert found.used_bytes >= used
    finally:
        subprocess.run(["umount", "-l", top], check=False)


def power_fails(top: Path) -> None:
    fd = os.open(top, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _GOING_DOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(fd)
    run("umount", top)


def used_after(backend: ProjectQuotaBackend, scope: QuotaScope) -> int:
    """Write a file into a new vfolder of the scope, and return its bytes."""
    vfolder = VFolderId(scope, uuid4())
    backend.create_vfolder(vfolder)
    path = backend.vfolder_path(vfolder) / "file"
    path.write_bytes(b"x" * 100_000)
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    return 100_000
