"""A volume in a bucket of a real server: vfolders, files and directories of objects."""

import os
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import Mount, capabilities
from backends.entries import entries, listing, object_tree
from backends.quota import quick_usage
from backends.systems.s3 import ObjectRefused, StoredObject
from backends.systems.s3 import backend as backend_module
from backends.systems.s3 import bucket as bucket_module
from backends.systems.s3.backend import JOB_ATTEMPTS, S3Backend
from backends.systems.s3.tree import VFolderObjects
from backends.volumes import operations
from core.errors import (
    ConfigurationError,
    EntryExists,
    EntryNotFound,
    EntryRefused,
    Unsupported,
    VFolderExists,
    VFolderNotFound,
)
from core.jobs import Cancelled
from core.names import VFolderId, VFolderPath
from core.settings.report import masked
from tests.support.object_storage import Fault, FaultyStorage

pytestmark = pytest.mark.part("seaweedfs")


def path(text: str) -> VFolderPath:
    return VFolderPath.parse(text)


def fill(tree: VFolderObjects, *names: str) -> None:
    for name in names:
        tree.bucket.put(tree.prefix + name, name.encode())


def names(tree: VFolderObjects, below: str = ".") -> list[tuple[str, str]]:
    return sorted((i["name"], i["type"][0]) for i in tree.list_directory(path(below)).items)


def test_a_vfolder_is_made_once_and_has_its_record(backend: S3Backend, vfolder: VFolderId) -> None:
    backend.check_vfolder(vfolder)
    with pytest.raises(VFolderExists):
        backend.create_vfolder(vfolder)
    other = VFolderId(vfolder.scope, uuid4())
    with pytest.raises(VFolderNotFound):
        backend.check_vfolder(other)
    with pytest.raises(VFolderNotFound):
        backend.tree(other)
    assert backend.tree(vfolder).prefix.startswith(f"volume/{vfolder.directory}.")


def test_what_needs_a_directory_is_refused_by_name(backend: S3Backend, vfolder: VFolderId) -> None:
    with pytest.raises(Unsupported, match="bucket"), backend.open_vfolder(vfolder):
        pass
    with pytest.raises(VFolderNotFound), backend.open_vfolder(VFolderId(vfolder.scope, uuid4())):
        pass
    with pytest.raises(Unsupported, match="mount"):
        backend.vfolder_path(vfolder)
    assert capabilities(backend) == ["vfolder"]
    assert backend.capacity().capacity_bytes is None


def test_files_and_directories_are_listed(tree: VFolderObjects) -> None:
    fill(tree, "f", "a/b/c", "a/x", "k/", "ü n")
    assert names(tree) == [("a", "D"), ("f", "F"), ("k", "D"), ("ü n", "F")]
    assert names(tree, "a") == [("b", "D"), ("x", "F")]
    assert names(tree, "k") == []
    with pytest.raises(EntryRefused, match="does not exist"):
        tree.list_directory(path("none"))
    with pytest.raises(EntryRefused, match="not a directory"):
        tree.list_directory(path("f"))


def test_pages_of_a_directory_have_every_entry_once(tree: VFolderObjects) -> None:
    fill(tree, *(f"d/{n}" for n in range(7)), *(f"d/s{n}/x" for n in range(6)))
    found: list[str] = []
    page = tree.list_directory(path("d"), limit=4)
    while True:
        found += [item["name"] for item in page.items]
        assert len(page.items) <= 4
        if page.next is None:
            break
        page = tree.list_directory(path("d"), 4, page.next)
    assert sorted(found) == sorted([*map(str, range(7)), *(f"s{n}" for n in range(6))])


def test_directories_are_made_and_kept_when_they_become_empty(tree: VFolderObjects) -> None:
    tree.make_directory(path("a/b/c"))
    with pytest.raises(EntryRefused, match="exists"):
        tree.make_directory(path("a/b"))
    tree.make_directory(path("a/b"), exist_ok=True)
    with pytest.raises(EntryRefused, match="no directory"):
        tree.make_directory(path("x/y"), parents=False)
    fill(tree, "f")
    with pytest.raises(EntryRefused, match="not a directory"):
        tree.make_directory(path("f/g"))
    tree.remove([path("a/b/c")], recursive=True)
    assert names(tree, "a/b") == []
    assert names(tree) == [("a", "D"), ("f", "F")]


def test_entries_are_removed(tree: VFolderObjects) -> None:
    fill(tree, "f", "d/1", "d/2/3", "keep")
    tree.remove([path("d"), path("none")], recursive=False)
    assert names(tree, "d") == [("1", "F"), ("2", "D")]
    tree.remove([path("f"), path("d")], recursive=True)
    assert names(tree) == [("keep", "F")]


def test_entries_are_moved(tree: VFolderObjects) -> None:
    fill(tree, "f", "d/1", "d/2/3", "e/x")
    tree.rename(path("f"), "g")
    tree.move(path("g"), path("d"))
    assert names(tree, "d") == [("1", "F"), ("2", "D"), ("g", "F")]
    tree.move(path("d"), path("e"))
    assert names(tree) == [("e", "D")]
    assert names(tree, "e/d/2") == [("3", "F")]
    for source, target, why in (
        ("e", "e/d", "inside"),
        ("none", "new", "does not exist"),
        ("e/x", "away/x", "no directory"),
        ("e/x", "e/d/1/y", "no directory"),
    ):
        with pytest.raises(EntryRefused, match=why):
            tree.move(path(source), path(target))
    with tree.open_object(path("e/d/g")) as reader:
        assert reader.read(9) == b"f"


def test_entries_get_exactly_the_path(tree: VFolderObjects) -> None:
    fill(tree, "f", "g", "d/1")
    for target, over in (("g", False), ("d", True), (".", True)):
        with pytest.raises(EntryExists):
            tree.relocate(path("f"), path(target), replace=over)
    tree.relocate(path("f"), path("g"), replace=True)
    tree.relocate(path("d"), path("e"), replace=False)
    assert names(tree) == [("e", "D"), ("g", "F")]
    found = tree.describe_entry(path("g"))
    assert (found.item["name"], found.item["type"], bool(found.etag)) == ("g", "FILE", True)
    assert tree.describe_entry(path("e")).item["type"] == "DIRECTORY"
    with pytest.raises(EntryNotFound):
        tree.describe_entry(path("f"))


def test_files_are_written_and_read(tree: VFolderObjects, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    with (tmp_path / "f").open("rb") as file:
        tree.put_file(path("a/f"), file.fileno(), 10)
        tree.put_file(path("empty"), file.fileno(), 0)
        with pytest.raises(EntryExists, match="directory"):
            tree.put_file(path("a"), file.fileno(), 10)
        with pytest.raises(EntryRefused, match="not a directory"):
            tree.put_file(path("a/f/g"), file.fileno(), 10)
        with pytest.raises(ObjectRefused, match="key"):
            tree.put_file(path("/".join(["k" * 250] * 4)), file.fileno(), 1)
    first = tree.read_piece(path("a/f"), 2, 3)
    assert first.data == b"234"
    assert tree.read_piece(path("a/f"), 10, 3, first.inode).data == b""
    fill(tree, "a/f")
    with pytest.raises(EntryRefused, match="replaced"):
        tree.read_piece(path("a/f"), 0, 3, first.inode)
    with pytest.raises(EntryNotFound):
        tree.open_object(path("a"))
    assert tree.is_directory(path("a"))
    assert not tree.is_directory(path("a/f"))
    with pytest.raises(EntryNotFound):
        tree.is_directory(path("none"))


def test_a_vfolder_is_counted(tree: VFolderObjects) -> None:
    fill(tree, "f", "d/1", "d/2/3", "d/2/4", "e/")
    sums = tree.count()
    assert sums is not None
    assert (sums.entries, sums.size_bytes) == (7, 1 + 3 + 5 + 5)
    seen: list[int] = []
    usage = tree.usage(seen.append)
    assert (usage.entries, usage.size_bytes, sum(seen)) == (7, 14, 14)


def test_keys_that_no_path_can_have_do_no_harm(
    tree: VFolderObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other programs write to buckets too; the listing has what a path can name."""
    fill(tree, "a", "c\x01d", "k" * 200)
    page = tree.bucket.page
    assert [name for name, _ in names(tree)] == sorted(["a", "c\x01d", "k" * 200])

    def with_odd_keys(prefix: str, **more: object) -> object:
        found = page(prefix, **more)  # type: ignore[arg-type] # as given
        odd = tuple(f"{prefix}{name}/" for name in ("", "..", "."))
        return type(found)(found.objects, odd, None)

    monkeypatch.setattr(tree.bucket, "page", with_odd_keys)
    assert [name for name, _ in names(tree)] == sorted(["a", "c\x01d", "k" * 200])


def test_entries_say_which_keys_are_paths(
    tree: VFolderObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["", "a", "a/b", "d/", "a//b", "../x", "./x", "x/..", "/x", "n\x00l", "k" * 256]
    found = [StoredObject(tree.prefix + key, 1, "e", None) for key in keys]
    monkeypatch.setattr(tree.bucket, "walk", lambda _, **__: iter(found))
    seen = {one.name: (one.path, one.marker) for one in tree.entries()}
    paths = {"a": path("a"), "a/b": path("a/b"), "d/": path("d")}
    assert {name: found for name, (found, _) in seen.items() if found} == paths
    assert set(seen) == set(keys) - {""}
    assert [name for name, (_, marker) in seen.items() if marker] == ["d/"]


def test_a_deleted_vfolder_leaves_no_object_after_its_purge(
    backend: S3Backend, vfolder: VFolderId, tree: VFolderObjects, tmp_path: Path
) -> None:
    """While it is in the trash a vfolder of the same id has other keys."""
    fill(tree, "f", "d/1")
    trash = tmp_path / "trash"
    trash.mkdir()
    (tmp_path / vfolder.directory).rename(trash / "job")
    backend.create_vfolder(vfolder)
    again = backend.tree(vfolder)
    assert again.prefix != tree.prefix
    fill(again, "mine")
    descriptor = os.open(trash, os.O_RDONLY)
    backend.before_purge(descriptor, "job", vfolder)
    backend.before_purge(descriptor, "job", vfolder)
    os.close(descriptor)
    assert not list(tree.bucket.walk(tree.prefix))
    assert names(again) == [("mine", "F")]


def test_a_draft_is_published_once(
    backend: S3Backend, vfolder: VFolderId, tree: VFolderObjects
) -> None:
    fill(tree, "f", "d/1")
    tree.mark(path("empty"), {})
    target = VFolderId(vfolder.scope, uuid4())
    for _ in range(2):  # an interrupted job makes it again
        draft = backend.draft(target, "job")
        assert sum(tree.copy_all(draft)) == 4
    with pytest.raises(VFolderNotFound):
        backend.check_vfolder(target)
    backend.publish_draft(target, "job")
    assert names(backend.tree(target)) == [("d", "D"), ("empty", "D"), ("f", "F")]
    lost = backend.draft(target, "other")
    fill(lost, "x")
    with pytest.raises(VFolderExists):
        backend.publish_draft(target, "other")
    backend.drop_draft(target, "other")
    backend.drop_draft(target, "other")
    assert not list(lost.bucket.walk(lost.prefix))
    assert names(backend.tree(target)) == [("d", "D"), ("empty", "D"), ("f", "F")]


def test_operations_find_their_way(backend: S3Backend, vfolder: VFolderId) -> None:
    object_tree.perform(backend, vfolder, entries.make_directory, path("d"))
    page = object_tree.perform(backend, vfolder, listing.list_directory, path(""))
    assert [item["name"] for item in page.items] == ["d"]
    sums = object_tree.perform(backend, vfolder, quick_usage.count)
    assert sums == quick_usage.Sums(1, 0, 0)
    object_tree.perform(backend, vfolder, operations.check_inside, path("x"))
    with pytest.raises(EntryExists):
        object_tree.perform(backend, vfolder, operations.check_free, path("d"))

    def open_it_all(_: int) -> None:
        """Have no counterpart."""

    with pytest.raises(Unsupported, match="open it all"):
        object_tree.perform(backend, vfolder, open_it_all)


def test_copies_are_compared(backend: S3Backend, vfolder: VFolderId, tree: VFolderObjects) -> None:
    fill(tree, "a", "d/b")
    draft = backend.draft(VFolderId(vfolder.scope, uuid4()), "job")
    list(tree.copy_all(draft))
    assert not list(tree.differences(draft, by_content=True))
    draft.bucket.put(f"{draft.prefix}a", b"b")
    assert not list(tree.differences(draft, by_content=False))
    assert list(tree.differences(draft, by_content=True)) == ["a"]
    draft.bucket.put(f"{draft.prefix}a", b"longer")
    assert list(tree.differences(draft, by_content=False)) == ["a"]
    draft.bucket.put(f"{draft.prefix}z", b"")
    assert "the number of objects" in list(tree.differences(draft, by_content=False))


def test_what_changes_during_a_copy_is_copied_as_it_is_then(
    tree: VFolderObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tree, "gone", "replaced", "same")
    found = list(tree.bucket.walk(tree.prefix))
    tree.bucket.delete(f"{tree.prefix}gone")
    tree.bucket.put(f"{tree.prefix}replaced", b"newer content")
    pairs = [(one, one.key.replace(tree.prefix, "copy/")) for one in found]
    assert sorted(tree.bucket.copy_each(pairs)) == [0, 4, 13]
    assert [one.key for one in tree.bucket.walk("copy/")] == ["copy/replaced", "copy/same"]
    monkeypatch.setattr(bucket_module, "COPY_BYTES", -1)  # the way of big objects
    assert sorted(tree.bucket.copy_each(pairs)) == [0, 4, 13]


def test_paths_that_are_no_keys_are_refused_before_any_byte(
    backend: S3Backend, vfolder: VFolderId
) -> None:
    backend.check_file(vfolder, path("ü/n\x01l"))
    with pytest.raises(ObjectRefused, match="1024"):
        backend.check_file(vfolder, path("/".join(["k" * 250] * 4)))
    with pytest.raises(ObjectRefused, match="UTF-8"):
        backend.check_file(vfolder, path("\udc80"))


def test_a_sweep_aborts_uploads_of_processes_that_died(
    backend: S3Backend, tree: VFolderObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.bucket.begin(f"{tree.prefix}f").put_part(1, b"x", 1)
    other = tree.bucket.begin("not-of-the-volume")
    assert backend.sweep() == 0
    monkeypatch.setattr(backend_module, "UNFINISHED_SECONDS", -60)
    assert backend.sweep() == 1
    assert [one.key for one, _ in tree.bucket.unfinished()] == [other.key]


@pytest.mark.parametrize(
    "wrong",
    [{}, {"bucket": 1}, {"bucket": "b", "access_key": "a"}, {"bucket": "b", "client_key": "k"}],
)
def test_wrong_options_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"\[volume.v.options\]"):
        S3Backend(Mount("v", tmp_path, wrong))


def test_the_secret_of_a_volume_is_not_printed() -> None:
    for key in ("access_key", "secret_key", "session_token"):
        assert "value" not in masked(f"volume.objects.options.{key}", "value")


def test_a_job_that_ends_waits_for_no_storage(
    backend: S3Backend, vfolder: VFolderId, faulty: FaultyStorage
) -> None:
    """The storage is overloaded for good; without the run's check the wait is two minutes."""
    faulty.faults = [Fault("GET", ".", 10**9, status=503, code="SlowDown")]
    options = {**backend.mount.options, "endpoint": faulty.url}
    behind = S3Backend(replace(backend.mount, options=options))

    def check() -> None:
        if faulty.seen:
            raise Cancelled

    with behind.held():
        behind.heed(check)
        with pytest.raises(Cancelled):
            list(behind.tree(vfolder).entries())
    assert len(faulty.seen) <= 1 + JOB_ATTEMPTS  # the first one goes without boto3
