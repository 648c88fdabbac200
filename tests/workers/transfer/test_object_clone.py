"""Clones within a bucket that another caller or a failing storage meets."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from backends.entries import HasObjects
from backends.systems.s3 import Bucket
from backends.systems.s3.backend import S3Backend
from core.jobs import State
from core.jobs.requests import parse
from core.jobs.store import Submission
from core.names import VFolderId
from tests.support.object_storage import ACCESS_KEY, SECRET_KEY, ObjectStorage
from tests.support.valkey import Valkey
from tests.workers.transfer.test_array_clone import Site, new_vfolder, site
from workers.node.sweeps import Sweep

pytestmark = pytest.mark.part("seaweedfs")


@pytest.fixture
def it(object_storage: ObjectStorage, tmp_path: Path, valkey_alone: Valkey) -> Iterator[Site]:
    (tmp_path / "records").mkdir()
    options = {
        "endpoint": object_storage.url,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "bucket": object_storage.new_bucket().name,
    }
    table = {"backend": "s3", "options": options}
    with site(tmp_path, valkey_alone, tmp_path / "records", table) as made:
        yield made


def objects(it: Site) -> HasObjects:
    found = it.backend.skill(HasObjects)
    assert found is not None
    return found


def test_a_target_that_another_caller_made_is_not_the_clone(
    it: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies between the copy and its publication, and another caller makes the target."""
    source = new_vfolder()
    assert source.scope is not None
    it.backend.create_scope(source.scope)
    it.backend.create_vfolder(source)
    target = VFolderId(source.scope, uuid4())

    publish = S3Backend.publish_draft

    def overtaken(self: S3Backend, vfolder: VFolderId, name: str) -> None:
        del name
        monkeypatch.setattr(S3Backend, "publish_draft", publish)
        self.create_vfolder(vfolder)
        raise KeyboardInterrupt

    monkeypatch.setattr(S3Backend, "publish_draft", overtaken)
    request = {"verb": "clone", "volume": it.volume, "source": str(source), "target": str(target)}
    job = it.store.submit(Submission(parse(request)))
    with pytest.raises(KeyboardInterrupt):
        it.run(job)
    it.store.lose(job.id, it.store.get(job.id).run or "", "killed", 10)
    ended = it.run(job)
    assert ended.state is State.FAILED, ended.document()
    assert "already there" in ended.member("error")["detail"]
    it.backend.check_vfolder(target)


def test_a_sweep_goes_on_where_the_bucket_fails(it: Site) -> None:
    bucket: Bucket = it.backend.skill(S3Backend).bucket  # type: ignore[union-attr]
    bucket._calls("delete_bucket", Bucket=bucket.name)
    said = Sweep(it.settings, it.store, it.volume)()
    assert "asked for" in said
