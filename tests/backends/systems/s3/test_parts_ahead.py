"""Uploads whose parts go to the bucket while their bytes come: what is sent when, what counts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backends.systems.s3 import backend as backend_module
from backends.systems.s3 import bucket as bucket_module
from backends.systems.s3.backend import S3Backend
from backends.systems.s3.multipart import PART_BYTES_MIN as PART_BYTES
from backends.uploads import PartsAhead, Staging, ahead
from backends.uploads.ahead import noted, parts_ahead
from core.names import VFolderId, VFolderPath
from core.uploads import Upload
from tests.support.node import wait_for
from tests.support.object_storage import Fault, FaultyStorage

pytestmark = pytest.mark.part("seaweedfs")

SIZE = 2 * PART_BYTES + 5
TARGET = VFolderPath.parse("d/big")
PART = r"partNumber=\d"


@pytest.fixture
def behind(backend: S3Backend, faulty: FaultyStorage, monkeypatch: pytest.MonkeyPatch) -> S3Backend:
    """The volume behind the proxy that keeps a journal; parts are as small as S3 permits.

    The end of a request waits for its parts as long as a slow machine takes to send them.
    """
    monkeypatch.setattr(ahead, "WAIT_SECONDS", 120.0)
    for module in (backend_module, bucket_module):
        monkeypatch.setattr(module, "part_size", lambda _: PART_BYTES)
    options = {**backend.mount.options, "endpoint": faulty.url}
    return S3Backend(replace(backend.mount, options=options))


@dataclass(frozen=True)
class Site:
    """An upload to the volume, and the directory of its file."""

    backend: S3Backend
    upload: Upload
    directory: Path
    storage: FaultyStorage

    @contextmanager
    def staged(self, data: bytes = b"") -> Iterator[Staging]:
        """The open file of the upload, as a request has it, with some bytes."""
        parent = os.open(self.directory, os.O_RDONLY)
        file = os.open(self.directory / self.upload.id, os.O_RDWR | os.O_CREAT)
        staging = Staging(self.backend, self.upload, parent, file)
        try:
            os.pwrite(file, data, 0)
            yield staging
        finally:
            staging.close()

    def read(self) -> bytes:
        tree = self.backend.tree(VFolderId.parse(self.upload.vfolder))
        with tree.open_object(TARGET) as reader:
            return b"".join(reader)


@pytest.fixture
def upload(vfolder: VFolderId) -> Upload:
    return Upload(
        id="u1", volume="objects", vfolder=str(vfolder), path=str(TARGET), session="s", length=SIZE
    )


@pytest.fixture
def site(behind: S3Backend, upload: Upload, tmp_path: Path, faulty: FaultyStorage) -> Site:
    (tmp_path / "uploads").mkdir()
    return Site(behind, upload, tmp_path / "uploads", faulty)


@pytest.fixture(scope="module")
def data() -> bytes:
    return os.urandom(SIZE)


def ahead_of(staging: Staging, target: VFolderPath = TARGET) -> PartsAhead:
    found = staging.parts_ahead(staging.upload, target)
    assert found is not None
    return found


def test_the_end_sends_only_what_is_left(site: Site, data: bytes) -> None:
    """Each part is sent once, whichever process has the upload, and by its own name."""
    with site.staged(data[:PART_BYTES]) as staging:
        first = ahead_of(staging)
        first.committed(PART_BYTES - 1)
        first.close(PART_BYTES)
        assert site.storage.count("PUT", PART) == 1
    with site.staged() as staging:  # another process, after kill -9
        assert staging.settle(PART_BYTES) == PART_BYTES
        os.pwrite(staging.descriptor, data[PART_BYTES:], PART_BYTES)
        second = ahead_of(staging)
        assert not second.is_due(2 * PART_BYTES - 1)
        second.close(SIZE)
        assert site.storage.count("PUT", PART) == 2
        staging.publish(TARGET)
    assert site.storage.count("PUT", PART) == 3
    assert site.storage.count("POST", r"\?uploads") == 1
    assert site.read() == data
    vfolder = VFolderId.parse(site.upload.vfolder)
    assert site.backend.sent_by(vfolder, TARGET) == site.upload.id
    assert not list(site.backend.bucket.unfinished())


@pytest.mark.parametrize("loss", ["cut", "swept"])
def test_parts_that_are_not_sure_are_sent_again(site: Site, data: bytes, loss: str) -> None:
    """The file was cut and has other bytes now; or the storage has the parts no more."""
    other = os.urandom(SIZE) if loss == "cut" else data
    with site.staged(data) as staging:
        ahead_of(staging).close(SIZE)
        if loss == "cut":
            staging.settle(2 * PART_BYTES)
            assert noted(staging.descriptor) is not None
            staging.settle(2 * PART_BYTES - 1)
            assert noted(staging.descriptor) is None
        else:
            [begun.abort() for begun, _ in site.backend.bucket.unfinished()]
        os.pwrite(staging.descriptor, other, 0)
        staging.publish(TARGET)
    assert site.read() == other


def test_another_name_or_length_takes_no_part(site: Site, data: bytes) -> None:
    with site.staged(data) as staging:
        ahead_of(staging, VFolderPath.parse("other")).close(SIZE)
        staging.publish(TARGET)
    assert site.read() == data
    wait_for(lambda: not list(site.backend.bucket.unfinished()))


@pytest.mark.parametrize("fault", [r"\?uploads", PART])
def test_a_storage_that_fails_meanwhile_fails_no_request(
    site: Site, data: bytes, fault: str
) -> None:
    method = "POST" if fault.endswith("uploads") else "PUT"
    site.storage.faults = [Fault(method, fault, 10**9, status=403, code="AccessDenied")]
    with site.staged(data) as staging:
        sending = ahead_of(staging)
        sending.close(SIZE)
        assert not sending.is_due(SIZE)
        site.storage.faults = []
        staging.publish(TARGET)
    assert site.read() == data


def test_what_is_not_sent_ahead(backend: S3Backend, upload: Upload) -> None:
    for change in ({"length": None}, {"length": PART_BYTES}, {"partial": True}, {"extract": "tar"}):
        fields = {name: getattr(upload, name) for name in upload.__struct_fields__} | change
        assert parts_ahead(backend, Upload(**fields), TARGET, 0) is None
