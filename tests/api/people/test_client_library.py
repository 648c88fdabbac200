"""The Python client against a real door: vfolders, entries, content, grants, jobs, keys."""

import io
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from tests.api.people.conftest import People, Person
from tests.support.node import wait_for
from vfolder_client import Client, SyncOptions, VFolder, errors
from vfolder_client.content import downloads, files, results, uploads

#: More than one range of a download and one request of an upload.
LARGE = 2 * downloads.PIECE_BYTES + 4321


@pytest.fixture
def owner(people: People) -> Person:
    return people.person()


@pytest.fixture
def client(people: People, owner: Person) -> Iterator[Client]:
    with Client(people.door.url, owner.key) as found:
        yield found


@pytest.fixture
def folder(client: Client) -> VFolder:
    return client.create_vfolder(f"corpus {uuid4().hex}", volume="local")


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(results, "PAUSE_SECONDS", 0.0)  # every step of a transfer is seen


def other(people: People, person: Person) -> Client:
    return Client(people.door.url, person.key)


def test_vfolders_are_found_by_name_and_id(client: Client, folder: VFolder, owner: Person) -> None:
    info = folder.info()
    assert (info.permission, info.owner, info.trashed) == ("owner", owner.word, False)
    assert client.vfolder(info.name or "").reference == info.reference
    assert client.vfolder((info.name or "").upper()).reference == info.reference
    for reference in (info.id, info.reference):
        assert client.vfolder(reference).info() == info
    assert [one.reference for one in client.vfolders(owned=True)] == [info.reference]
    with pytest.raises(errors.VFolderNotFound):
        client.vfolder("absent")
    client.create_vfolder(info.name or "", volume="second")
    with pytest.raises(errors.AmbiguousReference) as caught:
        client.vfolder(info.name or "")
    assert info.reference in caught.value.references


def test_entries_are_made_listed_moved_and_removed(folder: VFolder) -> None:
    made = folder.mkdir("a/b", "c", "../out")
    assert [one.problem is None for one in made] == [True, True, False]
    folder.write("a/b/one.txt", b"1")
    folder.write("a/two.txt", b"22")
    assert [(one.path, one.kind, one.size_bytes) for one in folder.walk()] == [
        ("a", "directory", None),
        ("c", "directory", None),
        ("a/b", "directory", None),
        ("a/two.txt", "file", 2),
        ("a/b/one.txt", "file", 1),
    ]
    folder.move("a/two.txt", "c/2.txt")
    with pytest.raises(errors.EntryExists):
        folder.move("c/2.txt", "a/b/one.txt")
    folder.move("c/2.txt", "a/b/one.txt", overwrite=True)
    assert folder.read("a/b/one.txt") == b"22"
    assert folder.stat("a/b/one.txt").etag
    assert folder.exists("a/b")
    assert not folder.exists("a/two.txt")
    seen: list[str] = []
    job = folder.remove("a", recursive=True).wait(lambda one: seen.append(one.state))
    assert (job.state, seen[-1]) == ("succeeded", "succeeded")
    assert [one.path for one in folder.list()] == ["c"]
    with pytest.raises(errors.EntryNotFound):
        list(folder.list("a"))


def test_entries_move_to_another_vfolder_and_back(client: Client, folder: VFolder) -> None:
    other = client.create_vfolder(f"other {uuid4().hex[:8]}", volume="local")
    folder.write("a", b"1")
    job = folder.move_to(other, "a", "b").wait()
    assert (job.state, job.result["removed"], job.result["left"]) == ("succeeded", 1, 0)
    assert other.read("b") == b"1"
    assert not folder.exists("a")
    folder.trash.restore(job.id).wait()
    assert folder.read("a") == b"1"


def test_names_are_bytes(people: People, folder: VFolder) -> None:
    info = folder.info()
    tree = next((people.settings.directory / "local").rglob(f"*{info.id.replace('-', '')[4:]}"))
    (tree / os.fsdecode(b"bad\xff name%&?#.txt")).write_text("x")
    (entry,) = folder.list()
    assert folder.read(entry.path) == b"x"
    assert folder.stat(entry.path).size_bytes == 1
    folder.write(f"{entry.path}.2", b"yy")
    assert (tree / os.fsdecode(b"bad\xff name%&?#.txt.2")).read_bytes() == b"yy"


# -- File objects ----------------------------------------------------------------------------------
def test_file_objects(folder: VFolder) -> None:
    with folder.open("a.txt", "w") as text:
        text.write("one\ntwo\n")
    with folder.open("a.txt", "r") as text:
        assert list(text) == ["one\n", "two\n"]
    with folder.open("a.txt") as binary:
        assert binary.seek(-4, os.SEEK_END) == 4
        assert binary.read() == b"two\n"
        assert binary.read() == b""
        binary.seek(100)
        assert binary.read(5) == b""
    assert folder.read("a.txt", offset=4, size=3) == b"two"
    folder.write("empty", b"")
    assert folder.read("empty") == b""
    with pytest.raises(errors.PreconditionFailed), folder.open("a.txt", "xb") as writer:
        writer.write(b"x")
    assert folder.read("a.txt") == b"one\ntwo\n"


@pytest.mark.parametrize("extra", [0, 1])
def test_a_writer_sends_what_it_collects(folder: VFolder, extra: int) -> None:
    data = os.urandom(2 * files.WRITE_BYTES + extra)
    with folder.open("big", "wb") as writer:
        for at in range(0, len(data), 1_000_003):
            writer.write(data[at : at + 1_000_003])
        assert not folder.exists("big")
    assert folder.read("big") == data


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_writer_that_fails_leaves_nothing(folder: VFolder, mode: str) -> None:
    class Failed(Exception):
        pass

    piece = "x" * (files.WRITE_BYTES + 1)

    def write() -> None:
        with folder.open("never", mode) as writer:
            writer.write(piece if mode == "w" else piece.encode())
            raise Failed

    with pytest.raises(Failed):
        write()
    assert list(folder.list()) == []


def test_a_reader_sees_one_version(folder: VFolder) -> None:
    folder.write("a", b"1" * 3_000_000)
    with folder.open("a") as reader:
        assert reader.read(1) == b"1"
        folder.write("a", b"2" * 3_000_000)
        with pytest.raises(errors.PreconditionFailed):
            reader.read()


# -- Transfers -------------------------------------------------------------------------------------
def test_a_large_file_there_and_back(folder: VFolder, tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    (tmp_path / "up").write_bytes(data)
    seen = []
    sent = folder.upload(tmp_path / "up", "big", on_progress=seen.append)
    assert (sent.files, sent.size_bytes, sent.complete) == (1, LARGE, True)
    assert (seen[-1].done_bytes, seen[-1].total_bytes, seen[-1].done_items) == (LARGE, LARGE, 1)
    target = tmp_path / "down"
    got = folder.download("big", target)
    assert got.files == 1
    assert target.read_bytes() == data
    modified = folder.stat("big").modified_at
    assert modified is not None
    assert abs(target.stat().st_mtime - modified.timestamp()) < 0.001
    assert folder.download("big", target).unchanged == 1
    assert sorted(os.listdir(tmp_path)) == ["down", "state", "up"]
    assert os.listdir(tmp_path / "state" / "vfolder" / "uploads") == []
    target.write_text("mine")
    with pytest.raises(FileExistsError):
        folder.download("big", target, overwrite=False)


def test_an_interrupted_download_goes_on(folder: VFolder, tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    folder.write("big", data)
    target = tmp_path / "down"

    class Interrupted(Exception):
        pass

    def interrupt(progress: object) -> None:
        if progress.done_bytes >= LARGE - downloads.PIECE_BYTES:  # type: ignore[attr-defined]
            raise Interrupted

    with pytest.raises(Interrupted):
        folder.download("big", target, parallel=1, on_progress=interrupt)
    assert not target.exists()
    assert len(os.listdir(tmp_path)) == 2
    seen = []
    folder.download("big", target, on_progress=seen.append)
    assert seen[-1].moved_bytes <= LARGE - downloads.PIECE_BYTES
    assert target.read_bytes() == data
    assert os.listdir(tmp_path) == ["down"]


def test_a_list_of_pieces_alone_is_not_believed(folder: VFolder, tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    folder.write("big", data)

    def stop(progress: object) -> None:
        if progress.done_bytes > downloads.PIECE_BYTES:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.download("big", tmp_path / "down", parallel=1, on_progress=stop)
    (left,) = tmp_path.glob(".*.vfolder-part")
    left.unlink()
    folder.download("big", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == data


def test_what_is_there_of_another_version_is_not_used(folder: VFolder, tmp_path: Path) -> None:
    folder.write("big", os.urandom(LARGE))
    target = tmp_path / "down"

    def stop(progress: object) -> None:
        if progress.done_bytes > downloads.PIECE_BYTES:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.download("big", target, parallel=1, on_progress=stop)
    data = os.urandom(LARGE)
    folder.write("big", data)
    folder.download("big", target)
    assert target.read_bytes() == data


def test_a_file_that_is_replaced_meanwhile_is_of_one_version(
    folder: VFolder, tmp_path: Path
) -> None:
    folder.write("big", b"1" * LARGE)
    replaced = threading.Event()

    def replace(progress: object) -> None:
        if progress.done_bytes and not replaced.is_set():  # type: ignore[attr-defined]
            replaced.set()
            folder.write("big", b"2" * LARGE)

    folder.download("big", tmp_path / "down", on_progress=replace)
    assert set((tmp_path / "down").read_bytes()) in ({ord("1")}, {ord("2")})


def test_two_downloads_to_one_name_do_not_mix(folder: VFolder, tmp_path: Path) -> None:
    folder.write("big", b"1" * LARGE)
    met: list[errors.ClientError] = []

    def begin_another(progress: object) -> None:
        if progress.done_bytes and not met:  # type: ignore[attr-defined]
            with pytest.raises(errors.TransferBroken) as caught:
                folder.download("big", tmp_path / "down")
            met.append(caught.value)

    folder.download("big", tmp_path / "down", on_progress=begin_another)
    assert met
    assert (tmp_path / "down").stat().st_size == LARGE


def test_an_interrupted_upload_goes_on(
    folder: VFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PIECE_BYTES", 8 * 1024 * 1024)
    data = os.urandom(LARGE)
    source = tmp_path / "up"
    source.write_bytes(data)

    def interrupt(progress: object) -> None:
        if progress.done_bytes > LARGE // 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.upload(source, "big", on_progress=interrupt)
    assert not folder.exists("big")
    seen = []
    folder.upload(source, "big", on_progress=seen.append)
    assert seen[-1].moved_bytes <= LARGE - 8 * 1024 * 1024
    assert folder.read("big") == data


def test_a_local_file_that_changes_is_not_sent(
    folder: VFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PIECE_BYTES", 4 * 1024 * 1024)
    source = tmp_path / "up"
    source.write_bytes(b"1" * LARGE)

    def change(progress: object) -> None:
        if progress.done_bytes:  # type: ignore[attr-defined]
            os.utime(source, (1, 1))

    with pytest.raises(errors.TransferBroken):
        folder.upload(source, "big", on_progress=change)
    assert list(folder.list()) == []


def test_a_directory_there_and_back(folder: VFolder, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "empty").mkdir()
    for number in range(20):
        (tree / "a" / f"{number}.txt").write_text(f"file {number}")
    (tree / "a" / "b" / "zero").touch()
    (tree / "link").symlink_to("a")
    os.mkfifo(tree / "fifo")
    sent = folder.upload(tree, "copy/of it")
    assert sent.files == 21
    assert sorted(name for name, _ in sent.left_out) == ["copy/of it/fifo", "copy/of it/link"]
    again = folder.upload(tree, "copy/of it", skip_same=True)
    assert (again.files, again.unchanged) == (0, 21)
    back = folder.download("copy/of it", tmp_path / "back")
    assert (back.files, back.complete) == (21, True)
    (tree / "link").unlink()
    (tree / "fifo").unlink()
    assert contents(tmp_path / "back") == contents(tree)
    assert folder.download("copy/of it", tmp_path / "back").unchanged == 21


def contents(top: Path) -> dict[str, bytes | None]:
    found = sorted(top.rglob("*"))
    return {str(one.relative_to(top)): None if one.is_dir() else one.read_bytes() for one in found}


def test_one_file_that_fails_does_not_stop_the_others(folder: VFolder, tmp_path: Path) -> None:
    folder.mkdir("to/taken")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "taken").write_text("a directory has the name")
    (tree / "fine").write_text("1")
    sent = folder.upload(tree, "to")
    assert sent.files == 1
    assert [name for name, _ in sent.failed] == ["to/taken"]
    assert folder.read("to/fine") == b"1"


def test_a_ticket_needs_no_key(folder: VFolder) -> None:
    folder.write("a", b"1")
    folder.write("b", b"2")
    ticket = folder.download_ticket("a")
    assert ticket.url not in repr(ticket)
    assert requests.get(ticket.url, timeout=60).content == b"1"
    packed = requests.get(folder.download_ticket("a", "b").url, timeout=60)
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert sorted(archive.namelist())[-2:] == ["a", "b"]


# -- One-way synchronization -----------------------------------------------------------------------
def test_a_directory_is_synchronized_up(folder: VFolder, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "sub").mkdir(parents=True)
    (top / "a").write_text("a")
    (top / "sub/b").write_text("bb")
    (top / "link").symlink_to("a")
    (top / ".0.vfolder-part").write_text("of a download")
    folder.write("to/old/c", b"c")
    plan = folder.sync_up(top, "to", SyncOptions(delete=True, dry_run=True))
    assert [(one.kind, one.path, one.reason) for one in plan.actions] == [
        ("mkdir", "sub", "new"),
        ("copy", "a", "new"),
        ("copy", "sub/b", "new"),
        ("delete", "old", "extra"),
    ]
    assert [one.path for one in folder.walk("to")] == ["to/old", "to/old/c"]
    done = folder.sync_up(top, "to", SyncOptions(delete=True))
    assert (done.files, done.deleted, done.failed) == (2, 1, [])
    assert [one.path for one in folder.walk("to")] == ["to/a", "to/sub", "to/sub/b"]
    again = folder.sync_up(top, "to")
    assert (again.files, again.unchanged, [path for path, _ in again.left_out]) == (0, 2, ["link"])
    folder.write("to/a", b"z")  # of the same size, and later
    assert folder.sync_up(top, "to").files == 0
    assert folder.sync_up(top, "to", SyncOptions(checksum=True)).files == 1
    assert folder.read("to/a") == b"a"
    with pytest.raises(FileNotFoundError):
        folder.sync_up(tmp_path / "absent", "to", SyncOptions(delete=True))


def test_a_directory_is_synchronized_down(folder: VFolder, tmp_path: Path) -> None:
    folder.mkdir("from/empty")
    folder.write("from/a", b"a")
    folder.write("from/sub/b", b"bb")
    top, outside = tmp_path / "top", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    done = folder.sync_down("from", top)
    assert (done.files, done.unchanged) == (2, 0)
    assert folder.sync_down("from", top).unchanged == 2
    (top / "sub/b").unlink()
    (top / "sub").rmdir()
    (top / "sub").symlink_to(outside)  # nothing is written or removed through it
    (top / "extra").symlink_to(outside)
    kept = folder.sync_down("from", top)
    assert ([path for path, _ in kept.failed], os.listdir(outside)) == (["sub"], ["kept"])
    done = folder.sync_down("from", top, SyncOptions(delete=True))
    assert (done.files, done.deleted, os.listdir(outside)) == (1, 2, ["kept"])
    assert sorted(os.listdir(top)) == ["a", "empty", "sub"]
    os.utime(top / "a", (1, 1))
    folder.write("from/late", b"1")
    changed = folder.sync_down("from", top, SyncOptions(dry_run=True)).actions
    assert [(one.path, one.reason) for one in changed] == [("a", "time"), ("late", "new")]
    assert folder.sync_down("from", top, SyncOptions(checksum=True)).files == 1
    with pytest.raises(errors.EntryNotFound):
        folder.sync_down("absent", top, SyncOptions(delete=True))


def test_nothing_is_removed_after_a_copy_that_failed(folder: VFolder, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "..a").symlink_to("x")
    (top / "p").write_text("1")
    folder.write("p/x", b"1")
    folder.write("extra", b"1")
    (top / "gone").write_text("1")

    def vanish(progress: object) -> None:
        (top / "gone").unlink(missing_ok=True)

    done = folder.sync_up(top, "", SyncOptions(delete=True), on_progress=vanish)
    assert ([path for path, _ in done.failed], done.delete_refused is None) == (["gone"], False)
    assert folder.exists("extra")


# -- People ----------------------------------------------------------------------------------------
def test_sharing_and_what_others_may_not(people: People, folder: VFolder) -> None:
    guest = people.person()
    with other(people, guest) as theirs:
        with pytest.raises(errors.VFolderNotFound):
            theirs.vfolder(folder.reference).info()
        grant = folder.share(guest.word, "ro", expires_at="2999-01-01T00:00:00Z", note="look")
        assert (grant.permission, grant.note) == ("ro", "look")
        folder.write("a", b"1")
        seen = theirs.vfolder(folder.reference)
        wait_for(lambda: _may(seen))
        assert seen.read("a") == b"1"
        with pytest.raises(errors.AccessForbidden) as caught:
            seen.write("a", b"2")
        assert (caught.value.needed, caught.value.have) == ("rw", "ro")
        assert [one.id for one in seen.grants()] == [grant.id]
        changed = folder.change_grant(grant.id, permission="rw", expires_at=None)
        assert (changed.permission, changed.expires_at, changed.note) == ("rw", None, "look")
        seen.revoke_grant(grant.id)
        assert list(folder.grants()) == []


def _may(folder: VFolder) -> bool:
    try:
        folder.refresh()
    except errors.VFolderNotFound:
        return False
    return True


def test_a_vfolder_is_changed_deleted_restored_and_purged(client: Client, folder: VFolder) -> None:
    name = f"renamed {uuid4().hex}"
    revision = folder.info().revision
    assert folder.change(name=name, revision=revision).name == name
    with pytest.raises(errors.RevisionChanged):
        folder.change(name="late", revision=revision)
    folder.write("a", b"1")
    folder.delete().wait()
    wait_for(lambda: [one for one in client.vfolders(trashed=True) if one.name == name])
    folder.restore().wait()
    wait_for(lambda: _may(folder) and not folder.info().trashed)
    assert folder.read("a") == b"1"
    folder.delete(keep_seconds=3600).wait()
    wait_for(lambda: _may(folder) and folder.info().trashed)
    folder.purge().wait()
    wait_for(lambda: not _may(folder))


def test_jobs_are_listed_and_looked_at(client: Client, folder: VFolder) -> None:
    folder.write("a", b"1")
    job = folder.remove("a")
    assert job.wait(timeout_seconds=60).state == "succeeded"
    assert [one.id for one in client.jobs.list(verb="delete-files")] == [job.id]
    assert client.jobs.log(job.id)
    assert job.refresh().done
    with pytest.raises(errors.NotCancellable):
        job.cancel()
    with pytest.raises(errors.JobNotFound):
        client.jobs.get(str(uuid4()))


def test_keys_are_made_rotated_and_revoked(people: People, client: Client) -> None:
    made = client.keys.create(["files:read", "keys"], name="reader", expires_in_days=1)
    assert made.key
    assert made.key not in repr(made)
    with Client(people.door.url, made.key) as reader:
        assert reader.me()["credential"]["id"] == made.id
        with pytest.raises(errors.AccessForbidden):
            reader.create_vfolder("mine", volume="local")
    rotated = client.keys.rotate(made.id, overlap_seconds=0)
    assert rotated.key
    assert client.keys.rename(made.id, "other").name == "other"
    assert made.id in [one.id for one in client.keys.all()]
    client.keys.revoke(made.id)

    def refused() -> bool:
        with Client(people.door.url, rotated.key or "") as late:
            try:
                late.me()
            except errors.NotAuthenticated:
                return True
        return False

    wait_for(refused)


def test_a_wrong_key_is_named(people: People) -> None:
    with Client(people.door.url, "vfk_nonsense") as client, pytest.raises(errors.NotAuthenticated):
        client.me()
