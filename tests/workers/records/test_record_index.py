"""The index of records is built again from the files of a volume; what is wrong there is named."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest
from msgspec import structs

from backends.base import Mount
from backends.entries import access_files
from backends.fs import layout
from backends.mounted import PosixBackend
from core.access import AccessIndex, Grant, RecordOwner, Seals, VFolderRecord, records
from core.jobs.store import JobStore
from core.names import QuotaScope, VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.support.doors import TICKET_SECRET, settings_in
from tests.support.valkey import Valkey
from workers.node.sweeps import DueJobs
from workers.verbs.record_index import RecordIndex


class Volume:
    """A volume with records, and what a rescan says of it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = f"v{uuid4().hex}"
        self.top = settings.directory / self.name
        self.top.mkdir()
        self.backend = PosixBackend(Mount(self.name, self.top))
        self.scope = QuotaScope.parse(f"user:{uuid4()}")
        self.backend.create_scope(self.scope)
        self.index = AccessIndex(settings)
        self.notes: dict[str, str] = {}

    def write(self, *to: str, secret: str = TICKET_SECRET) -> VFolderRecord:
        vfolder = VFolderId(self.scope, uuid4())
        self.backend.create_vfolder(vfolder)
        record = VFolderRecord(
            id=vfolder.id,
            volume=self.name,
            scope=str(self.scope),
            owner=RecordOwner(kind="user", id=self.scope.id),
            grants=tuple(Grant(id=word, to=word, permission="ro") for word in to),
            revision=1,
        )
        text = Seals([secret]).seal(record, records.place_of(self.name, vfolder))
        access_files.replace(self.backend, vfolder, text, "")
        return record

    def path(self, record: VFolderRecord) -> Path:
        return self.top / layout.record(VFolderId(self.scope, record.id))

    def rebuild(self, *, repair: bool = False) -> dict[str, dict[str, int]]:
        self.notes.clear()
        index = RecordIndex(self.settings, self.backend, self.notes.__setitem__)
        return index.rebuild(lambda: None, repair=repair)

    def found(self, word: str) -> set[UUID]:
        return {entry.id for entry in self.index.shared_with([word])}


@pytest.fixture
def volume(valkey: Valkey, tmp_path: Path) -> Volume:
    more = '[vfolder.access]\nsecret-previous = "former-secret"\n'
    return Volume(settings_in(tmp_path, valkey.url, more))


def test_a_store_that_lost_its_index_gets_it_back(volume: Volume) -> None:
    user = f"user:{uuid4()}"
    first, second = volume.write(user), volume.write()
    assert volume.rebuild() == {"found": {}, "repaired": {}}
    assert volume.found(user) == {first.id}
    assert volume.found(f"user:{volume.scope.id}") == {first.id, second.id}
    assert volume.index.is_complete(volume.name)


def test_the_first_rescan_is_due_at_once(volume: Volume) -> None:
    """A sweep submits it while the index was never built, and once in a period."""
    with connect(volume.settings, Database.JOBS) as client:
        store = JobStore(client, lambda _: None)
        due = DueJobs(volume.settings, store, volume.backend)
        assert [due(), due()] == [1, 0]
        client.delete(f"vf:rescan-due:{volume.name}", f"vf:rescan-for-index:{volume.name}")
        volume.rebuild()
        assert due() == 0


def test_records_of_the_former_secret_count(volume: Volume) -> None:
    record = volume.write(f"user:{uuid4()}", secret="former-secret")
    assert volume.rebuild()["found"] == {}
    assert volume.found(f"user:{volume.scope.id}") == {record.id}


def test_a_forged_record_is_named_and_not_entered(volume: Volume) -> None:
    user = f"user:{uuid4()}"
    foreign, changed = volume.write(user, secret="x"), volume.write(user)
    text = volume.path(changed).read_bytes()
    volume.path(changed).write_bytes(text.replace(b'"ro"', b'"rw"'))
    found = volume.rebuild(repair=True)
    assert found == {"found": {"record-forged": 2}, "repaired": {}}
    assert {note.split("/")[1] for note in volume.notes} == {foreign.id.hex, changed.id.hex}
    assert volume.found(user) == set()


def test_a_record_that_was_put_back_is_forged(volume: Volume) -> None:
    record = volume.write(f"user:{uuid4()}")
    volume.index.put(structs.replace(record, grants=(), revision=2))
    for _ in range(2):  # a rescan does not make it valid
        assert volume.rebuild()["found"] == {"record-forged": 1}


def test_a_record_without_its_vfolder_is_removed_when_asked(volume: Volume) -> None:
    record = volume.write()
    (volume.top / VFolderId(volume.scope, record.id).directory).rmdir()
    assert volume.rebuild() == {"found": {"orphaned-record": 1}, "repaired": {}}
    assert volume.path(record).exists()
    assert volume.rebuild(repair=True)["repaired"] == {"orphaned-record": 1}
    assert not volume.path(record).exists()
    assert volume.rebuild() == {"found": {}, "repaired": {}}
