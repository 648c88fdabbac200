"""Object storages on a real S3 server: objects, presigned URLs, removal, imports into buckets."""

import os
import signal
from typing import Any
from uuid import uuid4

import psutil
import pytest
import requests

from backends.systems.s3 import Bucket
from core.settings import Settings
from tests.api.artifacts.test_imports import FILES, RESERVOIR, REVISION, Site
from tests.core.events.reader import Reader
from tests.support.doors import RunningDoor
from tests.support.hub import StandInHub
from tests.support.node import wait_for
from tests.support.object_storage import ObjectStorage

pytestmark = pytest.mark.part("seaweedfs")
DATA = os.urandom(300_000)


@pytest.fixture
def bucket(object_storage: ObjectStorage, settings: Settings) -> Bucket:
    """The first bucket of the storage `bucket`, which tests share: each has a prefix of its own."""
    table = settings.artifact_storages["bucket"].object_storage
    assert table is not None
    return Bucket(object_storage.endpoint, table.buckets[0])


@pytest.fixture
def top(bucket: Bucket) -> str:
    """The routes of the bucket."""
    return f"/v1/storages/s3/bucket/buckets/{bucket.name}/object"


@pytest.fixture
def prefix() -> str:
    return uuid4().hex


def refusal(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error_code"]


def test_the_facts_of_an_object(
    manager: RunningDoor, bucket: Bucket, top: str, prefix: str
) -> None:
    key = f"{prefix}/a"
    etag = bucket.put(key, b"text", content_type="text/plain", metadata={"one": "1"})
    found = manager.call("GET", f"{top}/meta", {"key": key, "unknown": 1}).json()
    assert found.pop("last_modified").endswith("+00:00")
    assert found == {
        "content_length": 4,
        "content_type": "text/plain",
        "etag": f'"{etag}"',
        "metadata": {"one": "1"},
    }


def test_an_object_is_sent_with_ranges(
    manager: RunningDoor, bucket: Bucket, top: str, prefix: str
) -> None:
    bucket.put(f"{prefix}/a", DATA)
    bucket.put(f"{prefix}/empty", b"")
    body = {"key": f"{prefix}/a"}
    complete = manager.call("POST", f"{top}/download", body)
    assert complete.content == DATA
    assert complete.headers["Content-Type"] == "application/octet-stream"
    part = manager.call("POST", f"{top}/download", body, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, DATA[100:200])
    known = {"If-None-Match": complete.headers["ETag"]}
    assert manager.call("POST", f"{top}/download", body, headers=known).status_code == 304
    empty = manager.call("POST", f"{top}/download", {"key": f"{prefix}/empty"})
    assert (empty.status_code, empty.content) == (200, b"")


def test_presigned_urls(manager: RunningDoor, bucket: Bucket, top: str, prefix: str) -> None:
    key = f"{prefix}/by form"
    form = manager.call("POST", f"{top}/presigned/upload", {"key": key}).json()
    sent = requests.post(form["url"], data=form["fields"], files={"file": DATA}, timeout=60)
    assert sent.ok, sent.text
    asked = {"key": key, "expiration": 60}
    url = manager.call("POST", f"{top}/presigned/download", asked).json()["url"]
    assert "X-Amz-Expires=300" in url
    assert "X-Amz-Signature=" in url
    assert requests.get(url, timeout=60).content == DATA
    wrong = manager.call("POST", f"{top}/presigned/download", asked | {"expiration": "x"})
    assert refusal(wrong) == (400, "api_parsing_invalid-parameters")


def test_an_object_is_uploaded(manager: RunningDoor, bucket: Bucket, top: str, prefix: str) -> None:
    for name, data in (("large", os.urandom(6_000_000)), ("empty", b"")):
        form = {"key": f"{prefix}/{name}", "content_type": "text/x"}
        answer = manager.send("POST", f"{top}/upload", data=form, files={"file": data})
        manager.document.check("POST", f"{top}/upload", answer)
        assert answer.status_code == 204
        with bucket.read(f"{prefix}/{name}") as reader:
            assert b"".join(reader) == data
        assert bucket.head(f"{prefix}/{name}").content_type == "text/x"
    answer = manager.send("POST", f"{top}/upload", json={"key": "a"})
    assert refusal(answer) == (400, "api_parsing_bad-request")


def test_objects_are_removed(manager: RunningDoor, bucket: Bucket, top: str, prefix: str) -> None:
    for name in ("a/one", "a/two", "ab", "b"):
        bucket.put(f"{prefix}/{name}", b"x")
    for _ in range(2):  # what is absent is a success
        for key in (f"{prefix}/a/", f"{prefix}/b"):
            answer = manager.call("DELETE", top, {"key": key})
            assert (answer.status_code, answer.content) == (204, b"")
    assert [one.key for one in bucket.walk(prefix)] == [f"{prefix}/ab"]
    assert refusal(manager.call("DELETE", top, {"key": ""}))[0] == 400


def test_every_configured_bucket_is_served(
    manager: RunningDoor, object_storage: ObjectStorage, settings: Settings, prefix: str
) -> None:
    table = settings.artifact_storages["bucket"].object_storage
    assert table is not None
    second = Bucket(object_storage.endpoint, table.buckets[1])
    second.put(f"{prefix}/a", b"2")
    path = f"/v1/storages/s3/bucket/buckets/{second.name}/object"
    assert manager.call("GET", f"{path}/meta", {"key": f"{prefix}/a"}).json()["content_length"] == 1


def test_what_is_not_there(manager: RunningDoor, top: str, prefix: str) -> None:
    absent = (404, "object-storage_read_not-found")
    body = {"key": f"{prefix}/none"}
    assert refusal(manager.call("GET", f"{top}/meta", body)) == absent
    assert refusal(manager.call("POST", f"{top}/download", body)) == absent
    other = "/v1/storages/s3/bucket/buckets/other/object"
    for method, below in (("GET", "/meta"), ("DELETE", ""), ("POST", "/presigned/upload")):
        assert refusal(manager.call(method, f"{other}{below}", body)) == absent
    nowhere = "/v1/storages/s3/nowhere/buckets/other/object/meta"
    assert refusal(manager.call("GET", nowhere, body)) == (404, "storage_read_not-found")
    vfs = "/v1/storages/s3/shelf/buckets/other/object/meta"
    kind = (400, "storage_access_invalid-parameters")
    assert refusal(manager.call("GET", vfs, body)) == kind


def test_the_clean_up_of_a_vfs_archive(
    manager: RunningDoor, settings: Settings, prefix: str
) -> None:
    """The manager removes a revision by this route, also from a VFS storage."""
    place = settings.directory / "shelf" / "models" / prefix / "main"
    place.mkdir(parents=True)
    (place / "a").touch()
    path = "/v1/storages/s3/shelf/buckets/models/object"
    for _ in range(2):
        assert manager.call("DELETE", path, {"key": f"{prefix}/main/"}).status_code == 204
    assert not place.exists()
    answer = manager.call("DELETE", path, {"key": "/"})
    assert refusal(answer) == (400, "storage-proxy_access_invalid-parameters")
    assert place.parent.is_dir()


# -- Imports ---------------------------------------------------------------------------------------
@pytest.fixture
def site(
    manager: RunningDoor, hub: StandInHub, heard: Reader, worker: int, settings: Settings
) -> Site:
    return Site(manager, hub, heard, settings)


TO_BUCKET: dict[str, Any] = {
    "storage_step_mappings": {"download": "shelf", "verify": "shelf", "archive": "bucket"}
}


def content(bucket: Bucket, prefix: str) -> dict[str, bytes]:
    """Every object below a prefix."""
    found = {}
    for one in bucket.walk(f"{prefix}/"):
        with bucket.read(one.key) as reader:
            found[one.key.removeprefix(f"{prefix}/")] = b"".join(reader)
    return found


def test_a_model_is_archived_in_a_bucket(site: Site, bucket: Bucket) -> None:
    """An empty file, too; a second import sends only what changed, and removes what is gone."""
    large = os.urandom(11_000_000)
    model = site.model({**FILES, "two/parts.bin": large})
    job = site.ended(site.begun(model, **TO_BUCKET))
    assert job["state"] == "succeeded", job
    assert content(bucket, f"{model}/main") == {**FILES, "two/parts.bin": large}
    sent = site.hub.sent["two/parts.bin"]
    site.hub.repos[model].commit({"two/parts.bin": large, "new": b"new"})
    assert site.ended(site.begun(model, **TO_BUCKET))["state"] == "succeeded"
    assert content(bucket, f"{model}/main") == {"new": b"new", "two/parts.bin": large}
    assert site.hub.sent["two/parts.bin"] == sent
    ends = site.end_of(model, 2)
    assert all(one.fields["success"] for one in ends)


def test_a_prefix_keeps_other_objects(site: Site, bucket: Bucket, prefix: str) -> None:
    bucket.put(f"{prefix}/mine", b"stays")
    model = site.model({"a": b"1"})
    job = site.ended(site.begun(model, **TO_BUCKET, storage_prefix=prefix))
    assert job["state"] == "succeeded", job
    assert content(bucket, prefix) == {"a": b"1", "mine": b"stays"}


def test_a_failed_import_leaves_no_object(site: Site, bucket: Bucket) -> None:
    model = site.model({"a": b"1", "z.bin": b"x" * 5000})
    site.hub.lies["z.bin"] = b"y" * 5000
    try:
        job = site.ended(site.begun(model, **TO_BUCKET))
    finally:
        site.hub.lies.clear()
    assert job["state"] == "failed", job
    assert content(bucket, f"{model}/main") == {}
    assert site.end_of(model)[0].fields["success"] is False


def test_a_cancelled_import_leaves_no_object_and_no_upload(site: Site, bucket: Bucket) -> None:
    model = site.model({"a": b"1", "large.bin": os.urandom(12_000_000)})
    site.hub.slow_seconds = 0.2
    try:
        task = site.begun(model, **TO_BUCKET)
        wait_for(lambda: ((site.get(task)["progress"] or {}).get("done_bytes") or 0) > 100, 60)
        site.door.call("POST", f"/v1/jobs/{task}/cancel")
        assert site.ended(task)["state"] == "cancelled"
    finally:
        site.hub.slow_seconds = 0.0
    assert content(bucket, f"{model}/main") == {}
    assert not list(bucket.unfinished(f"{model}/"))


def test_a_killed_import_leaves_no_upload(site: Site, bucket: Bucket, worker: int) -> None:
    """The next run aborts what the killed one has begun, and skips what it has done."""
    large = os.urandom(12_000_000)
    model = site.model({"a.bin": os.urandom(5000), "large.bin": large})
    sent = site.hub.sent["a.bin"]
    site.hub.slow_seconds = 0.2
    task = site.begun(model, **TO_BUCKET)
    wait_for(lambda: list(bucket.unfinished(f"{model}/")), 120)
    for child in psutil.Process(worker).children():
        child.send_signal(signal.SIGKILL)
    site.hub.slow_seconds = 0.0
    job = site.ended(task)
    assert (job["state"], job["attempt"] > 1) == ("succeeded", True), job
    assert not list(bucket.unfinished(f"{model}/"))
    assert content(bucket, f"{model}/main")["large.bin"] == large
    assert site.hub.sent["a.bin"] - sent == 5000


def test_from_the_bucket_of_another_site(
    site: Site, bucket: Bucket, object_storage: ObjectStorage, settings: Settings
) -> None:
    """The source has the name of the target: here it is another server's bucket, or the same."""
    model = f"org{uuid4().hex[:8]}/model"
    registry = settings.artifact_registries["other-site"].reservoir
    assert registry is not None
    for name, data in FILES.items():
        bucket.put(f"{model}/main/{name}", data)
    body = {
        "registry_name": "other-site",
        "models": [{"model_id": model, "revision": "main"}],
        "artifact_revision_ids": [REVISION],
        **TO_BUCKET,
        "storage_prefix": f"copy/{model}",
    }
    job = site.ended(site.door.call("POST", RESERVOIR, body).json()["task_id"])
    assert job["state"] == "succeeded", job
    assert content(bucket, f"copy/{model}") == FILES
    absent = body | {"models": [{"model_id": f"org/{uuid4().hex}", "revision": "main"}]}
    job = site.ended(site.door.call("POST", RESERVOIR, absent).json()["task_id"])
    assert (job["state"], job["error"]["error_code"]) == ("failed", "artifact_read_not-found")
