"""Imports into a vfolder of a bucket, on a real S3 server: resumed, cancelled, refused."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from backends.entries import HasObjects
from backends.systems.s3 import Bucket
from backends.volumes import Volumes
from core.names import QuotaScope, VFolderId, VFolderPath
from core.settings import Settings
from tests.api.artifacts.test_imports import FILES, Site, site
from tests.support.doors import mark
from tests.support.node import wait_for
from tests.support.object_storage import (
    ACCESS_KEY,
    SECRET_KEY,
    Fault,
    FaultyStorage,
    ObjectStorage,
)

__all__ = ["site"]

pytestmark = pytest.mark.part("seaweedfs")
#: Two parts of a multipart upload.
LARGE = os.urandom(1 << 20) * 20
VOLUME = """
[volume.objects]
backend = "s3"
path = "{records}"
[volume.objects.options]
endpoint = "{endpoint}"
bucket = "{bucket}"
access_key = "{key}"
secret_key = "{secret}"
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def bucket(object_storage: ObjectStorage) -> Bucket:
    return object_storage.new_bucket()


@pytest.fixture(scope="module")
def proxy(object_storage: ObjectStorage) -> Iterator[FaultyStorage]:
    proxy = FaultyStorage(object_storage)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def verifiers(records: Path, bucket: Bucket, proxy: FaultyStorage) -> str:
    """The last tables of the configuration: the volume, whose bucket is behind the proxy."""
    words = {"records": records, "bucket": bucket.name, "endpoint": proxy.url}
    return VOLUME.format(key=ACCESS_KEY, secret=SECRET_KEY, **words)


@pytest.fixture(scope="module")
def settings(settings: Settings, records: Path) -> Settings:
    mark(settings, {"objects": records})
    return settings


@pytest.fixture(autouse=True)
def _usual(proxy: FaultyStorage, site: Site) -> Iterator[None]:
    yield
    proxy.faults.clear()
    site.hub.lies.clear()


class Target:
    """A new vfolder of the bucket."""

    def __init__(self, settings: Settings) -> None:
        self.id = VFolderId(QuotaScope.parse(f"user:{uuid4()}"), uuid4())
        backend = Volumes(settings).get("objects")
        assert self.id.scope is not None
        backend.create_scope(self.id.scope)
        backend.create_vfolder(self.id)
        objects = backend.skill(HasObjects)
        assert objects is not None
        self.tree = objects.tree(self.id)

    @property
    def steps(self) -> dict[str, Any]:
        target = {"vfolder_id": str(self.id), "volume_name": "objects"}
        steps = dict.fromkeys(("download", "verify", "archive"), target)
        return {"storage_step_mappings": None, "storage_step_target_mappings": steps}

    def content(self) -> dict[str, bytes]:
        found = {}
        for one in self.tree.entries():
            reader = self.tree.open_object(VFolderPath.parse(one.name))
            found[one.name] = b"".join(iter(lambda reader=reader: reader.read(1 << 20), b""))
            reader.close()
        return found


@pytest.fixture
def target(site: Site, settings: Settings) -> Target:
    return Target(settings)


def is_clean(records: Path, task: str) -> bool:
    """Whether nothing of a job is left in the staging of the volume."""
    return not list(records.rglob(f"staging/{task}*"))


def below(directory: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{directory}/{name}": data for name, data in files.items()}


def test_a_later_import_downloads_what_changed(
    site: Site, target: Target, bucket: Bucket, records: Path
) -> None:
    model = site.model({**FILES, "large.bin": LARGE})
    (records / "mine").write_bytes(b"stays")
    with (records / "mine").open("rb") as file:
        target.tree.put_file(VFolderPath.parse("mine"), file.fileno(), 5)
    task = site.begun(model, **target.steps)
    job = site.ended(task)
    assert job["state"] == "succeeded", job
    place = f"{model}/main"
    assert target.content() == below(place, {**FILES, "large.bin": LARGE}) | {"mine": b"stays"}
    wait_for(lambda: is_clean(records, task))
    # Another content of the same length has no digest of the hub.
    with (records / "mine").open("wb+") as file:
        file.write(b"# A modeL")
        file.flush()
        target.tree.put_file(VFolderPath.parse(f"{place}/README.md"), file.fileno(), 9)
    changed = {**FILES, "weights/config.json": b"{1}", "new": b"new", "large.bin": LARGE}
    site.hub.repos[model].commit(changed)
    before = dict(site.hub.sent)
    job = site.ended(site.begun(model, **target.steps))
    assert job["state"] == "succeeded", job
    assert target.content() == below(place, changed) | {"mine": b"stays"}
    sent = {name for name in changed if site.hub.sent[name] != before.get(name, 0)}
    assert sent == {"README.md", "weights/config.json", "new"}
    assert [one.fields["success"] for one in site.end_of(model, 2)] == [True, True]
    assert not list(bucket.unfinished())


def is_held(site: Site, task: str, proxy: FaultyStorage) -> bool:
    """Whether both parts of the large file are sent, and its completion is refused."""
    assert not site.get(task)["done"], site.get(task)
    return proxy.count("PUT", "large.bin.partNumber") >= 2 and any(
        one.method == "POST" and "uploadId" in one.target for one in proxy.seen
    )


def hold(proxy: FaultyStorage) -> None:
    proxy.seen.clear()
    proxy.faults = [Fault("POST", "uploadId", times=1000, status=503, code="SlowDown")]


def test_a_killed_import_continues_inside_its_upload(
    site: Site, target: Target, bucket: Bucket, worker: int, proxy: FaultyStorage
) -> None:
    model = site.model({"a.bin": b"1" * 5000, "large.bin": LARGE})
    before = dict(site.hub.sent)
    hold(proxy)
    task = site.begun(model, **target.steps)
    wait_for(lambda: is_held(site, task, proxy), 120)
    for child in psutil.Process(worker).children():
        child.send_signal(signal.SIGKILL)
    proxy.faults.clear()
    job = site.ended(task)
    assert (job["state"], job["attempt"] > 1) == ("succeeded", True), job
    assert target.content() == below(f"{model}/main", {"a.bin": b"1" * 5000, "large.bin": LARGE})
    assert not list(bucket.unfinished())
    assert proxy.count("PUT", "large.bin.partNumber") == 2
    assert site.hub.sent["large.bin"] - before.get("large.bin", 0) == len(LARGE)


def test_a_cancelled_import_leaves_no_upload(
    site: Site, target: Target, bucket: Bucket, records: Path, proxy: FaultyStorage
) -> None:
    model = site.model({"large.bin": LARGE})
    hold(proxy)
    task = site.begun(model, **target.steps)
    wait_for(lambda: is_held(site, task, proxy), 120)
    site.door.call("POST", f"/v1/jobs/{task}/cancel")
    assert site.ended(task)["state"] == "cancelled"
    assert not list(bucket.unfinished())
    assert target.content() == {}
    wait_for(lambda: is_clean(records, task))


def test_a_refused_file_makes_no_object(site: Site, target: Target, records: Path) -> None:
    """Files are checked before the first one is sent."""
    model = site.model({"a": b"1", "z.bin": b"x" * 5000})
    site.hub.lies["z.bin"] = b"y" * 5000
    task = site.begun(model, **target.steps)
    job = site.ended(task)
    assert job["state"] == "failed", job
    assert target.content() == {}
    assert site.end_of(model)[0].fields["success"] is False
    wait_for(lambda: is_clean(records, task))


def test_a_directory_in_the_way_is_named(site: Site, target: Target, bucket: Bucket) -> None:
    model = site.model({"a": b"1"})
    target.tree.make_directory(VFolderPath.parse(f"{model}/main/a"))
    job = site.ended(site.begun(model, **target.steps))
    assert (job["state"], job["error"]["status"]) == ("failed", 409), job
    assert not list(bucket.unfinished())
