"""Upload bytes on the real file system, and their record in a real Valkey."""

import hashlib
import os
import threading
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from backends.base import Mount, QuotaUsage
from backends.fs import layout
from backends.mounted import PosixBackend
from backends.quota.checks import DigestMismatch
from backends.uploads import staging as uploads
from backends.uploads import sweep_uploads
from contract.waiting import eventually
from core.errors import EntryExists, PathEscape, QuotaExceeded, VFolderNotFound
from core.names import QuotaScope, VFolderId, VFolderPath
from core.uploads import (
    LeaseRequest,
    Upload,
    UploadExists,
    UploadLeaseHeld,
    UploadNotFound,
    UploadStore,
)
from core.uploads.upload import UploadLeaseLost


class Limited(PosixBackend):
    """A volume on which each scope has 100 free bytes."""

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        super().describe_scope(scope)
        return QuotaUsage(used_bytes=900, limit_bytes=1000)


@pytest.fixture
def backend(tmp_path: Path) -> PosixBackend:
    return PosixBackend(Mount("local", tmp_path))


def upload(folder: VFolderId, path: str = "a/b.bin", length: int | None = 4) -> Upload:
    name = uuid4().hex
    return Upload(
        id=name, volume="local", vfolder=str(folder), path=path, session=name, length=length
    )


def staging_path(backend: PosixBackend, folder: VFolderId, one: Upload) -> Path:
    return backend.mount.path / layout.upload(folder.scope, one.id)


def test_from_first_byte_to_publish(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    one = uploads.begin(backend, store, upload(folder))
    assert store.get(one.id).offset == 0
    with uploads.opened(backend, one) as staging:
        lease = store.acquire(one.id, 0, staging.lock)
        assert staging.settle(lease.offset) == 0
        os.write(staging.descriptor, b"data")
        assert store.advance(lease, 4) is LeaseRequest.NONE
        staging.publish(VFolderPath.parse(one.path))
        store.save(lease, msgspec.structs.replace(one, finished=True))
        store.release(lease)
    target = backend.vfolder_path(folder) / "a/b.bin"
    assert target.read_bytes() == b"data"
    assert target.stat().st_mode & 0o777 == 0o644
    assert store.get(one.id).upload.finished
    assert uploads.was_published(backend, one, VFolderPath.parse(one.path))
    with pytest.raises(UploadNotFound), uploads.opened(backend, one):
        pass


def test_bytes_that_were_not_committed_are_cut_off(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    one = uploads.begin(backend, store, upload(folder))
    staging_path(backend, folder, one).write_bytes(b"abcorphan")
    with uploads.opened(backend, one) as staging:
        assert staging.settle(3) == 3
        assert staging.size() == 3


def test_a_shorter_file_decides_the_offset(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    one = uploads.begin(backend, store, upload(folder))
    staging_path(backend, folder, one).write_bytes(b"ab")
    with uploads.opened(backend, one) as staging:
        assert staging.settle(4) == 2


def test_two_sessions_never_share_an_id(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    one = uploads.begin(backend, store, upload(folder))
    with pytest.raises(UploadExists):
        uploads.begin(backend, store, one)
    assert staging_path(backend, folder, one).exists()


def test_a_missing_vfolder_gets_no_session(backend: PosixBackend, store: UploadStore) -> None:
    missing = VFolderId(QuotaScope.parse(f"user:{uuid4()}"), uuid4())
    with pytest.raises(VFolderNotFound):
        uploads.begin(backend, store, upload(missing))
    assert list(backend.mount.path.iterdir()) == []


def test_without_free_space_there_is_no_session(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    limited = Limited(backend.mount)
    with pytest.raises(QuotaExceeded, match="100 bytes left"):
        uploads.begin(limited, store, upload(folder, length=101))
    assert uploads.begin(limited, store, upload(folder, length=100))


def test_empty_upload_appears_at_once_and_replaces_nothing(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    uploads.begin(backend, store, upload(folder, "x/empty", 0))
    assert (backend.vfolder_path(folder) / "x/empty").read_bytes() == b""
    (backend.vfolder_path(folder) / "kept").write_bytes(b"kept")
    uploads.begin(backend, store, upload(folder, "kept", 0))
    assert (backend.vfolder_path(folder) / "kept").read_bytes() == b"kept"


def test_links_are_never_followed(
    backend: PosixBackend, store: UploadStore, folder: VFolderId, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (backend.vfolder_path(folder) / "a").symlink_to(outside)
    one = uploads.begin(backend, store, upload(folder))
    with uploads.opened(backend, one) as staging, pytest.raises(PathEscape):
        staging.publish(VFolderPath.parse("a/b.bin"))
    assert list(outside.iterdir()) == []


def test_a_directory_is_never_replaced(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    (backend.vfolder_path(folder) / "a/b.bin").mkdir(parents=True)
    one = uploads.begin(backend, store, upload(folder))
    with uploads.opened(backend, one) as staging, pytest.raises(EntryExists):
        staging.publish(VFolderPath.parse("a/b.bin"))


def test_wrong_digest_publishes_nothing(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    good = hashlib.sha256(b"data").hexdigest()
    for digest, text in ((f"sha256 {good}", b"date"), (f"sha256 {good.upper()}", b"data")):
        one = uploads.begin(backend, store, msgspec.structs.replace(upload(folder), digest=digest))
        staging_path(backend, folder, one).write_bytes(text)
        target = backend.vfolder_path(folder) / "a/b.bin"
        with uploads.opened(backend, one) as staging:
            if text == b"date":
                with pytest.raises(DigestMismatch):
                    staging.publish(VFolderPath.parse("a/b.bin"))
                assert not target.exists()
            else:
                staging.publish(VFolderPath.parse("a/b.bin"))
                assert target.read_bytes() == b"data"


def test_second_writer_waits_and_is_refused(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    one = uploads.begin(backend, store, upload(folder))
    with uploads.opened(backend, one) as first, uploads.opened(backend, one) as second:
        lease = store.acquire(one.id, 0, first.lock)

        def heard() -> bool:  # a request expires soon
            with pytest.raises(UploadLeaseHeld):
                store.acquire(one.id, 0.1, second.lock)
            return store.advance(lease, 2) is LeaseRequest.TO_WRITE

        eventually(heard)
        store.release(lease)


def test_a_writer_hands_over_to_the_next(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    one = uploads.begin(backend, store, upload(folder))
    got: list[int] = []

    def wait() -> None:
        with uploads.opened(backend, one) as mine:
            got.append(store.acquire(one.id, 60, mine.lock).offset)

    with uploads.opened(backend, one) as first:
        lease = store.acquire(one.id, 0, first.lock)
        thread = threading.Thread(target=wait)
        thread.start()
        eventually(lambda: store.advance(lease, 3) is not LeaseRequest.NONE)
        store.release(lease)
    thread.join(60)
    assert got == [3]


def test_the_lease_of_a_dead_process_is_taken_over_at_once(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    one = uploads.begin(backend, store, upload(folder))
    with uploads.opened(backend, one) as dead:
        old = store.acquire(one.id, 0, dead.lock)  # never released: its process died here
    with uploads.opened(backend, one) as alive:
        new = store.acquire(one.id, 0, alive.lock)
    with pytest.raises(UploadLeaseLost):
        store.advance(old, 4)
    assert store.advance(new, 1) is LeaseRequest.NONE
    assert store.get(one.id).offset == 1


def test_lease_of_another_node_is_respected(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    one = uploads.begin(backend, store, upload(folder))
    other = UploadStore(store._client, "node2")
    with uploads.opened(backend, one) as there:
        other.acquire(one.id, 0, there.lock)
    with uploads.opened(backend, one) as here, pytest.raises(UploadLeaseHeld):
        store.acquire(one.id, 0.1, here.lock)


def test_an_upload_of_another_session_is_left_alone(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    metadata = 'x "session": "thief"'  # the record has it in quotes
    one = msgspec.structs.replace(upload(folder), metadata=metadata)
    one = uploads.begin(backend, store, one)
    with uploads.opened(backend, one) as staging:
        lease = store.acquire(one.id, 0, staging.lock, session=one.session)
        with uploads.opened(backend, one) as other, pytest.raises(UploadNotFound):
            store.acquire(one.id, 0, other.lock, session="thief")
        assert store.advance(lease, 0) is LeaseRequest.NONE
        store.release(lease)
        with pytest.raises(UploadNotFound):
            store.acquire(one.id, 0, staging.lock, session="thief")
        assert store.acquire(one.id, 0, staging.lock).offset == 0


def test_a_rewind_is_reported_once(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    one = uploads.begin(backend, store, upload(folder))
    with uploads.opened(backend, one) as staging:
        lease = store.acquire(one.id, 0, staging.lock)
        store.advance(lease, 3, rewind=0)
        store.release(lease)
        again = store.acquire(one.id, 0, staging.lock)
        assert (again.offset, again.rewind) == (3, 0)
        store.release(again)
        assert store.get(one.id, forget_rewind=True).offset == 3
        assert store.acquire(one.id, 0, staging.lock).rewind is None


def test_the_sweep_removes_uploads_without_a_record(
    backend: PosixBackend, store: UploadStore, folder: VFolderId
) -> None:
    known = uploads.begin(backend, store, upload(folder))
    orphan = uploads.begin(backend, store, upload(folder))
    staging_path(backend, folder, orphan).write_bytes(b"abc")
    store.forget(orphan.id)
    young = sweep_uploads(backend, store)
    assert (young.removed, young.kept) == (0, 2)
    swept = sweep_uploads(backend, store, grace_seconds=-1)
    assert (swept.removed, swept.removed_bytes, swept.kept) == (1, 3, 1)
    assert staging_path(backend, folder, known).exists()
    assert not staging_path(backend, folder, orphan).exists()
