"""A real Ceph RGW, of a release before the new checksums: keys of every kind, and the volume."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import Mount
from backends.systems.s3 import Bucket, ObjectStorageDenied, S3Endpoint
from backends.systems.s3.backend import S3Backend
from backends.systems.s3.multipart import MIB, PART_BYTES_MIN
from core.names import QuotaScope, VFolderId, VFolderPath
from tests.support.ceph import running_ceph, start_gateway

pytestmark = [
    pytest.mark.part("ceph"),
    pytest.mark.part("radosgw"),
    pytest.mark.part("fuse"),
    pytest.mark.part("root"),
]

ACCESS_KEY, SECRET_KEY = "vfolder-tests", "a-secret-of-the-tests"
KEYS = ["a", "a/", "a/b", "../x", "x//y", "/x", "a b+\u00fc&<>%25", "n\nl", "c\x01\x1f", "k" * 1024]


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Endpoint]:
    with running_ceph() as directory:
        url = start_gateway(directory, ACCESS_KEY, SECRET_KEY)
        yield S3Endpoint(url, access_key=ACCESS_KEY, secret_key=SECRET_KEY)


@pytest.fixture
def bucket(gateway: S3Endpoint) -> Bucket:
    found = Bucket(gateway, f"b-{uuid4().hex}")
    found._calls("create_bucket", Bucket=found.name)
    return found


def test_every_key_is_an_object_of_its_own(bucket: Bucket) -> None:
    for key in KEYS:
        bucket.put(key, key.encode())
    assert sorted(one.key for one in bucket.walk()) == sorted(KEYS)
    for key in KEYS:
        with bucket.read(key) as reader:
            assert b"".join(reader) == key.encode()
        bucket.copy(bucket.head(key), f"copy/{key}"[:1024])
    assert not list(bucket.delete_many(KEYS))
    assert all(one.key.startswith("copy/") for one in bucket.walk())
    assert not list(bucket.delete_prefix(""))
    assert not list(bucket.walk())


@pytest.mark.parametrize("size", [0, PART_BYTES_MIN, PART_BYTES_MIN + 1, 11 * MIB])
def test_streams_of_every_size_arrive(bucket: Bucket, size: int) -> None:
    data = os.urandom(size)
    bucket.upload("f", io.BytesIO(data), part_bytes=PART_BYTES_MIN, metadata={"mtime": "1.5"})
    head = bucket.head("f")
    assert (head.size, head.metadata) == (size, {"mtime": "1.5"})
    with bucket.read("f") as reader:
        assert b"".join(reader) == data
    assert not list(bucket.unfinished())


def test_a_wrong_secret_is_refused_without_it(gateway: S3Endpoint, bucket: Bucket) -> None:
    wrong = S3Endpoint(gateway.url, access_key=ACCESS_KEY, secret_key="wrong" + SECRET_KEY)
    with pytest.raises(ObjectStorageDenied, match="SignatureDoesNotMatch") as raised:
        Bucket(wrong, bucket.name).check()
    assert SECRET_KEY not in str(vars(raised.value))


def test_a_volume_shows_what_paths_can_name(bucket: Bucket, tmp_path: Path) -> None:
    """Other programs made the keys: a file and a directory of one name are both listed."""
    options = {
        "endpoint": bucket.endpoint.url,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "bucket": bucket.name,
    }
    backend = S3Backend(Mount("objects", tmp_path, options))
    backend.probe()
    vfolder = VFolderId(QuotaScope.parse(f"user:{uuid4()}"), uuid4())
    assert vfolder.scope
    backend.create_scope(vfolder.scope)
    backend.create_vfolder(vfolder)
    tree = backend.tree(vfolder)
    for key in KEYS[:-1]:
        bucket.put(tree.prefix + key, b"1")
    root = VFolderPath(())
    items = tree.list_directory(root).items
    shown = sorted((item["name"], item["type"]) for item in items)
    names = ["a", "a b+\u00fc&<>%25", "n\nl", "c\x01\x1f"]
    assert shown == sorted(
        [*((name, "FILE") for name in names), ("a", "DIRECTORY"), ("x", "DIRECTORY")]
    )
    # Pages of three: RGW 16 answers XML that is none when a page ends at a control character.
    page, found = tree.list_directory(root, 3), []
    while True:
        found += [(item["name"], item["type"]) for item in page.items]
        if page.next is None:
            break
        page = tree.list_directory(root, 3, page.next)
    assert sorted(found) == shown
    assert tree.usage().files == len(KEYS) - 2
    tree.move(VFolderPath(("a b+\u00fc&<>%25",)), VFolderPath(("moved",)))
    tree.remove([VFolderPath(("x",))], recursive=True)
    assert not list(tree.remove_all())
    assert not list(bucket.walk())
