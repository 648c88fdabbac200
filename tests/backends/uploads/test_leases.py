"""The lease of an upload, and what a link in a hidden directory cannot do."""

import os
from pathlib import Path
from uuid import uuid4

import pytest
from msgspec.structs import replace
from redis import ResponseError

from backends.base import Mount
from backends.fs import layout
from backends.mounted import PosixBackend
from backends.uploads import staging as uploads
from core.errors import StorageError
from core.names import VFolderId
from core.uploads import Upload, UploadLeaseHeld, UploadLeaseLost, UploadStore
from core.uploads.store import LEASE_SECONDS


@pytest.fixture
def backend(tmp_path: Path) -> PosixBackend:
    volume = tmp_path / "volume"
    volume.mkdir()
    return PosixBackend(Mount("local", volume))


@pytest.fixture
def upload(backend: PosixBackend, store: UploadStore, folder: VFolderId) -> Upload:
    name = uuid4().hex
    made = Upload(id=name, volume="local", vfolder=str(folder), path="f", session=name, length=100)
    return uploads.begin(backend, store, made)


def test_a_defect_does_not_look_like_an_absent_store(store: UploadStore, upload: Upload) -> None:
    """A job would wait for ever for a store that is there."""
    store.client.delete(f"tus.upload.offset:{upload.id}")
    store.client.rpush(f"tus.upload.offset:{upload.id}", "no text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        store.acquire(upload.id, 0, lambda: True)


def test_each_commit_renews_the_lease(store: UploadStore, upload: Upload) -> None:
    key = f"tus.upload.lease:{upload.id}"
    lease = store.acquire(upload.id, 0, lambda: True)
    for offset in (10, 20):
        store.client.pexpire(key, 5_000)
        store.advance(lease, offset, rewind=0)
        assert store.client.pttl(key) > (LEASE_SECONDS - 5) * 1000
    store.client.delete(key)  # it ended unrenewed
    with pytest.raises(UploadLeaseLost):
        store.advance(lease, 30)
    assert store.get(upload.id).offset == 20
    assert not store.client.exists(key), "a lost lease is not taken again by a commit"


def test_a_lease_that_another_request_holds_is_locked_and_no_conflict(
    store: UploadStore, upload: Upload
) -> None:
    store.acquire(upload.id, 0, lambda: True)
    other = UploadStore(store.client, "node2")
    with pytest.raises(UploadLeaseHeld) as refused:
        other.acquire(upload.id, 0, lambda: True)
    assert (refused.value.status, refused.value.retriable) == (423, True)


@pytest.mark.parametrize("content", [b"", b"s" * 100], ids=["empty", "as long as the upload"])
def test_a_link_in_place_of_the_bytes_is_never_opened(
    backend: PosixBackend, upload: Upload, tmp_path: Path, content: bytes
) -> None:
    """A link to a file of another owner, as a person with rights on the directory could make it."""
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    vfolder = VFolderId.parse(upload.vfolder)
    path = backend.mount.path / layout.upload(vfolder.scope, upload.id)
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(StorageError), uploads.opened(backend, upload):
        pass
    assert secret.read_bytes() == content
    assert list(backend.vfolder_path(vfolder).iterdir()) == []


def test_a_new_upload_never_begins_in_what_a_link_names(
    backend: PosixBackend, store: UploadStore, upload: Upload, tmp_path: Path
) -> None:
    victim, absent = tmp_path / "victim", tmp_path / "absent"
    victim.write_bytes(b"precious")
    vfolder = VFolderId.parse(upload.vfolder)
    for target in (victim, absent):
        name = uuid4().hex
        path = backend.mount.path / layout.upload(vfolder.scope, name)
        path.symlink_to(target)
        with pytest.raises(StorageError):
            uploads.begin(backend, store, replace(upload, id=name, session=name))
        assert path.is_symlink()
        assert not store.exists([name])[0]
    assert (victim.read_bytes(), victim.stat().st_mode & 0o777) == (b"precious", 0o644)
    assert not absent.exists()


@pytest.mark.parametrize("name", [layout.HIDDEN, layout.UPLOADS])
def test_a_hidden_directory_that_is_a_link_is_never_entered(
    backend: PosixBackend, store: UploadStore, upload: Upload, tmp_path: Path, name: str
) -> None:
    vfolder = VFolderId.parse(upload.vfolder)
    uploads_path = backend.mount.path / layout.area(vfolder.scope, layout.UPLOADS)
    moved = uploads_path if name == layout.UPLOADS else uploads_path.parent
    elsewhere = tmp_path / "elsewhere"
    moved.rename(elsewhere)
    moved.symlink_to(elsewhere)
    before = sorted(os.listdir(elsewhere))
    with pytest.raises(StorageError), uploads.opened(backend, upload):
        pass
    other = Upload(
        id="other", volume="local", vfolder=upload.vfolder, path="g", session="s", length=4
    )
    with pytest.raises((StorageError, OSError)):
        uploads.begin(backend, store, other)
    assert sorted(os.listdir(elsewhere)) == before
