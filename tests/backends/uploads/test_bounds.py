"""Bounds on open uploads: one script checks them and records the upload; ends free the places."""

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from backends.base import Backend, Mount
from backends.mounted import PosixBackend
from backends.quota import soft_of
from backends.uploads import staging
from backends.volumes import Volumes
from core.names import QuotaScope, VFolderId
from core.uploads import (
    TooManyUploads,
    Upload,
    UploadBounds,
    UploadNotFound,
    UploadStore,
)
from tests.support.doors import settings_in
from tests.support.valkey import Valkey

#: Calls of Redis in one creation, however many uploads are open.
CREATION_CALLS_MAX = 30


class Uploads:
    """A vfolder, and the uploads that tests open in it."""

    def __init__(self, valkey: Valkey, directory: Path) -> None:
        self.client = valkey.client(8)
        self.backend: Backend = PosixBackend(Mount("local", directory))
        self.scope = QuotaScope.parse(f"user:{uuid4()}")
        self.backend.create_scope(self.scope)
        self.vfolder = VFolderId(self.scope, uuid4())
        self.backend.create_vfolder(self.vfolder)
        self.node = uuid4().hex

    def store(self, **bounds: int) -> UploadStore:
        return UploadStore(self.client, self.node, UploadBounds(**bounds))

    def open(
        self, store: UploadStore, session: str, length: int | None = 4, **more: object
    ) -> Upload:
        facts = {"limit": 100, "path": uuid4().hex, "id": uuid4().hex, **more}
        upload = Upload(
            volume="local",
            vfolder=str(self.vfolder),
            session=session,
            length=length,
            **facts,  # type: ignore[arg-type] # tests name the facts
        )
        return staging.begin(self.backend, store, upload)

    def files(self) -> int:
        directory = self.backend.mount.path / self.scope.directory / ".vfolder/uploads"
        return len(list(directory.iterdir()))

    def finish(self, store: UploadStore, upload: Upload) -> None:
        lease = store.acquire(upload.id, 0, lambda: True)
        store.save(lease, msgspec.structs.replace(lease.upload, finished=True))


@pytest.fixture
def uploads(valkey: Valkey, tmp_path: Path) -> Iterator[Uploads]:
    made = Uploads(valkey, tmp_path)
    yield made
    made.client.close()


def test_the_visits_of_a_link_open_no_more_than_one(uploads: Uploads) -> None:
    store = uploads.store(per_ticket=2)
    opened = [uploads.open(store, f"link:one:{visit}") for visit in ("a", "b")]
    with pytest.raises(TooManyUploads) as refused:
        uploads.open(store, "link:one:c")
    assert refused.value.facts["bound"] == "ticket"
    uploads.open(store, "link:other:a")
    uploads.finish(store, opened[0])
    uploads.open(store, "link:one:c")


@pytest.mark.parametrize(
    ("bound", "bounds"),
    [
        ("ticket", {"per_ticket": 3}),
        ("scope", {"per_scope": 3}),
        ("node", {"per_node": 3}),
        ("bytes", {"sizes_per_ticket": 1}),
    ],
)
def test_a_bound_is_met_and_an_ended_upload_gives_its_place_back(
    uploads: Uploads, bound: str, bounds: dict[str, int]
) -> None:
    store, session = uploads.store(**bounds), uuid4().hex
    length = 33 if bound == "bytes" else 4
    first, second, _ = [uploads.open(store, session, length) for _ in range(3)]
    with pytest.raises(TooManyUploads) as refused:
        uploads.open(store, session, length)
    assert refused.value.facts["bound"] == bound
    assert refused.value.facts["retry_after"] > 0
    assert uploads.files() == 3  # the refused one left nothing
    uploads.finish(store, first)
    uploads.open(store, session, length)
    staging.end(uploads.backend, store, second)
    uploads.open(store, session, length)
    with pytest.raises(TooManyUploads):
        uploads.open(store, session, length)


@pytest.mark.parametrize("bound", ["per_ticket", "per_scope", "per_node", "sizes_per_ticket"])
def test_zero_is_no_bound(uploads: Uploads, bound: str) -> None:
    store = uploads.store(**{bound: 0})
    for _ in range(8):
        uploads.open(store, "one ticket of " + uploads.node, 100 if "sizes" in bound else 1)


def test_a_tree_ticket_takes_many_large_files_at_once(uploads: Uploads) -> None:
    store, session = uploads.store(), uuid4().hex
    for _ in range(32):
        uploads.open(store, session, 100, tree=True)


def test_the_uploads_that_come_with_tickets_count_for_scope_and_node_only(uploads: Uploads) -> None:
    store = uploads.store(per_ticket=1, sizes_per_ticket=1, per_scope=3)
    for _ in range(2):
        session = uuid4().hex
        uploads.open(store, session, 100, id=session)
    uploads.open(store, session, 100)
    with pytest.raises(TooManyUploads, match="quota scope"):
        uploads.open(store, uuid4().hex, 100)


def test_empty_files_take_no_place(uploads: Uploads) -> None:
    store = uploads.store(per_ticket=1, per_scope=1)
    for _ in range(3):
        uploads.open(store, "empty", 0)
    uploads.open(store, "empty", 1)


def test_a_length_that_comes_later_counts_as_all_that_the_ticket_allows(uploads: Uploads) -> None:
    store, session = uploads.store(sizes_per_ticket=1), uuid4().hex
    late = uploads.open(store, session, None)
    with pytest.raises(TooManyUploads):
        uploads.open(store, session, 1)
    lease = store.acquire(late.id, 0, lambda: True)
    store.save(lease, msgspec.structs.replace(lease.upload, length=60))
    uploads.open(store, session, 40)
    with pytest.raises(TooManyUploads):
        uploads.open(store, session, 1)


def test_many_creations_at_once_pass_no_bound(uploads: Uploads) -> None:
    store, session = uploads.store(per_ticket=10), uuid4().hex
    made: list[Upload] = []

    def create() -> None:
        for _ in range(5):
            try:
                made.append(uploads.open(store, session, 1))
            except TooManyUploads:
                continue

    threads = [threading.Thread(target=create) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(made) == uploads.files() == 10


def test_an_expired_upload_gives_its_place_back(uploads: Uploads) -> None:
    """As after a kill -9 of its door: nothing but time ends it."""
    store, session = uploads.store(per_ticket=20, sizes_per_ticket=1), uuid4().hex
    opened = [uploads.open(store, session, 5) for _ in range(20)]
    with pytest.raises(TooManyUploads):
        uploads.open(store, session, 5)
    for one in opened[-2:]:  # not the oldest: those were looked at, and found open
        for kind in ("offset", "record"):
            uploads.client.pexpire(f"tus.upload.{kind}:{one.id}", 1)
    time.sleep(0.01)
    for _ in range(2):
        uploads.open(store, session, 5)
    with pytest.raises(TooManyUploads):
        uploads.open(store, session, 5)


def test_an_upload_that_never_got_a_byte_gives_way_after_a_while(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, session = uploads.store(per_ticket=2), uuid4().hex
    lost, written = uploads.open(store, session), uploads.open(store, session)
    lease = store.acquire(written.id, 0, lambda: True)
    store.advance(lease, 2, release=True)
    with pytest.raises(TooManyUploads):
        uploads.open(store, session)
    monkeypatch.setattr(staging, "IDLE_SECONDS", -1.0)
    uploads.open(store, session)
    with pytest.raises(UploadNotFound):
        store.get(lost.id)
    assert store.get(written.id).offset == 2
    assert uploads.files() == 2


def test_a_creation_that_makes_room_has_its_space_reserved(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path, valkey.url)
    uploads = Uploads(valkey, tmp_path / "local")
    uploads.backend = Volumes(settings).get("local")
    uploads.backend.set_limit(uploads.scope, 1_000)
    store, session = uploads.store(per_ticket=1), uuid4().hex
    uploads.open(store, session, 30)
    quota = soft_of(uploads.backend)
    assert quota is not None
    with pytest.raises(TooManyUploads):
        uploads.open(store, session, 40)
    assert quota.balance(uploads.scope.directory).held_bytes == 30, "the refused one holds nothing"
    monkeypatch.setattr(staging, "IDLE_SECONDS", -1.0)
    uploads.open(store, session, 40)
    assert quota.balance(uploads.scope.directory).held_bytes == 40
    uploads.client.close()


def test_a_creation_costs_the_same_however_many_uploads_are_open(uploads: Uploads) -> None:
    store, session = uploads.store(per_ticket=0, sizes_per_ticket=0), uuid4().hex

    def calls() -> int:
        before = uploads.client.info("commandstats")
        uploads.open(store, session)
        after = uploads.client.info("commandstats")
        count = lambda stats: sum(one["calls"] for one in stats.values())  # noqa: E731 - two uses
        return count(after) - count(before)

    uploads.open(store, session)  # a server that does not know the script yet gets it
    first = calls()
    for _ in range(300):
        uploads.open(store, session)
    assert calls() == first <= CREATION_CALLS_MAX


def test_nothing_is_left_in_the_lists_of_ended_uploads(uploads: Uploads) -> None:
    store, session = uploads.store(), uuid4().hex
    for number, one in zip(itertools.count(), [uploads.open(store, session) for _ in range(4)]):
        if number % 2:
            uploads.finish(store, one)
        else:
            staging.end(uploads.backend, store, one)
    own = (session, uploads.node, str(uploads.vfolder), f"user:{uploads.scope}")
    left = [key for key in uploads.client.keys("tus.upload.[ob]*") if key.endswith(own)]
    assert [key for key in left if not key.startswith("tus.upload.offset")] == []
