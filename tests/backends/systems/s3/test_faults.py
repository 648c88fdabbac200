"""Faults of object storage: what is repeated, what is refused, and what no text says."""

import os
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from backends.systems.s3 import (
    Bucket,
    MultipartNotFound,
    NotDeleted,
    ObjectChanged,
    ObjectRefused,
    ObjectStorageDenied,
    ObjectStorageFailed,
    ObjectStorageUnavailable,
    S3Endpoint,
)
from backends.systems.s3 import calls as calls_module
from backends.systems.s3.multipart import MIB, PART_BYTES_MIN
from core.errors import ConfigurationError, StorageError
from simulators.serving import certificate
from tests.support.object_storage import (
    SECRET_KEY,
    Fault,
    FaultyStorage,
    ObjectStorage,
    error_body,
)

pytestmark = pytest.mark.part("seaweedfs")

DATA = os.urandom(2 * PART_BYTES_MIN + 1)


@pytest.fixture
def behind(bucket: Bucket, faulty: FaultyStorage) -> Bucket:
    """The bucket, through the proxy."""
    return Bucket(faulty.endpoint, bucket.name)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(calls_module, "LONGEST_PAUSE_SECONDS", 0.05)


def send(bucket: Bucket) -> None:
    bucket.upload("f", BytesIO(DATA), len(DATA), part_bytes=PART_BYTES_MIN)


def arrived(bucket: Bucket) -> bool:
    with bucket.read("f") as reader:
        return b"".join(reader) == DATA


def test_a_completion_of_200_with_an_error_is_repeated(
    behind: Bucket, faulty: FaultyStorage
) -> None:
    """The body says that it failed, and the server completed it: the next try finds no upload."""
    faulty.faults = [Fault("POST", r"uploadId=", body=error_body("InternalError"))]
    send(behind)
    assert faulty.count("POST", "uploadId=") == 2
    assert arrived(behind)


def test_a_completion_whose_answer_is_lost_is_a_success(
    behind: Bucket, faulty: FaultyStorage
) -> None:
    faulty.faults = [Fault("POST", r"uploadId=", after_effect=True)]
    send(behind)
    assert arrived(behind)


def test_a_completion_that_cannot_succeed_leaves_no_parts(
    behind: Bucket, faulty: FaultyStorage
) -> None:
    faulty.faults = [Fault("POST", r"uploadId=", status=400, code="InvalidPart")]
    with pytest.raises(ObjectRefused, match="InvalidPart"):
        send(behind)
    assert behind.find("f") is None
    assert not list(behind.unfinished())


def test_an_upload_that_is_gone_is_no_success(behind: Bucket) -> None:
    behind.put("f", b"another object")
    upload = behind.begin("f")
    part = upload.put_part(1, DATA, len(DATA))
    assert list(upload.parts()) == [part]
    upload.abort()
    upload.abort()
    with pytest.raises(MultipartNotFound):
        upload.complete([part])


def test_a_stream_that_fails_leaves_no_parts(behind: Bucket) -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > PART_BYTES_MIN * 2:
                raise OSError(5, "broken")
            return super().read(size)

    with pytest.raises(OSError, match="broken"):
        behind.upload("f", Broken(DATA * 2), part_bytes=PART_BYTES_MIN)
    assert not list(behind.unfinished())


def test_an_overloaded_storage_is_waited_for_by_the_patient(
    bucket: Bucket, faulty: FaultyStorage
) -> None:
    """Each call of the client is two tries here; the storage is overloaded for five."""
    faulty.faults = [Fault("PUT", "/f", times=5, status=503, code="SlowDown")]
    with pytest.raises(ObjectStorageUnavailable, match="SlowDown"):
        Bucket(faulty.endpoint, bucket.name).put("f", b"1")
    Bucket(faulty.endpoint, bucket.name, patience_seconds=600).put("f", b"1")
    assert faulty.count("PUT", "/f") == 6


def test_a_batch_says_what_it_did_not_delete(behind: Bucket, faulty: FaultyStorage) -> None:
    body = (
        b'<?xml version="1.0"?><DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code>'
        b"<Message>no</Message></Error></DeleteResult>"
    )
    faulty.faults = [Fault("POST", "delete", body=body)]
    assert list(behind.delete_many(["a", "b"])) == [NotDeleted("b", "AccessDenied")]


def test_endpoints_without_batches_delete_one_by_one(behind: Bucket, faulty: FaultyStorage) -> None:
    for key in "ab":
        behind.put(key, b"")
    faulty.faults = [Fault("POST", "delete", times=9, status=501, code="NotImplemented")]
    assert not list(behind.delete_many(["a", "b", "absent"]))
    assert not list(behind.walk())


def test_a_download_continues_where_it_broke(behind: Bucket, faulty: FaultyStorage) -> None:
    send(behind)
    faulty.faults = [Fault("GET", "/f", times=3, cut=MIB)]
    assert arrived(behind)
    assert faulty.count("GET", "/f") == 4


def test_a_buffer_is_filled_on_where_a_download_broke(
    behind: Bucket, faulty: FaultyStorage
) -> None:
    send(behind)
    faulty.faults = [Fault("GET", "/f", times=3, cut=MIB)]
    buffer, found = memoryview(bytearray(100_000)), b""
    with behind.read("f", 7) as reader:
        while got := reader.readinto(buffer):
            found += buffer[:got]
        assert reader.readinto(buffer) == 0
    assert found == DATA[7:]
    assert faulty.count("GET", "/f") == 4


def test_a_download_never_mixes_two_objects(behind: Bucket, faulty: FaultyStorage) -> None:
    send(behind)
    faulty.faults = [Fault("GET", "/f", cut=MIB)]
    with behind.read("f") as reader:
        reader.read(10)
        behind.put("f", DATA[::-1])
        with pytest.raises(ObjectChanged):
            list(reader)


def test_old_servers_get_what_they_know(old: FaultyStorage, bucket: Bucket) -> None:
    """The proxy refuses what servers before 2025 refuse; no setting says that it is one."""
    through = Bucket(old.endpoint, bucket.name)
    send(through)
    assert arrived(through)
    through.put("g", b"")
    through.copy(through.head("g"), "h")
    assert not list(through.delete_many(["f", "g", "h"]))
    assert not list(bucket.walk())


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "SignatureDoesNotMatch", ObjectStorageDenied),
        (403, "AccessDenied", ObjectStorageDenied),
        (403, "RequestTimeTooSkewed", ObjectStorageFailed),
        (409, "OperationAborted", ObjectStorageUnavailable),
        (500, "", ObjectStorageUnavailable),
        (507, "XMinioStorageFull", StorageError),
        (418, "Surprise", ObjectStorageFailed),
    ],
)
def test_codes_have_one_meaning(
    behind: Bucket, faulty: FaultyStorage, status: int, code: str, kind: type[StorageError]
) -> None:
    faulty.faults = [Fault("PUT", "/f", times=9, status=status, code=code)]
    with pytest.raises(kind) as raised:
        behind.put("f", b"1")
    assert raised.value.facts["s3_operation"] == "PutObject"


def texts(error: BaseException) -> str:
    """Everything that a log may show of an error, its causes too."""
    found = []
    while error is not None:
        found.append(repr(error) + str(error) + str(vars(error)))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)  # type: ignore[assignment] # ends with None
    return "\n".join(found)


def wrong_secret(storage: ObjectStorage) -> S3Endpoint:
    return S3Endpoint(storage.url, access_key="vfolder-tests", secret_key="wrong" + SECRET_KEY)


def nothing_listens(_: ObjectStorage) -> S3Endpoint:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return S3Endpoint(f"http://127.0.0.1:{port}", access_key="a", secret_key=SECRET_KEY, attempts=1)


def no_certificate(storage: ObjectStorage) -> S3Endpoint:
    return S3Endpoint(
        storage.url.replace("http", "https"), access_key="a", secret_key=SECRET_KEY, attempts=1
    )


@pytest.mark.parametrize("broken", [wrong_secret, nothing_listens, no_certificate])
def test_no_error_has_a_secret(
    object_storage: ObjectStorage, broken: Callable[[ObjectStorage], S3Endpoint]
) -> None:
    endpoint = broken(object_storage)
    assert SECRET_KEY not in repr(endpoint)
    with pytest.raises((ObjectStorageFailed, ObjectStorageUnavailable)) as raised:
        Bucket(endpoint, "b").check()
    assert SECRET_KEY not in texts(raised.value)


def test_only_a_trusted_server_is_spoken_to(
    object_storage: ObjectStorage, bucket: Bucket, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate())
    server = FaultyStorage(object_storage, tls=context)
    try:
        with pytest.raises(ObjectStorageFailed, match="not trusted"):
            Bucket(replace(server.endpoint, attempts=1), bucket.name).check()
        assert not server.seen
        trusting = replace(server.endpoint, ca_file=str(certificate()[0]))
        through = Bucket(trusting, bucket.name)
        through.put("f", b"1")
        (tmp_path / "f").write_bytes(DATA * 2)
        with (tmp_path / "f").open("rb") as file:
            through.upload_file("parts", file.fileno(), 2 * len(DATA))
            through.upload_file("whole", file.fileno(), len(DATA))
        with through.read("whole") as reader:
            assert b"".join(reader) == DATA
    finally:
        server.close()
    assert bucket.head("f").size == 1
    with bucket.read("parts") as reader:
        assert b"".join(reader) == DATA * 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"access_key": "a"},
        {"url": "s3.example.org"},
        {"url": "https://user:secret@s3.example.org"},
        {"addressing": "both"},
    ],
)
def test_wrong_endpoints_are_refused_at_once(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        S3Endpoint(**wrong)  # type: ignore[arg-type] # wrong on purpose
    assert "secret@" not in raised.value.detail


def test_threads_share_the_client_of_an_endpoint(faulty: FaultyStorage, bucket: Bucket) -> None:
    through = Bucket(faulty.endpoint, bucket.name)
    through.put("f", DATA)
    failed: list[BaseException] = []

    def read() -> None:
        try:
            assert arrived(through)
        except BaseException as error:  # noqa: BLE001 - shown below
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
