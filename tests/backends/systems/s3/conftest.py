"""Buckets of a real server, straight and through a proxy that fails on purpose."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import Mount
from backends.systems.s3 import Bucket
from backends.systems.s3.backend import S3Backend
from backends.systems.s3.tree import VFolderObjects
from core.names import QuotaScope, VFolderId
from tests.support.object_storage import (
    ACCESS_KEY,
    SECRET_KEY,
    FaultyStorage,
    ObjectStorage,
    old_server,
)


@pytest.fixture
def bucket(object_storage: ObjectStorage) -> Bucket:
    return object_storage.new_bucket()


@pytest.fixture
def faulty(object_storage: ObjectStorage) -> Iterator[FaultyStorage]:
    proxy = FaultyStorage(object_storage)
    yield proxy
    proxy.close()


@pytest.fixture
def old(object_storage: ObjectStorage) -> Iterator[FaultyStorage]:
    proxy = FaultyStorage(object_storage, strict=old_server)
    yield proxy
    proxy.close()


@pytest.fixture
def backend(object_storage: ObjectStorage, bucket: Bucket, tmp_path: Path) -> S3Backend:
    options = {
        "endpoint": object_storage.url,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "bucket": bucket.name,
        "prefix": "volume",
    }
    return S3Backend(Mount("objects", tmp_path, options))


@pytest.fixture
def vfolder(backend: S3Backend) -> VFolderId:
    found = VFolderId(QuotaScope.parse(f"user:{uuid4()}"), uuid4())
    assert found.scope is not None
    backend.create_scope(found.scope)
    backend.create_vfolder(found)
    return found


@pytest.fixture
def tree(backend: S3Backend, vfolder: VFolderId) -> VFolderObjects:
    return backend.tree(vfolder)
