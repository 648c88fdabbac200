"""A published file has the group and the ACL that its directory gives, as one written directly."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import Mount
from backends.fs import inheritance
from backends.mounted import PosixBackend
from backends.uploads import staging as uploads
from core.names import QuotaScope, VFolderId, VFolderPath
from core.uploads import Upload, UploadStore
from tests.support import loops

GROUP, USER, OTHER_GROUP = 2000, 1500, 3000
ACL_ACCESS, ACL_DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
EXT4 = ["mkfs.ext4", "-q", "-F"]
#: Default ACLs, in the words of setfacl: named entries, a narrow mask, and the three classes alone.
ACLS = {
    "named": f"u:{USER}:rwx,g:{GROUP}:rwx,o::---",
    "masked": f"u:{USER}:rwx,g:{OTHER_GROUP}:rx,m::r,o::r",
    "classes": "u::rwx,g::rwx,o::---",
}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PosixBackend]:
    directory = tmp_path_factory.mktemp("ext4")
    with loops.mounted(directory, EXT4, size_bytes=64 << 20) as top:
        made = PosixBackend(Mount("local", top))
        made.probe()
        yield made


def publish(
    backend: PosixBackend, store: UploadStore, folder: VFolderId, path: str, data: bytes
) -> Path:
    upload = Upload(
        id=uuid4().hex,
        volume="local",
        vfolder=str(folder),
        path=path,
        session=uuid4().hex,
        length=len(data),
    )
    upload = uploads.begin(backend, store, upload)
    if data:
        with uploads.opened(backend, upload) as staging:
            os.write(staging.descriptor, data)
            staging.publish(VFolderPath.parse(path))
    return backend.vfolder_path(folder) / path


def rights(path: Path) -> tuple[int, int, bytes | None]:
    status = path.stat()
    has_acl = ACL_ACCESS in os.listxattr(path)
    return (
        status.st_mode & 0o7777,
        status.st_gid,
        os.getxattr(path, ACL_ACCESS) if has_acl else None,
    )


def directly(directory: Path) -> Path:
    """A file as a session writes it; its umask is the usual one."""
    path = directory / f"direct-{uuid4().hex}"
    before = os.umask(0o022)
    try:
        path.write_bytes(b"x")
    finally:
        os.umask(before)
    return path


@pytest.mark.part("root")
@pytest.mark.part("acl")
@pytest.mark.parametrize("data", [b"data", b""], ids=["renamed", "empty"])
@pytest.mark.parametrize("acl", ACLS.values(), ids=ACLS)
def test_a_default_acl_and_a_group_are_inherited(
    backend: PosixBackend, store: UploadStore, folder: VFolderId, acl: str, data: bytes
) -> None:
    team = backend.vfolder_path(folder) / "team"
    team.mkdir()
    os.chown(team, -1, GROUP)
    team.chmod(0o2770)
    subprocess.run(["setfacl", "-d", "-m", acl, team], check=True)
    published = publish(backend, store, folder, "team/file", data)
    assert published.read_bytes() == data
    assert rights(published) == rights(directly(team))
    below = publish(backend, store, folder, "team/new/deep/file", data)
    (team / "made").mkdir()
    for directory in (below.parent, below.parent.parent):
        assert rights(directory) == rights(team / "made")
        assert os.getxattr(directory, ACL_DEFAULT) == os.getxattr(team, ACL_DEFAULT)
    assert rights(below) == rights(directly(below.parent))


@pytest.mark.part("root")
@pytest.mark.parametrize("data", [b"data", b""], ids=["renamed", "empty"])
def test_a_group_is_inherited_without_an_acl(
    backend: PosixBackend, store: UploadStore, folder: VFolderId, data: bytes
) -> None:
    team, plain = (backend.vfolder_path(folder) / name for name in ("team", "plain"))
    for directory, mode in ((team, 0o2770), (plain, 0o770)):
        directory.mkdir()
        os.chown(directory, -1, GROUP)
        directory.chmod(mode)
    assert rights(publish(backend, store, folder, "team/file", data)) == (0o644, GROUP, None)
    assert rights(publish(backend, store, folder, "plain/file", data)) == (
        0o644,
        os.getegid(),
        None,
    )


@pytest.mark.part("root")
def test_a_process_without_the_right_keeps_its_own_group(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    """The file is published all the same."""
    team = backend.vfolder_path(folder) / "team"
    team.mkdir()
    os.chown(team, USER, GROUP)
    team.chmod(0o2777)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with tempfile.TemporaryFile(dir=backend.mount.path) as file:
                os.fchown(file.fileno(), USER, OTHER_GROUP)
                parent = os.open(team, os.O_RDONLY)
                os.setgroups([])
                os.setregid(OTHER_GROUP, OTHER_GROUP)
                os.setreuid(USER, USER)
                inheritance.inherit_access(file.fileno(), parent)
                status = int(os.fstat(file.fileno()).st_gid != OTHER_GROUP)
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert publish(backend, store, folder, "team/file", b"data").exists()


@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777], ids=oct)
@pytest.mark.parametrize("data", [b"data", b""], ids=["renamed", "empty"])
def test_the_mode_is_the_same_under_any_umask(
    tmp_path: Path, store: UploadStore, umask: int, data: bytes
) -> None:
    made = PosixBackend(Mount("local", tmp_path))
    scope = QuotaScope.parse(f"user:{uuid4()}")
    made.create_scope(scope)
    vfolder = VFolderId(scope, uuid4())
    made.create_vfolder(vfolder)
    publish(made, store, vfolder, "d/first", b"x")  # the directories have the usual mode
    before = os.umask(umask)
    try:
        path = publish(made, store, vfolder, "d/file", data)
    finally:
        os.umask(before)
    assert rights(path)[0] == 0o644
