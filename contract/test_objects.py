"""Vfolders of objects: files sent and read, entries, drafts, copies, and what a purge removes."""

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from uuid import uuid4

import pytest

from backends.base import HasObjectFiles, MountedBackend
from backends.entries import HasObjects
from backends.fs import descriptors, layout
from contract.site import OBJECTS
from core import errors
from core.names import QuotaScope, VFolderId, VFolderPath

KEEPS = (OBJECTS,)
MIB = 1 << 20
#: One PUT, and a multipart upload.
SIZES = (0, 1, 5 * MIB, 17 * MIB + 1)
NAMES = ("a", "a b", "ü", "d/e/f", "d/e.txt", "100%", "+plus&and?", "'quote\"")
Send = Callable[..., str]


@pytest.fixture
def files(backend: MountedBackend) -> HasObjectFiles:
    """The skill of uploads."""
    found = backend.skill(HasObjectFiles)
    assert found is not None
    return found


@pytest.fixture
def objects(backend: MountedBackend) -> HasObjects:
    """The skill of everything else."""
    found = backend.skill(HasObjects)
    assert found is not None
    return found


@pytest.fixture
def send(files: HasObjectFiles, vfolder: VFolderId, tmp_path: Path) -> Send:
    """What writes a file of the vfolder and returns the id of its upload."""

    def sent(name: str, data: bytes = b"data", *, absent: bool = False) -> str:
        upload = uuid4().hex
        (tmp_path / "upload").write_bytes(data)
        with (tmp_path / "upload").open("rb") as file:
            files.send_file(
                vfolder,
                VFolderPath.parse(name),
                file.fileno(),
                len(data),
                upload=upload,
                on_work=int,
                absent=absent,
            )
        return upload

    return sent


def content(objects: HasObjects, vfolder: VFolderId, name: str, start: int = 0) -> bytes:
    reader = objects.tree(vfolder).open_object(VFolderPath.parse(name), start)
    try:
        return b"".join(iter(lambda: reader.read(MIB), b""))
    finally:
        reader.close()


def names(objects: HasObjects, vfolder: VFolderId, path: str = ".") -> list[str]:
    page = objects.tree(vfolder).list_directory(VFolderPath.parse(path))
    return sorted(item["name"] for item in page.items)


def test_a_vfolder_is_made_once_and_is_no_directory(
    backend: MountedBackend, objects: HasObjects, scope: QuotaScope
) -> None:
    vfolder = VFolderId(scope, uuid4())
    with pytest.raises(errors.QuotaScopeNotFound):
        backend.create_vfolder(vfolder)
    backend.create_scope(scope)
    with pytest.raises(errors.VFolderNotFound):
        objects.tree(vfolder)
    backend.create_vfolder(vfolder)
    with pytest.raises(errors.VFolderExists):
        backend.create_vfolder(vfolder)
    backend.check_vfolder(vfolder)
    with pytest.raises(errors.Unsupported), backend.open_vfolder(vfolder):
        pass
    with pytest.raises(errors.Unsupported):
        backend.vfolder_path(vfolder)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_arrives_and_knows_its_upload(
    files: HasObjectFiles, objects: HasObjects, vfolder: VFolderId, send: Send, size: int
) -> None:
    path, data = VFolderPath.parse("d/file"), os.urandom(size)
    assert files.sent_by(vfolder, path) is None
    upload = send("d/file", data)
    assert files.sent_by(vfolder, path) == upload
    assert files.file_size(vfolder, path) == size
    assert content(objects, vfolder, "d/file") == data
    if size:
        assert content(objects, vfolder, "d/file", start=size // 2) == data[size // 2 :]


def test_a_file_is_replaced_unless_only_an_absent_one_is_wanted(
    files: HasObjectFiles, objects: HasObjects, vfolder: VFolderId, send: Send
) -> None:
    first, path = send("f", b"first"), VFolderPath.parse("f")
    send("f", b"", absent=True)
    assert files.sent_by(vfolder, path) == first
    second = send("f", b"second")
    assert files.sent_by(vfolder, path) == second
    assert content(objects, vfolder, "f") == b"second"
    send("d/f")
    with pytest.raises(errors.EntryExists):
        send("d")
    with pytest.raises(errors.StorageError):
        send("f/below")


def test_an_upload_that_stops_shows_nothing(
    files: HasObjectFiles, objects: HasObjects, vfolder: VFolderId, tmp_path: Path
) -> None:
    size, path = SIZES[-1], VFolderPath.parse("f")
    (tmp_path / "f").write_bytes(os.urandom(size))

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with (tmp_path / "f").open("rb") as file, pytest.raises(KeyboardInterrupt):
        files.send_file(vfolder, path, file.fileno(), size, upload="u", on_work=stop)
    assert names(objects, vfolder) == []


def test_paths_that_no_object_can_have_are_refused(
    files: HasObjectFiles, vfolder: VFolderId
) -> None:
    files.check_file(vfolder, VFolderPath(("ü" * 100,)))
    for path in (VFolderPath(("k" * 200,) * 6), VFolderPath(("\udc80",))):
        with pytest.raises(errors.InvalidParameters):
            files.check_file(vfolder, path)


def test_every_name_is_listed_read_and_removed_alone(
    objects: HasObjects, vfolder: VFolderId, send: Send
) -> None:
    for name in NAMES:
        send(name, name.encode())
    assert names(objects, vfolder) == sorted({name.split("/")[0] for name in NAMES})
    for name in NAMES:
        assert content(objects, vfolder, name) == name.encode()
    tree = objects.tree(vfolder)
    found = {one.name: one.size for one in tree.entries() if not one.marker}
    assert found == {name: len(name.encode()) for name in NAMES}
    usage = tree.usage()
    assert (usage.files, usage.size_bytes) == (len(NAMES), sum(found.values()))
    tree.remove([VFolderPath.parse(NAMES[0])], recursive=False)
    assert names(objects, vfolder) == sorted({name.split("/")[0] for name in NAMES[1:]})


def test_pages_have_every_entry_once(objects: HasObjects, vfolder: VFolderId, send: Send) -> None:
    wanted = [f"{number:02}" for number in range(7)]
    for name in wanted:
        send(name, b"")
    found, cursor = [], None
    while True:
        page = objects.tree(vfolder).list_directory(VFolderPath(()), 3, cursor)
        found += [item["name"] for item in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert found == wanted


def test_directories_are_made_moved_and_stay_when_they_are_empty(
    objects: HasObjects, vfolder: VFolderId, send: Send
) -> None:
    tree, parse = objects.tree(vfolder), VFolderPath.parse
    tree.make_directory(parse("a/b"))
    with pytest.raises(errors.StorageError):
        tree.make_directory(parse("a/b"))
    send("a/b/f", b"1")
    tree.rename(parse("a/b"), "c")
    tree.move(parse("a/c/f"), parse("g"))
    assert names(objects, vfolder, "a") == ["c"]
    assert names(objects, vfolder, "a/c") == []
    assert content(objects, vfolder, "g") == b"1"
    tree.remove([parse("a")], recursive=True)
    assert names(objects, vfolder) == ["g"]


def test_directories_keep_their_attributes_in_their_markers(
    objects: HasObjects, vfolder: VFolderId, send: Send
) -> None:
    """The directory of the vfolder, a new one, and one whose first file came before its marker."""
    tree, target = objects.tree(vfolder), VFolderId(vfolder.scope, uuid4())
    send("came/first")
    places = [VFolderPath.parse(name) for name in (".", "new", "new/below", "came")]
    marks = {
        place: {"mode": f"{16832 + number}", "mtime": f"{number - 1}.000000001"}
        for number, place in enumerate(places)
    }
    for place, metadata in marks.items():
        tree.mark(place, metadata | {"uid": "1"})
        tree.mark(place, metadata)
    send("new/file")
    assert {place: dict(tree.marker_metadata(place)) for place in places} == marks
    assert names(objects, vfolder) == ["came", "new"]
    draft = objects.draft(target, "job")
    list(tree.copy_all(draft))
    objects.publish_draft(target, "job")
    cloned = objects.tree(target)
    assert {place: dict(cloned.marker_metadata(place)) for place in places} == marks
    assert cloned.usage() == tree.usage()
    assert list(cloned.drop(["new/file", "none", "new/none"])) == []
    assert (names(objects, target, "new"), names(objects, vfolder, "new")) == (
        ["below"],
        ["below", "file"],
    )
    other = objects.draft(VFolderId(vfolder.scope, uuid4()), "other")
    for one in tree.entries():
        other.take(tree, one)
    for place in places[1:]:
        assert other.marker_metadata(place) == marks[place]


def test_a_reader_gets_one_version_of_an_object(
    objects: HasObjects, vfolder: VFolderId, send: Send
) -> None:
    send("f", b"first")
    head = objects.tree(vfolder).head(VFolderPath.parse("f"))
    assert head is not None
    send("f", b"other")
    with pytest.raises(errors.Conflict):
        objects.tree(vfolder).open_object(VFolderPath.parse("f"), etag=head.etag)


def test_a_draft_is_published_once_or_leaves_nothing(
    backend: MountedBackend, objects: HasObjects, vfolder: VFolderId, send: Send
) -> None:
    for name in NAMES:
        send(name, b"data")
    source, target = objects.tree(vfolder), VFolderId(vfolder.scope, uuid4())
    draft = objects.draft(target, "job")
    assert sum(source.copy_all(draft)) == 4 * len(NAMES)
    assert list(source.differences(draft, by_content=True)) == []
    with pytest.raises(errors.VFolderNotFound):
        backend.check_vfolder(target)
    objects.publish_draft(target, "job")
    assert names(objects, target) == names(objects, vfolder)
    other = objects.draft(target, "late")
    list(source.copy_all(other))
    with pytest.raises(errors.VFolderExists):
        objects.publish_draft(target, "late")
    objects.drop_draft(target, "late")
    objects.drop_draft(target, "late")
    assert list(other.entries()) == []
    assert names(objects, target) == names(objects, vfolder)


def test_a_purge_takes_the_objects_and_no_others(
    backend: MountedBackend, objects: HasObjects, vfolder: VFolderId, send: Send
) -> None:
    """A new vfolder of the same id keeps its own."""
    send("d/f", b"old")
    trash = layout.trash(vfolder.scope, "job").parent
    with (
        backend.root() as root,
        descriptors.made(trash, root) as directory,
        descriptors.opened(vfolder.directory.parent, root) as parent,
    ):
        os.rename(vfolder.directory.name, "job", src_dir_fd=parent, dst_dir_fd=directory)
        old = objects.tree_at(PurePosixPath("job"), directory)
        backend.create_vfolder(vfolder)
        send("d/f", b"new")
        removed: list[int] = []
        assert list(old.remove_all(removed.append)) == []
        assert sum(removed) >= 1
        backend.before_purge(directory, "job", vfolder)
        backend.before_purge(directory, "job", vfolder)
        assert list(old.entries()) == []
    assert content(objects, vfolder, "d/f") == b"new"


def test_a_sweep_leaves_what_is_young(objects: HasObjects) -> None:
    assert objects.sweep() == 0
