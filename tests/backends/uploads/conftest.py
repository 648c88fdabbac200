"""A vfolder on the volume of a file (its fixture `backend`), and the records of uploads."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from backends.mounted import PosixBackend
from core.names import QuotaScope, VFolderId
from core.uploads import UploadStore
from tests.support.valkey import Valkey


@pytest.fixture
def folder(backend: PosixBackend) -> VFolderId:
    scope = QuotaScope.parse(f"user:{uuid4()}")
    backend.create_scope(scope)
    vfolder = VFolderId(scope, uuid4())
    backend.create_vfolder(vfolder)
    return vfolder


@pytest.fixture
def store(valkey: Valkey) -> Iterator[UploadStore]:
    with valkey.client(8) as client:
        yield UploadStore(client, "node1")
