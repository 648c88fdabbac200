"""Buckets of a real server, straight and through a proxy that fails on purpose."""

from collections.abc import Iterator

import pytest

from backends.systems.s3 import Bucket
from tests.support.object_storage import FaultyStorage, ObjectStorage, old_server


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
