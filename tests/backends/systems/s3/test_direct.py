"""Requests without boto3's machinery: the same answers, and boto3 where they do not succeed."""

import os
from pathlib import Path
from typing import Any

import pytest

from backends.systems.s3 import Bucket, ObjectNotFound, ObjectRefused, S3Endpoint
from backends.systems.s3.endpoint import connection
from backends.systems.s3.multipart import PART_BYTES
from core.errors import StorageError
from tests.support.object_storage import Fault, FaultyStorage

pytestmark = pytest.mark.part("seaweedfs")

#: A header that boto3 gives to each of its requests.
OF_BOTO3 = "amz-sdk-invocation-id"
KEYS = ["a", "d/ü +%20&?=#", "x//y", "c\x01d", "~", "k" * 255]
METADATA = {"mtime": "1.5", "mode": "33188", "spaces": "a  b"}


@pytest.fixture
def behind(bucket: Bucket, faulty: FaultyStorage) -> Bucket:
    return Bucket(faulty.endpoint, bucket.name)


@pytest.mark.parametrize("key", KEYS)
def test_answers_are_those_of_boto3(behind: Bucket, faulty: FaultyStorage, key: str) -> None:
    data = b"some data"
    etag = behind.put(key, data, content_type="text/x", metadata=METADATA)
    named = {"Bucket": behind.name, "Key": key}
    for more in ({}, {"Range": "bytes=2-3"}, {"IfMatch": f'"{etag}"'}):
        direct = behind._calls.once("get_object", **named, **more)
        boto3 = connection(behind.endpoint).s3.get_object(**named, **more)
        assert direct.pop("Body").read() == boto3.pop("Body").read()
        assert direct == {name: boto3[name] for name in direct}
        assert direct.keys() >= {"ETag", "ContentLength", "ContentType", "Metadata", "LastModified"}
        assert ("ContentRange" in direct) == ("Range" in more)
    assert [OF_BOTO3 in one.headers for one in faulty.seen] == [False, *[False, True] * 3]
    assert behind.head(key).etag == etag


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"Prefix": "d/", "Delimiter": "/"},
        {"Delimiter": "/"},
        {"Prefix": "d/ü +"},
        {"Prefix": "none"},
    ],
)
def test_a_list_is_that_of_boto3(
    behind: Bucket, faulty: FaultyStorage, more: dict[str, str]
) -> None:
    for key in (*KEYS, "d/e/f", "z"):
        behind.put(key, b"data")
    faulty.seen.clear()
    asked: dict[str, Any] = {"Bucket": behind.name, "MaxKeys": 2, **more}
    pages = 0
    while True:
        direct = behind._calls.once("list_objects_v2", **asked)
        boto3 = connection(behind.endpoint).s3.list_objects_v2(**asked)
        empty: dict[str, Any] = {"Contents": [], "CommonPrefixes": []}
        same = ("Key", "Size", "ETag", "LastModified")
        found = [
            [{n: one[n] for n in same} for one in a["Contents"]] for a in (direct, empty | boto3)
        ]
        assert found[0] == found[1]
        assert direct["CommonPrefixes"] == (empty | boto3)["CommonPrefixes"]
        assert direct.get("NextContinuationToken") == boto3.get("NextContinuationToken")
        pages += 1
        if not boto3["IsTruncated"]:
            break
        asked["ContinuationToken"] = boto3["NextContinuationToken"]
    assert direct["IsTruncated"] is False
    assert [OF_BOTO3 in one.headers for one in faulty.seen] == [False, True] * pages


@pytest.mark.parametrize(
    "body",
    [b"<html>a proxy</html>", b"<ListBucketResult><Cont", b"<ListBucketResult/>"],
)
def test_a_list_that_is_not_one_is_asked_by_boto3(
    behind: Bucket, faulty: FaultyStorage, body: bytes
) -> None:
    behind.put("f", b"data")
    faulty.faults = [Fault("GET", "list-type", body=body)]
    assert [one.key for one in behind.walk()] == ["f"]
    assert [OF_BOTO3 in one.headers for one in faulty.seen] == [False, False, True]


def test_what_does_not_succeed_is_asked_by_boto3(behind: Bucket, faulty: FaultyStorage) -> None:
    faulty.faults = [Fault("PUT", "f$", status=503, code="SlowDown")]
    behind.put("f", b"data")
    faulty.faults = [Fault("GET", "f$", status=500, code="InternalError")]
    with behind.read("f") as reader:
        assert reader.read(10) == b"data"
    assert [OF_BOTO3 in one.headers for one in faulty.seen] == [False, True] * 2
    with pytest.raises(ObjectNotFound):
        behind.read("none")


@pytest.mark.parametrize("size", [1, 65_536, 65_537, PART_BYTES, PART_BYTES + 1])
def test_a_file_needs_no_boto3_for_its_bytes(
    behind: Bucket, faulty: FaultyStorage, tmp_path: Path, size: int
) -> None:
    """Small ones are sent from memory, others from their descriptor, big ones in parts."""
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    parts = 2 if size > PART_BYTES else 0
    faulty.faults = [Fault("PUT", "partNumber=2", status=503, code="SlowDown")]
    with (tmp_path / "f").open("rb") as file:
        behind.upload_file("d/ü +", file.fileno(), size, metadata=METADATA)
    puts = [OF_BOTO3 in one.headers for one in faulty.seen if one.method == "PUT"]
    assert sorted(puts) == ([False, False, True] if parts else [False])
    head = behind.head("d/ü +")
    assert (head.size, head.metadata) == (size, METADATA)
    with behind.read("d/ü +") as reader:
        assert b"".join(reader) == data


@pytest.mark.parametrize("size", [10, 100_000, PART_BYTES + 10])
def test_a_file_that_became_shorter_is_no_object(behind: Bucket, tmp_path: Path, size: int) -> None:
    (tmp_path / "f").write_bytes(b"x" * (size - 1))
    with (tmp_path / "f").open("rb") as file, pytest.raises(ObjectRefused):
        behind.upload_file("f", file.fileno(), size)
    assert behind.find("f") is None
    assert not list(behind.unfinished())


def test_what_no_header_can_have_is_refused_by_boto3(behind: Bucket) -> None:
    for metadata in ({"name": "ü"}, {"name": "a\nb"}):
        with pytest.raises(StorageError):
            behind.put("f", b"", metadata=metadata)
    assert behind.find("f") is None


@pytest.mark.parametrize(
    "more", [{}, {"url": "https://s3.eu-central-1.amazonaws.com"}, {"addressing": "virtual"}]
)
def test_endpoints_that_need_boto3_have_no_other_way(more: dict[str, Any]) -> None:
    keys = {"access_key": "k", "secret_key": "s"}
    given = {"url": "http://127.0.0.1:1", **more} if more else {}
    assert connection(S3Endpoint(**keys, **given)).direct is None
