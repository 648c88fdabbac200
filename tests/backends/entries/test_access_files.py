"""Records as files: changed one at a time, moved with the trash, whole after a kill."""

import os
import signal
import stat
import sys
from pathlib import Path
from threading import Thread
from uuid import UUID, uuid4

import pytest

from backends.base import Mount
from backends.entries import RecordChanged, access_files
from backends.fs import descriptors, layout
from backends.mounted import PosixBackend
from backends.retention import trash
from backends.volumes import operations, remote
from core.access import records
from core.errors import Conflict, VFolderNotFound
from core.names import QuotaScope, VFolderId

JOB = uuid4().hex


class Volume:
    def __init__(self, top: Path) -> None:
        self.top = top
        self.backend = PosixBackend(Mount("local", top))
        self.scope = QuotaScope.parse(f"user:{uuid4()}")
        self.backend.create_scope(self.scope)
        self.vfolder = VFolderId(self.scope, uuid4())
        self.backend.create_vfolder(self.vfolder)

    @property
    def path(self) -> Path:
        return self.top / layout.record(self.vfolder)

    @property
    def trashed(self) -> Path:
        return self.top / layout.trashed_record(self.scope, JOB)

    def write(self, text: bytes) -> None:
        access_files.replace(self.backend, self.vfolder, text, access_files.digest(self.text()))

    def text(self) -> bytes | None:
        return access_files.read(self.backend, self.vfolder).text

    def make_tree(self) -> None:
        os.mkdir(self.top / self.vfolder.directory)

    def remove_tree(self) -> None:
        os.rmdir(self.top / self.vfolder.directory)

    def delete(self) -> None:
        """Take the tree away as a deletion does, with its record."""
        with access_files.going_to_trash(self.backend, self.vfolder, JOB):
            self.remove_tree()


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def test_a_record_is_private_and_beside_the_tree(volume: Volume) -> None:
    assert volume.text() is None
    volume.write(b"one")
    assert volume.text() == b"one"
    assert stat.S_IMODE(volume.path.stat().st_mode) == 0o600
    assert os.listdir(volume.top / volume.vfolder.directory) == []
    assert not [name for name in os.listdir(volume.path.parent) if name.startswith(".")]


def test_of_two_changes_at_the_same_time_one_is_refused(volume: Volume) -> None:
    before = access_files.digest(volume.text())
    access_files.replace(volume.backend, volume.vfolder, b"first", before)
    with pytest.raises(RecordChanged):
        access_files.replace(volume.backend, volume.vfolder, b"second", before)
    assert volume.text() == b"first"


def test_what_would_be_too_long_to_read_is_not_written(volume: Volume) -> None:
    volume.write(b"x" * records.RECORD_MAX_BYTES)
    with pytest.raises(Conflict):
        volume.write(b"x" * (records.RECORD_MAX_BYTES + 1))
    assert volume.text() == b"x" * records.RECORD_MAX_BYTES


def test_no_change_is_lost_among_threads(volume: Volume) -> None:
    volume.write(b"0")

    def raise_it() -> None:
        for _ in range(10):
            while True:
                text = volume.text() or b""
                try:
                    access_files.replace(
                        volume.backend,
                        volume.vfolder,
                        b"%d" % (int(text) + 1),
                        access_files.digest(text),
                    )
                    break
                except RecordChanged:
                    continue

    threads = [Thread(target=raise_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert volume.text() == b"40"


def test_a_vfolder_that_is_not_there_has_no_record(volume: Volume) -> None:
    gone = VFolderId(volume.scope, uuid4())
    with pytest.raises(VFolderNotFound):
        access_files.read(volume.backend, gone)
    with pytest.raises(VFolderNotFound):
        access_files.replace(volume.backend, gone, b"x", "")


def test_a_record_goes_into_the_trash_and_back(volume: Volume) -> None:
    volume.write(b"one")
    access_files.to_trash(volume.backend, volume.vfolder, JOB)
    assert volume.path.exists(), "the vfolder is live"
    volume.delete()
    assert (volume.path.exists(), volume.trashed.read_bytes()) == (False, b"one")
    assert access_files.read_trashed(volume.backend, volume.vfolder, JOB) == b"one"
    with access_files.coming_back(volume.backend, volume.vfolder, JOB):
        assert volume.path.read_bytes() == b"one", "it is there before its vfolder"
        volume.make_tree()
    assert (volume.text(), volume.trashed.exists()) == (b"one", False)


def test_what_is_written_while_a_vfolder_is_deleted_goes_along(volume: Volume) -> None:
    volume.write(b"one")
    volume.remove_tree()
    for _ in range(2):
        access_files.to_trash(volume.backend, volume.vfolder, JOB)
        assert not volume.path.exists()
        assert access_files.read_trashed(volume.backend, volume.vfolder, JOB) == b"one"


def test_a_new_vfolder_of_the_id_has_none_of_the_old_grants(volume: Volume) -> None:
    volume.write(b"old")
    volume.remove_tree()
    operations.create_vfolder(volume.backend, volume.vfolder, 0o755, None, automatic=False)
    assert volume.text() is None


@pytest.mark.parametrize("goes", [True, False])
def test_no_new_vfolder_drops_the_record_of_one_that_moves(volume: Volume, *, goes: bool) -> None:
    """Without its record a restored vfolder would belong to its scope and not to its owner."""
    volume.write(b"one")
    if not goes:
        volume.delete()
    drop = Thread(target=access_files.drop, args=(volume.backend, volume.vfolder))
    moving = access_files.going_to_trash if goes else access_files.coming_back
    with moving(volume.backend, volume.vfolder, JOB):
        if goes:
            volume.remove_tree()
        drop.start()
        drop.join(0.2)
        assert drop.is_alive(), "it waits for the lock of the scope"
        if not goes:
            volume.make_tree()
    drop.join(60)
    found = volume.trashed if goes else volume.path
    assert found.read_bytes() == b"one"


@pytest.mark.parametrize("goes", [True, False])
def test_a_kill_loses_no_record(volume: Volume, *, goes: bool) -> None:
    """Even when another request drops what a killed job has brought to the live place."""
    volume.write(b"one")
    if not goes:
        volume.delete()
    moving = access_files.going_to_trash if goes else access_files.coming_back
    pid = os.fork()
    if pid == 0:
        with moving(volume.backend, volume.vfolder, JOB):
            if goes:
                volume.remove_tree()
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    access_files.drop(volume.backend, volume.vfolder)
    if goes:
        access_files.to_trash(volume.backend, volume.vfolder, JOB)
        assert volume.trashed.read_bytes() == b"one"
        return
    with access_files.coming_back(volume.backend, volume.vfolder, JOB):
        volume.make_tree()
    assert (volume.text(), volume.trashed.exists()) == (b"one", False)


def test_a_restore_that_fails_leaves_the_record_in_the_trash(volume: Volume) -> None:
    volume.write(b"old")
    volume.delete()

    def restore() -> None:
        with access_files.coming_back(volume.backend, volume.vfolder, JOB):
            volume.make_tree()  # another request was quicker
            volume.make_tree()

    with pytest.raises(FileExistsError):
        restore()
    assert (volume.text(), volume.trashed.read_bytes()) == (None, b"old")
    volume.write(b"new")
    with access_files.coming_back(volume.backend, volume.vfolder, JOB):
        pass
    assert volume.text() == b"new", "the live vfolder is another one"


def test_the_purge_of_a_tree_ends_its_record(volume: Volume) -> None:
    volume.write(b"one")
    volume.remove_tree()
    access_files.to_trash(volume.backend, volume.vfolder, JOB)
    with descriptors.opened(volume.trashed.parent.relative_to(volume.top), _root(volume)) as area:
        trash.forget(area, JOB)
    assert not volume.trashed.exists()


def _root(volume: Volume) -> int:
    return os.open(volume.top, os.O_RDONLY | os.O_DIRECTORY)


def test_vfolders_are_found_by_their_bare_id(volume: Volume) -> None:
    other = QuotaScope.parse(f"project:{uuid4()}")
    volume.backend.create_scope(other)
    volume.backend.create_vfolder(VFolderId(other, volume.vfolder.id))
    scopes = sorted([volume.scope.directory, other.directory])
    assert access_files.locate(volume.backend, volume.vfolder.id) == scopes
    assert access_files.locate(volume.backend, uuid4()) == []
    volume.write(b"one")
    found = {one.scope: one.text for one in access_files.find(volume.backend, volume.vfolder.id)}
    assert found == {volume.scope.directory: b"one", other.directory: None}


def test_pages_have_every_record_once(volume: Volume) -> None:
    ids = {volume.vfolder.id}
    volume.write(b"one")
    for _ in range(9):
        vfolder = VFolderId(volume.scope, uuid4())
        volume.backend.create_vfolder(vfolder)
        access_files.replace(volume.backend, vfolder, b"more", "")
        ids.add(vfolder.id)
    volume.remove_tree()
    seen: list[access_files.RecordFile] = []
    after = ""
    while True:
        page = access_files.page(volume.backend, after, 3)
        seen += page.records
        after = page.next
        if not after:
            break
    assert [record.id for record in seen] == sorted(ids, key=lambda one: one.hex)
    assert [record.id for record in seen if not record.exists] == [volume.vfolder.id]


def test_records_of_users_lie_in_their_scope(volume: Volume) -> None:
    user = QuotaScope.parse(f"user:{uuid4()}")
    assert access_files.read_subject(volume.backend, user.id) is None
    access_files.replace_subject(volume.backend, user, b"one", "")
    access_files.replace_subject(volume.backend, user, b"two", access_files.digest(b"one"))
    assert access_files.read_subject(volume.backend, user.id) == b"two"
    assert access_files.subjects(volume.backend) == {user.directory: b"two"}


def test_a_link_in_place_of_a_record_is_not_followed(volume: Volume, tmp_path: Path) -> None:
    volume.write(b"one")
    victim = tmp_path / "victim"
    victim.write_bytes(b"secret")
    volume.path.unlink()
    volume.path.symlink_to(victim)
    assert volume.text() == b"", "no text that any seal fits"
    volume.write(b"two")
    assert (volume.text(), victim.read_bytes()) == (b"two", b"secret")
    volume.path.unlink()
    volume.path.symlink_to(victim)
    access_files.to_trash(volume.backend, volume.vfolder, JOB)
    assert victim.read_bytes() == b"secret"


def test_other_nodes_do_these_calls(volume: Volume) -> None:
    def ask(operation: operations.Operation, *arguments: object) -> object:
        call = remote.decode_call(remote.encode_call("local", operation, "", *arguments))
        answer = remote.perform(call, volume.backend, None)  # type: ignore[arg-type] # unused
        return remote.decode_outcome(operation, answer)

    ask(access_files.replace, volume.vfolder, b"\xff", "")
    found = ask(access_files.read, volume.vfolder)
    assert found == access_files.RecordFile(
        id=volume.vfolder.id, scope=volume.scope.directory, text=b"\xff"
    )
    with pytest.raises(RecordChanged):
        ask(access_files.replace, volume.vfolder, b"x", "")


@pytest.mark.parametrize("step", ["write", "fsync", "rename", "unlink"])
def test_a_kill_at_each_step_leaves_the_old_or_the_new_record(volume: Volume, step: str) -> None:
    """SIGKILL before each call of a kind, the first, the second and so on, until none is left."""
    old, new = b"o" * 5000, b"n" * 7000
    for nth in range(1, 20):
        volume.path.unlink(missing_ok=True)
        volume.write(old)
        child = os.fork()
        if child == 0:
            _die_at(step, nth)
            access_files.replace(volume.backend, volume.vfolder, new, access_files.digest(old))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert volume.text() in (old, new)
        access_files.replace(
            volume.backend, volume.vfolder, b"next", access_files.digest(volume.text())
        )
        assert volume.text() == b"next", "the lock went with its holder"
        if not os.WIFSIGNALED(status):
            assert nth > 1 or step == "unlink"
            return
    pytest.fail("the change never ended")


def _die_at(step: str, nth: int) -> None:
    real, left = getattr(os, step), [nth]

    def counted(*arguments: object, **more: object) -> object:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **more)

    setattr(sys.modules["os"], step, counted)


def test_ids_of_records_are_uuids(volume: Volume) -> None:
    volume.write(b"one")
    (volume.path.parent / "no-uuid.access").write_bytes(b"x")
    assert [record.id for record in access_files.page(volume.backend).records] == [
        UUID(hex=volume.vfolder.id.hex)
    ]
