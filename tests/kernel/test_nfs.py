"""`vfs` on a real NFS 4.2 mount: silly renames, stale handles, old attributes, our own limits."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis

from backends.base import Mount, MountedBackend
from backends.entries import take_inventory
from backends.fs import descriptors, layout
from backends.mounted import PosixBackend
from backends.quota import requested_limits, soft, soft_of
from backends.retention import TrashRecord, trash
from backends.tree import measure_tree, remove_tree
from backends.volumes import Volumes
from contract.waiting import eventually
from core.errors import PermissionDenied, QuotaExceeded, VolumeUnavailable
from core.jobs import Unattended
from core.names import QuotaScope, ScopeKind, VFolderId
from tests.support import nfs
from tests.support.doors import settings_in

MIB = 1 << 20


@pytest.fixture(scope="module")
def sides() -> tuple[PosixBackend, Path]:
    """The volume as a client has it, and its directory on the server."""
    top, export = nfs.volume(Path(os.environ["UML_XFS"]) / "export")
    return PosixBackend(Mount("nfs", top)), export


@pytest.fixture
def vfolder(sides: tuple[PosixBackend, Path]) -> VFolderId:
    backend, _ = sides
    scope = QuotaScope(ScopeKind.USER, uuid4())
    backend.create_scope(scope)
    made = VFolderId(scope, uuid4())
    backend.create_vfolder(made)
    return made


def in_trash(backend: PosixBackend, vfolder: VFolderId) -> tuple[int, str]:
    """The vfolder renamed away with its note: the room, and its name there."""
    name = str(uuid4())
    with backend.root() as root:
        path = layout.trash(vfolder.scope, name)
        with (
            descriptors.made(path.parent, root, descriptors.HIDDEN_MODE) as made,
            descriptors.opened(vfolder.directory.parent, root) as parent,
        ):
            at = trash.clock(made)
            trash.keep(
                made, TrashRecord(id=name, vfolder=str(vfolder), deleted_at=at, expires_at=at + 60)
            )
            descriptors.rename_new(vfolder.directory.name, parent, name, made)
            return os.dup(made), name


def test_what_is_open_goes_with_the_next_purge(
    sides: tuple[PosixBackend, Path], vfolder: VFolderId
) -> None:
    backend, _ = sides
    top = backend.vfolder_path(vfolder)
    (top / "sub").mkdir()
    for number in range(5):
        (top / "sub" / f"{number}").write_bytes(b"x" * 1000)
    with (top / "sub/3").open("rb") as held:
        room, name = in_trash(backend, vfolder)
        first = remove_tree(room, name, control=Unattended())
        assert first.remaining >= 1
        sub = os.open(f"{name}/sub", os.O_RDONLY, dir_fd=room)
        assert [entry[:4] for entry in os.listdir(sub)] == [".nfs"]
        os.close(sub)
        assert held.read(4) == b"xxxx"
    assert remove_tree(room, name, control=Unattended()).complete
    assert name not in os.listdir(room)
    os.close(room)


def test_what_the_server_removed_is_no_failure(
    sides: tuple[PosixBackend, Path], vfolder: VFolderId
) -> None:
    backend, export = sides
    top = backend.vfolder_path(vfolder)
    for number in range(3):
        (top / f"d{number}").mkdir()
        (top / f"d{number}" / "f").write_bytes(b"x" * 100)
    with backend.open_vfolder(vfolder) as root:
        shutil.rmtree(export / vfolder.directory / "d1")
        found = measure_tree(root, control=Unattended())
        assert found.size_bytes in (200, 300)
        shutil.rmtree(export / vfolder.directory)
        gone = measure_tree(root, control=Unattended())
        assert gone.size_bytes <= 300
        assert gone.entries <= found.entries
    eventually(lambda: not top.exists())


def test_what_another_client_makes_is_seen_after_the_cache(
    sides: tuple[PosixBackend, Path], vfolder: VFolderId
) -> None:
    backend, export = sides
    other = VFolderId(vfolder.scope, uuid4())
    assert not backend.vfolder_path(other).exists()
    (export / other.directory).mkdir(parents=True)
    eventually(backend.vfolder_path(other).exists)
    with backend.open_vfolder(other) as root:
        assert os.listdir(root) == []


def test_deleted_and_brought_back(sides: tuple[PosixBackend, Path], vfolder: VFolderId) -> None:
    backend, _ = sides
    (backend.vfolder_path(vfolder) / "a").write_text("alpha")
    room, name = in_trash(backend, vfolder)
    with backend.root() as root:
        note = trash.newest(root, vfolder)
        assert note is not None
        assert note.id == name
        with descriptors.opened(vfolder.directory.parent, root) as parent:
            descriptors.rename_new(name, room, vfolder.directory.name, parent)
        trash.forget(room, name)
        assert trash.in_scope(root, vfolder.scope) == []
    os.close(room)
    assert (backend.vfolder_path(vfolder) / "a").read_text() == "alpha"


def test_silly_names_are_no_strangers(sides: tuple[PosixBackend, Path], vfolder: VFolderId) -> None:
    backend, _ = sides
    with backend.open_scope(vfolder.scope) as directory:
        path = backend.mount.path / str(vfolder.directory.parts[0])
        with (path / "open").open("w") as held:
            (path / "open").unlink()
            assert any(name.startswith(".nfs") for name in os.listdir(directory))
            found = take_inventory(directory)
            assert (found.unknown, len(found.vfolders)) == ([], 1)
            held.write("1")


@pytest.fixture
def limited(
    sides: tuple[PosixBackend, Path], tmp_path: Path, redis_client: Redis
) -> Iterator[MountedBackend]:
    """The volume as the service has it: with its ledger in a real store."""
    backend, _ = sides
    options = redis_client.connection_pool.connection_kwargs
    url = f"redis://:{options['password']}@127.0.0.1:{options['port']}"
    table = f'[volume.nfs]\nbackend = "vfs"\npath = "{backend.mount.path}"\n'
    found = Volumes(settings_in(tmp_path, url, table)).get("nfs")
    mounted, own = found.skill(MountedBackend), soft_of(found)
    assert mounted is not None
    assert own is not None
    yield mounted
    own.ledger.close()
    own.thresholds.close()


def test_our_own_limit_holds_here_too(limited: MountedBackend, vfolder: VFolderId) -> None:
    assert vfolder.scope is not None
    limited.set_limit(vfolder.scope, 5 * MIB)
    with limited.root() as root:
        assert requested_limits.find(root, vfolder.scope) == requested_limits.RequestedLimit(
            5 * MIB
        )
    top = limited.vfolder_path(vfolder)

    def write(number: int) -> bool:
        holder = f"upload {number}"
        try:
            soft.reserve(limited, vfolder.scope, holder, MIB)
        except QuotaExceeded:
            return False
        (top / f"{number}").write_bytes(b"x" * MIB)
        soft.settle(limited, vfolder.scope, holder, MIB)
        return True

    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(write, range(12)))
    assert sum(kept) == 5
    found = limited.describe_scope(vfolder.scope)
    assert (found.used_bytes, found.limit_bytes, found.enforced) == (5 * MIB, 5 * MIB, "soft")
    assert sum(path.stat().st_size for path in top.iterdir()) == 5 * MIB


def test_a_top_that_is_stale_is_an_absent_volume(
    sides: tuple[PosixBackend, Path], vfolder: VFolderId
) -> None:
    backend, export = sides
    (backend.vfolder_path(vfolder) / "kept").write_text("data")

    def is_away() -> bool:
        with suppress(OSError):
            backend.vfolder_path(vfolder).stat()  # the client asks once what it knows is old
        try:
            with backend.root() as root:
                os.listdir(root)
        except VolumeUnavailable as error:
            return error.facts["volume"] == "nfs"
        except (OSError, PermissionDenied):  # it is refused first, and stale a moment later
            return False
        return False

    with backend.held():
        nfs.unshare()
        try:
            eventually(is_away)
            with pytest.raises(VolumeUnavailable):
                backend.probe()
        finally:
            nfs.share(export)
    eventually((backend.vfolder_path(vfolder) / "kept").exists)
    assert backend.probe()
