"""What an unpacked archive has of owner, group and rights: what its directory gives."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.fs import layout
from core.jobs import State
from core.names import VFolderId
from core.settings import load
from tests.support import loops
from tests.workers.ends.conftest import Bench, tar_of

pytestmark = [pytest.mark.part("root"), pytest.mark.part("acl")]
USER, GROUP, OTHER = 1500, 2000, 3000
FILES = {"file": b"1", "sub/file": b"2"}


@pytest.fixture(autouse=True)
def _on_ext4(bench: Bench, tmp_path: Path) -> Iterator[None]:
    with loops.mounted(tmp_path / "disk", ["mkfs.ext4", "-q", "-F"], size_bytes=64 << 20) as top:
        for path in bench.top.iterdir():
            subprocess.run(["cp", "-a", path, top], check=True)
        subprocess.run(["mount", "--bind", top, bench.top], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", bench.top], check=True)


def unpacked(bench: Bench, vfolder: VFolderId, target: str) -> Path:
    (bench.path(vfolder) / "archive").write_bytes(tar_of(FILES))
    job = bench.done(
        "extract", vfolder=str(vfolder), source="archive", target=target, archive="tar"
    )
    assert job.state is State.SUCCEEDED, job.document()
    return bench.path(vfolder) / target


def rights(path: Path) -> tuple[int, int, dict[str, bytes]]:
    status = path.stat()
    acls = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return status.st_mode, status.st_gid, acls


@pytest.mark.parametrize("acl", ["", f"u:{USER}:rwx,g:{GROUP}:rwx,o::---"], ids=["group", "acl"])
def test_as_tar_unpacks_it_there(bench: Bench, acl: str) -> None:
    vfolder = bench.folder()
    team = bench.path(vfolder) / "team"
    team.mkdir()
    os.chown(team, -1, GROUP)
    team.chmod(0o2770)
    if acl:
        subprocess.run(["setfacl", "-d", "-m", acl, team], check=True)
    top = unpacked(bench, vfolder, "team/new/data")
    direct = team / "direct"
    (direct / "sub").mkdir(parents=True)
    archive = bench.path(vfolder) / "archive"
    tar = ["tar", "-x", "--no-same-owner", "--no-same-permissions", "-f", archive, "-C", direct]
    subprocess.run(tar, check=True)
    for name in (".", "sub", "file", "sub/file"):
        assert rights(top / name) == rights(direct / name), name
    assert rights(top.parent) == rights(direct)


def test_the_owner_of_the_directory(bench: Bench) -> None:
    path = bench.settings.directory / "storage-proxy.toml"
    path.write_text(path.read_text() + '\n[vfolder.entries]\nowner = "directory"\n')
    bench.settings = load(path, {})
    vfolder = bench.folder()
    home = bench.path(vfolder) / "home"
    home.mkdir()
    os.chown(home, USER, OTHER)
    top = unpacked(bench, vfolder, "home/new/data")
    for one in (top.parent, top, *top.rglob("*")):
        assert (one.lstat().st_uid, one.lstat().st_gid) == (USER, OTHER), one
    assert bench.hidden(layout.STAGING) == []
