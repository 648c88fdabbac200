"""A bucket of a real S3 server: every kind of key and size, listings, copies, deletions."""

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from backends.entries import ContinuedUpload
from backends.systems.s3 import (
    Bucket,
    BucketNotFound,
    ObjectChanged,
    ObjectNotFound,
    ObjectRefused,
    StoredObject,
    removal,
)
from backends.systems.s3 import bucket as bucket_module
from backends.systems.s3.multipart import MIB, PART_BYTES_MIN
from core.errors import BackendFailed
from core.jobs import Released
from tests.support.object_storage import FaultyStorage, ObjectStorage

pytestmark = pytest.mark.part("seaweedfs")


@pytest.mark.parametrize("size", [0, 1, PART_BYTES_MIN, PART_BYTES_MIN + 1, 2 * PART_BYTES_MIN])
@pytest.mark.parametrize("known", [True, False])
def test_streams_of_every_size_arrive(bucket: Bucket, size: int, *, known: bool) -> None:
    data = os.urandom(size)
    bucket.upload(
        "d/file",
        io.BytesIO(data),
        size if known else None,
        content_type="text/x",
        metadata={"mtime": "1.5"},
        part_bytes=PART_BYTES_MIN,
    )
    head = bucket.head("d/file")
    assert (head.size, head.content_type, head.metadata) == (size, "text/x", {"mtime": "1.5"})
    with bucket.read("d/file") as reader:
        assert b"".join(reader) == data
    assert not list(bucket.unfinished())


def test_a_file_is_sent_in_parts_from_its_descriptor(bucket: Bucket, tmp_path: Path) -> None:
    data = os.urandom(33 * MIB)
    (tmp_path / "f").write_bytes(data)
    with (tmp_path / "f").open("rb") as file:
        bucket.upload_file("f", file.fileno(), len(data))
    assert bucket.head("f").etag.endswith("-3")
    with bucket.read("f") as reader:
        assert b"".join(reader) == data


def test_a_slow_part_holds_up_no_other(bucket: Bucket) -> None:
    """Two at a time: the first one ends after all others."""
    others_ended, ended = threading.Event(), list[int]()

    def work(number: int) -> int:
        if number == 0:
            assert others_ended.wait(60)
        return number

    for number in bucket._calls.as_they_end(work, range(10), 2):
        ended.append(number)
        if len(ended) == 9:
            others_ended.set()
    assert sorted(ended) == list(range(10))
    assert ended[-1] == 0


@pytest.mark.parametrize("error", [Released("drained"), BackendFailed("broken")])
def test_an_interrupted_upload_continues_at_its_parts(
    bucket: Bucket, faulty: FaultyStorage, tmp_path: Path, error: Exception
) -> None:
    """Any other failure leaves nothing."""
    data, ids = os.urandom(MIB) * 33, []
    (tmp_path / "f").write_bytes(data)
    behind = Bucket(faulty.endpoint, bucket.name)

    def stop(_: int) -> None:
        raise error

    def send(upload: str | None, on_part: Callable[[int], object]) -> None:
        with (tmp_path / "f").open("rb") as file:
            behind.upload_file(
                "f",
                file.fileno(),
                len(data),
                on_part=on_part,
                continued=ContinuedUpload(upload, ids.append),
            )

    with pytest.raises(type(error)):
        send(None, stop)
    interrupted = isinstance(error, Released)
    had = [part for upload, _ in bucket.unfinished() for part in upload.parts()]
    assert bool(had) == interrupted
    faulty.seen.clear()
    again: list[int] = []
    send(ids[0], again.append)
    assert faulty.count("PUT", "partNumber") == len(again) == 3 - len(had)
    assert len(ids) == (1 if interrupted else 2)
    assert not list(bucket.unfinished())
    with bucket.read("f") as reader:
        assert b"".join(reader) == data


def test_a_stream_that_is_too_short_leaves_nothing(bucket: Bucket) -> None:
    for size in (10, 2 * PART_BYTES_MIN):
        with pytest.raises(ObjectRefused, match="fewer"):
            bucket.upload("f", io.BytesIO(b"x" * (size - 1)), size, part_bytes=PART_BYTES_MIN)
    assert bucket.find("f") is None
    assert not list(bucket.unfinished())


def test_ranges_and_versions_are_read(bucket: Bucket) -> None:
    etag = bucket.put("f", b"0123456789")
    with bucket.read("f", 2, 5) as reader:
        assert (reader.size, reader.length, reader.read(100)) == (10, 3, b"234")
    with bucket.read("f", 7, etag=etag) as reader:
        assert b"".join(reader) == b"789"
    with pytest.raises(ObjectChanged):
        bucket.read("f", etag="0" * 32)
    with pytest.raises(ObjectRefused):
        bucket.read("f", 10)
    with pytest.raises(ObjectNotFound):
        bucket.read("g")


def test_an_object_is_replaced_only_under_its_precondition(bucket: Bucket) -> None:
    first = bucket.put("f", b"1", absent=True)
    with pytest.raises(ObjectChanged):
        bucket.put("f", b"2", absent=True)
    second = bucket.put("f", b"2", etag=first)
    with pytest.raises(ObjectChanged):
        bucket.put("f", b"3", etag=first)
    assert bucket.head("f").etag == second


#: SeaweedFS keeps objects in directories: names of 255 bytes, and no empty ones (`x//y`).
KEYS = ["a b+ü&<>%25", "n\nl", "c\x01\x1f", "t\t", "/".join(["k" * 204] * 4 + ["k" * 203])]


@pytest.mark.parametrize("key", KEYS)
def test_keys_are_any_text(bucket: Bucket, key: str) -> None:
    bucket.put(key, b"1")
    assert bucket.head(key).size == 1
    assert [one.key for one in bucket.walk()] == [key]
    bucket.copy(bucket.head(key), key[:-1] + "2")
    assert not list(bucket.delete_prefix(""))
    assert not list(bucket.walk())


@pytest.mark.parametrize("key", ["", "k" * 1025, "ü" * 513, "\udc80"])
def test_keys_that_no_object_can_have_are_refused(bucket: Bucket, key: str) -> None:
    for call in (bucket.head, bucket.read, bucket.delete, bucket.begin):
        with pytest.raises(ObjectRefused, match="key"):
            call(key)
    with pytest.raises(ObjectRefused, match="key"):
        bucket.presigned_get(key, 60)


def test_pages_follow_each_other(bucket: Bucket) -> None:
    for name in ("a", "b/1", "b/2", "c/1", "d"):
        bucket.put(f"l/{name}", b"x")
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = bucket.page("l/", delimiter="/", cursor=cursor, limit=2)
        seen += [one.key for one in page.objects] + list(page.prefixes)
        cursor, pages = page.cursor, pages + 1
    assert sorted(seen) == ["l/a", "l/b/", "l/c/", "l/d"]
    assert pages >= 2
    assert [one.size for one in bucket.walk("l/b")] == [1, 1]


def test_a_copy_has_the_metadata_and_is_of_the_named_object(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(11 * MIB)
    bucket.upload("f", io.BytesIO(data), len(data), content_type="text/x", metadata={"k": "v"})
    source = bucket.head("f")
    bucket.copy(source, "once")
    monkeypatch.setattr(bucket_module, "COPY_BYTES", PART_BYTES_MIN)
    bucket.copy(source, "ranges")
    for key in ("once", "ranges"):
        head = bucket.head(key)
        assert (head.content_type, head.metadata) == ("text/x", {"k": "v"})
        with bucket.read(key) as reader:
            assert b"".join(reader) == data
    gone = StoredObject("f", source.size, "0" * 32, None)
    with pytest.raises(ObjectChanged):
        bucket.copy(gone, "other")
    assert not list(bucket.unfinished())


def test_more_than_a_page_is_listed_and_removed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "PAGE_OBJECTS_MAX", 50)
    monkeypatch.setattr(removal, "BATCH_OBJECTS_MAX", 50)
    list(bucket._calls.beside(lambda n: bucket.put(f"p/{n:04}", b""), range(121), 16))
    bucket.put("q", b"")
    assert len(list(bucket.walk("p/"))) == 121
    assert not list(bucket.delete_prefix("p/"))
    assert [one.key for one in bucket.walk()] == ["q"]


def test_all_versions_are_removed(bucket: Bucket) -> None:
    bucket._calls(
        "put_bucket_versioning",
        Bucket=bucket.name,
        VersioningConfiguration={"Status": "Enabled"},
    )
    for data in (b"1", b"2"):
        bucket.put("v/f", data)
    bucket.delete("v/f")
    assert bucket.find("v/f") is None
    assert len(list(bucket._removal.versions("v/"))) == 3
    assert not list(bucket.delete_prefix("v/", versions=True))
    assert not list(bucket._removal.versions("v/"))


def test_presigned_urls_work_without_credentials(bucket: Bucket) -> None:
    requests.put(bucket.presigned_put("f", 60), b"hello", timeout=60).raise_for_status()
    answer = requests.get(bucket.presigned_get("f", 60, ContentType="text/x"), timeout=60)
    assert (answer.content, answer.headers["Content-Type"]) == (b"hello", "text/x")
    url, fields = bucket.presigned_post("g", 60, size=(0, 10))
    sent = requests.post(url, fields, files={"file": b"1234"}, timeout=60)
    assert sent.ok, sent.text
    assert bucket.head("g").size == 4
    assert not requests.post(url, fields, files={"file": b"x" * 11}, timeout=60).ok
    for seconds in (0, 604_801):
        with pytest.raises(ObjectRefused):
            bucket.presigned_get("f", seconds)


def test_a_bucket_that_is_absent_is_named_so(object_storage: ObjectStorage) -> None:
    absent = Bucket(object_storage.endpoint, "no-such-bucket")
    with pytest.raises(BucketNotFound):
        absent.check()
    with pytest.raises(BucketNotFound):
        absent.read("f")
