"""The hidden directories are ours: where a link has the name of one, no call follows it.

A user who can write at the top of a scope, or another tool, may put a link there. It may lead out
of the volume, or to the hidden directory of another scope.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from uuid import uuid4

import pytest

from backends.base import Mount
from backends.entries import entries, metadata
from backends.fs import descriptors, layout, linux
from backends.mounted import PosixBackend
from backends.quota import requested_limits
from backends.retention import snapshots, trash
from backends.uploads import directories, staging, sweep_uploads
from backends.volumes import operations
from core.errors import StorageError
from core.names import QuotaScope, VFolderId, VFolderPath
from core.uploads import Upload, UploadStore
from tests.support.valkey import Valkey

AREAS = (
    layout.STAGING,
    layout.UPLOADS,
    layout.TRASH,
    layout.JOBS,
    layout.META,
    layout.RETENTION,
    layout.LIMITS,
    layout.MAKING,
)
OLD = 10 * 86_400.0


class Trap:
    """A volume with a vfolder, and a directory full of names that our calls look for."""

    def __init__(self, directory: Path) -> None:
        (directory / "volume").mkdir()
        self.backend = PosixBackend(Mount("local", directory / "volume"))
        self.scope = QuotaScope.parse(f"user:{uuid4()}")
        self.backend.create_scope(self.scope)
        self.vfolder = VFolderId(self.scope, uuid4())
        self.backend.create_vfolder(self.vfolder)
        (self.backend.vfolder_path(self.vfolder) / "tree").mkdir()
        self.id = uuid4().hex
        self.victim = directory / "victim"

    def lay(self, place: str, victim: Path) -> None:
        """Put a link in place of `.vfolder`, or of each directory in it, of scope and volume."""
        for area in AREAS:
            (victim / area).mkdir(parents=True)
            for name in (self.id, f"{self.id}.manifest", self.vfolder.id.hex):
                (victim / area / name).write_text("precious")
                os.utime(victim / area / name, (OLD, OLD))
        top = self.backend.mount.path
        for above in (top, top / self.scope.directory):
            if place == "hidden":
                (above / layout.HIDDEN).symlink_to(victim)
                continue
            (above / layout.HIDDEN).mkdir(exist_ok=True)
            for area in AREAS:
                (above / layout.HIDDEN / area).symlink_to(victim / area)


@pytest.fixture(params=["hidden", "area"])
def trap(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trap]:
    """Every call below meets a link; what it leads to is unchanged at the end."""
    with _unchanged(Trap(tmp_path), request.param) as made:
        yield made


@contextmanager
def _unchanged(made: Trap, place: str) -> Iterator[Trap]:
    made.lay(place, made.victim)
    before = _state(made.victim)
    yield made
    assert _state(made.victim) == before


def _state(victim: Path) -> dict[Path, tuple[int, int, bytes]]:
    return {
        path: (status.st_ino, status.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [victim, *victim.rglob("*")]
        for status in [path.lstat()]
    }


def _upload(trap: Trap) -> Upload:
    return Upload(
        id=trap.id,
        volume="local",
        vfolder=str(trap.vfolder),
        path="name",
        session=trap.id,
        length=8,
    )


def _with_root(call: Callable[[int, Trap], object]) -> Callable[[Trap, UploadStore], object]:
    def within(trap: Trap, _store: UploadStore) -> object:
        with trap.backend.root() as root:
            return call(root, trap)

    return within


CALLS: dict[str, Callable[[Trap, UploadStore], object]] = {
    "upload begins": lambda t, s: staging.begin(t.backend, s, _upload(t)),
    "upload opens": lambda t, _: staging.opened(t.backend, _upload(t)).__enter__(),
    "upload is removed": lambda t, _: staging.remove(t.backend, _upload(t)),
    "upload goes to a job": _with_root(
        lambda root, t: directories.give_to_job(root, t.scope, t.id, str(uuid4()))
    ),
    "uploads are swept": lambda t, s: sweep_uploads(t.backend, s, grace_seconds=-1),
    "metadata is stored": lambda t, _: metadata.write(t.backend, t.vfolder, b"x"),
    "metadata is read": lambda t, _: metadata.read(t.backend, t.vfolder),
    "tree is removed": lambda t, _: entries.remove_entries(
        t.backend, t.vfolder, [VFolderPath.parse("tree")], recursive=True
    ),
    "trash is listed": lambda t, _: trash.kept(t.backend, t.scope),
    "report is read": lambda t, _: operations.open_report(t.backend, t.scope, t.id),
    "expired snapshots": _with_root(lambda root, t: snapshots.expired(root, t.scope.directory)),
    "snapshot is kept": _with_root(lambda root, t: snapshots.keep(root, t.vfolder, "s", 60.0)),
    "limit is set": lambda t, _: t.backend.set_limit(t.scope, 1 << 20),
    "limit is found": _with_root(lambda root, t: requested_limits.find(root, t.scope)),
    "limit is forgotten": lambda t, _: t.backend.unset_limit(t.scope),
    "scope is deleted": lambda t, _: t.backend.delete_scope(t.scope),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_call_follows_a_link_in_place_of_a_hidden_directory(
    trap: Trap, valkey: Valkey, name: str
) -> None:
    """It may fail, or find nothing; it reads, makes and removes nothing behind the link."""
    with valkey.client(8) as client:
        found = None
        with suppress(StorageError, OSError):
            found = CALLS[name](trap, UploadStore(client, "node1"))
    assert found in (None, [], b"") or name == "uploads are swept", found


def _made(path: PurePosixPath, root: int) -> int:
    with descriptors.made(path, root, descriptors.HIDDEN_MODE):
        return 0


OPENERS: dict[str, Callable[[PurePosixPath, int], object]] = {
    "kernel": descriptors.open_directory,
    "walk": lambda path, root: descriptors._descend(root, path.parts, None, []),
    "made": _made,
}


@pytest.mark.parametrize("link", range(3))
@pytest.mark.parametrize("target", ["outside", "beside"])
@pytest.mark.parametrize("opener", OPENERS)
def test_a_link_at_any_depth_is_no_directory(
    tmp_path: Path, opener: str, target: str, link: int
) -> None:
    """The same where the kernel resolves the path, and where each part is opened alone."""
    if opener == "kernel" and not linux.kernel_resolves():
        pytest.skip("this kernel has no openat2")
    top, parts = tmp_path / "top", ("scope", layout.HIDDEN, layout.STAGING)
    for name in (top.joinpath(*parts), top / "beside" / layout.HIDDEN / layout.STAGING):
        name.mkdir(parents=True)
    (tmp_path / "outside" / layout.HIDDEN / layout.STAGING).mkdir(parents=True)
    true = top.joinpath(*parts[: link + 1])
    true.rename(tmp_path / "former")
    ends = (PurePosixPath(), PurePosixPath(layout.HIDDEN), PurePosixPath(layout.HIDDEN, parts[2]))
    base = tmp_path / "outside" if target == "outside" else top / "beside"
    true.symlink_to(os.path.relpath(base / ends[link], true.parent))
    root = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(NotADirectoryError) as caught:
            OPENERS[opener](PurePosixPath(*parts), root)
        assert caught.value.errno == errno.ENOTDIR
    finally:
        os.close(root)
