"""Vfolders in one bucket stay apart; what goes wrong in one changes no object of another."""

import os
from pathlib import Path, PurePosixPath
from uuid import uuid4

import pytest

from backends.entries import count_objects
from backends.fs import descriptors
from backends.systems.s3 import Bucket, ObjectRefused, ObjectStorageUnavailable
from backends.systems.s3.backend import S3Backend
from backends.systems.s3.tree import VFolderObjects
from core.errors import EntryRefused, StorageError, VFolderExists, VolumeUnavailable
from core.names import VFolderId, VFolderPath
from tests.support.object_storage import Fault, FaultyStorage, error_body

pytestmark = pytest.mark.part("seaweedfs")


def path(text: str) -> VFolderPath:
    return VFolderPath.parse(text)


def keys(tree: VFolderObjects) -> list[str]:
    return sorted(one.key[len(tree.prefix) :] for one in tree.bucket.walk(tree.prefix))


def test_the_purge_of_an_empty_vfolder_keeps_the_one_that_followed_it(
    backend: S3Backend, vfolder: VFolderId, tmp_path: Path
) -> None:
    trash = tmp_path / "trash"
    trash.mkdir()
    (tmp_path / vfolder.directory).rename(trash / "job")
    backend.create_vfolder(vfolder)
    tree = backend.tree(vfolder)
    tree.bucket.put(f"{tree.prefix}mine", b"1")
    descriptor = os.open(trash, os.O_RDONLY)
    backend.before_purge(descriptor, "job", vfolder)
    os.close(descriptor)
    assert keys(tree) == ["mine"]


def test_a_draft_that_comes_too_late_takes_no_object_with_it(
    backend: S3Backend, vfolder: VFolderId
) -> None:
    target = VFolderId(vfolder.scope, uuid4())
    draft = backend.draft(target, "job")
    backend.create_vfolder(target)
    live = backend.tree(target)
    live.bucket.put(f"{live.prefix}mine", b"1")
    draft.bucket.put(f"{draft.prefix}copy", b"2")
    with pytest.raises(VFolderExists):
        backend.publish_draft(target, "job")
    assert keys(live) == ["mine"]
    backend.drop_draft(target, "job")
    assert keys(live) == ["mine"]


def test_the_removal_of_what_is_absent_makes_nothing(tree: VFolderObjects) -> None:
    tree.bucket.put(f"{tree.prefix}f", b"1")
    tree.remove([path("none/x"), path("f/x"), path("a/b/c")], recursive=True)
    assert keys(tree) == ["f"]


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a\tb", "a&<b", "a\x01b", " a ", "a+b%20", "ü"])
def test_odd_names_are_copied_moved_and_removed_alone(tree: VFolderObjects, name: str) -> None:
    tree.bucket.put(f"{tree.prefix}d/{name}", b"1")
    tree.bucket.put(f"{tree.prefix}d/a", b"2")
    tree.move(path("d"), path("e"))
    assert keys(tree) == sorted(["e/a", f"e/{name}"])
    assert [one["name"] for one in tree.list_directory(path("e")).items] == sorted(["a", name])
    assert not list(tree.bucket.delete_many([f"{tree.prefix}e/{name}"]))
    assert keys(tree) == ["e/a"]


def test_an_open_upload_of_an_odd_name_is_swept(tree: VFolderObjects) -> None:
    for name in ("a\rb", "a+b c%20", "ü"):
        tree.bucket.begin(f"{tree.prefix}{name}")
    for upload, _ in list(tree.bucket.unfinished(tree.prefix)):
        upload.abort()
    assert not list(tree.bucket.unfinished(tree.prefix))


def test_open_uploads_are_found_where_a_key_is_no_xml(
    faulty: FaultyStorage, bucket: Bucket
) -> None:
    """Amazon encodes such a key only where the request asks for that."""
    behind = Bucket(faulty.endpoint, bucket.name)
    behind.begin("one")
    page = (
        "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>%s</Key><UploadId>u"
        "</UploadId><Initiated>2026-01-01T00:00:00Z</Initiated></Upload></ListMultipartUploadsResult>"
    )
    faulty.faults = [
        Fault(
            "GET",
            "uploads.*encoding-type=url|encoding-type=url.*uploads",
            9,
            body=(page % "a%01+b").encode(),
        ),
        Fault("GET", "uploads", 9, body=(page % "a\x01 b").encode()),
    ]
    assert [one.key for one, _ in behind.unfinished()] == ["a\x01 b"]


@pytest.mark.parametrize("name", ["\udc80", "k" * 250 + "/" + "\udcff"])
def test_a_name_that_is_no_text_is_refused_by_every_call(tree: VFolderObjects, name: str) -> None:
    wrong = path(name)
    tree.bucket.put(f"{tree.prefix}f", b"1")
    for call in (
        lambda: tree.list_directory(wrong),
        lambda: tree.list_directory(path("."), 1, name),
        lambda: tree.make_directory(wrong),
        lambda: tree.remove([wrong], recursive=True),
        lambda: tree.move(path("f"), wrong),
        lambda: tree.move(wrong, path("g")),
        lambda: tree.is_directory(wrong),
        lambda: tree.check_free(wrong),
        lambda: tree.open_object(wrong),
        lambda: tree.read_piece(wrong, 0, 1),
        lambda: tree.head(wrong),
    ):
        with pytest.raises((ObjectRefused, EntryRefused)):
            call()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("body", [b"<html>sorry</html>", b"<html", b"", b"{}"])
def test_an_answer_that_is_no_xml_is_an_error_of_the_storage(
    faulty: FaultyStorage, bucket: Bucket, body: bytes
) -> None:
    behind = Bucket(faulty.endpoint, bucket.name)
    behind.put("f", b"1")
    source = next(behind.walk())
    for method, target, call in (
        ("GET", "list-type=2", behind.page),
        ("POST", "delete", lambda: list(behind.delete_many(["f"]))),
        ("POST", "uploads", lambda: behind.begin("g")),
        ("PUT", "/copy", lambda: behind.copy(source, "copy")),
    ):
        faulty.faults = [Fault(method, target, 100, body=body or b" ")]
        with pytest.raises(StorageError):
            call()  # type: ignore[no-untyped-call]


def test_a_batch_that_is_overloaded_in_part_is_repeated(
    faulty: FaultyStorage, bucket: Bucket
) -> None:
    patient = Bucket(faulty.endpoint, bucket.name, patience_seconds=30)
    for name in ("a", "b"):
        patient.put(name, b"1")
    partial = (
        b"<DeleteResult>"
        + error_body("SlowDown").partition(b"?>")[2].replace(b"<Error>", b"<Error><Key>a</Key>")
        + b"</DeleteResult>"
    )
    faulty.faults = [Fault("POST", "delete", 2, body=partial)]
    assert not list(patient.delete_many(["a", "b"]))
    assert not list(patient.walk())
    hasty = Bucket(faulty.endpoint, bucket.name)
    faulty.faults = [Fault("POST", "delete", 100, body=partial)]
    with pytest.raises(ObjectStorageUnavailable):
        list(hasty.delete_many(["a"]))


def test_nothing_is_absent_in_a_bucket_that_is_missing(
    backend: S3Backend, vfolder: VFolderId, tree: VFolderObjects
) -> None:
    tree.bucket.put(f"{tree.prefix}f", b"1")
    tree.bucket._calls("delete_object", Bucket=tree.bucket.name, Key=f"{tree.prefix}f")
    tree.bucket._calls("delete_bucket", Bucket=tree.bucket.name)
    target = VFolderId(vfolder.scope, uuid4())
    for call in (
        lambda: tree.head(path("f")),
        lambda: tree.open_object(path("f")),
        lambda: tree.read_piece(path("f"), 0, 1),
        lambda: tree.list_directory(path("")),
        lambda: tree.remove([path("f")], recursive=False),
        tree.usage,
        lambda: list(tree.remove_all()),
        lambda: list(tree.copy_all(backend.draft(target, "job"))),
        lambda: backend.sent_by(vfolder, path("f")),
        backend.probe,
        backend.sweep,
    ):
        with pytest.raises(VolumeUnavailable):
            call()  # type: ignore[no-untyped-call]


def test_a_directory_without_a_record_counts_nothing(
    backend: S3Backend, vfolder: VFolderId, tree: VFolderObjects
) -> None:
    """A vfolder that is deleted during the count, or what an administrator made."""
    tree.bucket.put(f"{tree.prefix}f", b"123")
    lost = VFolderId(vfolder.scope, uuid4())
    with backend.root() as root, descriptors.made(PurePosixPath(lost.directory), root):
        pass
    with backend.open_scope(vfolder.scope) as directory:  # type: ignore[arg-type]
        assert count_objects(backend, directory) == 3
