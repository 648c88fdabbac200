"""A file that is replaced leaves its attributes; a new one has an owner by the settings."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.base import Mount, Owner
from backends.entries import entries
from backends.mounted import PosixBackend
from core.names import VFolderId, VFolderPath
from core.uploads import UploadStore
from tests.backends.uploads.test_inheritance import publish
from tests.support import loops

pytestmark = [pytest.mark.part("root"), pytest.mark.part("acl")]
EXT4 = ["mkfs.ext4", "-q", "-F"]
USER, GROUP, OTHER = 1500, 2000, 3000
ACL = "system.posix_acl_access"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PosixBackend]:
    directory = tmp_path_factory.mktemp("ext4")
    with loops.mounted(directory, EXT4, size_bytes=64 << 20) as top:
        made = PosixBackend(Mount("local", top))
        made.probe()
        yield made


def with_mount(backend: PosixBackend, **changes: object) -> PosixBackend:
    return PosixBackend(replace(backend.mount, **changes))  # type: ignore[arg-type] # tests name the fields


def attributes(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return status.st_mode, status.st_uid, status.st_gid, xattrs


def existing(path: Path, mode: int, acl: str = "") -> tuple[object, ...]:
    path.write_bytes(b"before")
    os.chown(path, USER, GROUP)
    path.chmod(mode)
    if acl:
        subprocess.run(["setfacl", "-m", acl, path], check=True)
    os.setxattr(path, "user.origin", b"session")
    return attributes(path)


@pytest.mark.parametrize("acl", ["", f"u:{OTHER}:rw,m::r"], ids=["mode", "acl"])
@pytest.mark.parametrize("mode", [0o600, 0o755, 0o444], ids=oct)
def test_a_replaced_file_leaves_its_attributes(
    backend: PosixBackend, store: UploadStore, folder: VFolderId, mode: int, acl: str
) -> None:
    """Also below a default ACL, which only new files get."""
    team = backend.vfolder_path(folder) / "team"
    team.mkdir()
    subprocess.run(["setfacl", "-d", "-m", f"u:{OTHER}:rwx", team], check=True)
    path = team / "file"
    path.touch()
    os.removexattr(path, ACL)
    before = existing(path, mode, acl)
    publish(backend, store, folder, "team/file", b"after")
    assert path.read_bytes() == b"after"
    assert attributes(path) == before


def test_set_id_bits_and_capabilities_go_as_by_a_write(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    path = backend.vfolder_path(folder) / "program"
    existing(path, 0o6755)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(path, "security.capability", capability)
    publish(backend, store, folder, "program", b"another")
    mode, _, _, xattrs = attributes(path)
    assert mode == 0o100755
    assert xattrs == {"user.origin": b"session"}


def test_by_the_settings_it_is_as_a_new_file(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    path = backend.vfolder_path(folder) / "file"
    existing(path, 0o600)
    publish(with_mount(backend, keeps_attributes=False), store, folder, "file", b"after")
    assert attributes(path) == (0o100644, os.geteuid(), os.getegid(), {})


def test_a_link_leaves_nothing(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    top = backend.vfolder_path(folder)
    existing(top / "other", 0o600)
    (top / "file").symlink_to("other")
    publish(backend, store, folder, "file", b"after")
    assert attributes(top / "file") == (0o100644, os.geteuid(), os.getegid(), {})
    assert (top / "other").read_bytes() == b"before"


@pytest.mark.parametrize("data", [b"data", b""], ids=["renamed", "empty"])
def test_the_owner_of_the_directory(
    backend: PosixBackend, store: UploadStore, folder: VFolderId, data: bytes
) -> None:
    theirs = with_mount(backend, owner=Owner.DIRECTORY)
    home = backend.vfolder_path(folder) / "home"
    home.mkdir()
    os.chown(home, USER, GROUP)
    made = publish(theirs, store, folder, "home/new/deep/file", data)
    for path in (made, made.parent, made.parent.parent):
        assert (path.stat().st_uid, path.stat().st_gid) == (USER, GROUP)
    top = os.open(backend.vfolder_path(folder), os.O_RDONLY)
    try:
        below = VFolderPath.parse("home/made/below")
        entries.make_directory(top, below, owned_by_directory=True)
    finally:
        os.close(top)
    for path in (home / "made", home / "made/below"):
        assert (path.stat().st_uid, path.stat().st_gid) == (USER, GROUP)
    ours = publish(backend, store, folder, "home/ours/file", data)
    for path in (ours, ours.parent):
        assert path.stat().st_uid == os.geteuid()
