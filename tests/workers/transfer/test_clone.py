"""A clone that another version began, and faults after a clone is published."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery.exceptions import Ignore

from backends.fs import descriptors, layout
from backends.tree import copy_tree
from core.jobs import Job, State, Unattended
from core.jobs.requests import CloneRequest
from core.jobs.store import JobStore, Submission
from core.names import VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.support.doors import settings_in
from tests.support.trees import snapshot
from tests.support.valkey import Valkey
from tests.workers.transfer.disks import new_vfolder
from workers.run import Manifest
from workers.runner import Runner

VOLUME = "local"
#: Names that a staging of this version uses, too: a tree of the caller may have them.
FILES = ("tree/file", "left/file", "tree.manifest", "plain", "sub/deep/file")


@dataclass
class FormerRun:
    """A clone that a run of version 0.1.0 began and did not end; the test is its next worker."""

    settings: Settings
    store: JobStore
    root: int
    job: Job
    source: VFolderId
    target: VFolderId

    def path(self, vfolder: VFolderId) -> Path:
        top: Path = self.settings.volume_path(self.settings.volume[VOLUME])
        return top / vfolder.directory

    @property
    def staging(self) -> Path:
        top: Path = self.settings.volume_path(self.settings.volume[VOLUME])
        return top / layout.staging(self.target.scope, self.job.id)

    def copy(self, *marks: str) -> None:
        """Stage the tree as that version did: at the staging itself, recorded in the manifest."""
        manifest = Manifest(self.root, self.target.scope, self.job.id, lambda _: None)
        staging = layout.staging(self.target.scope, self.job.id)
        with (
            descriptors.made(staging, self.root) as staged,
            descriptors.opened(str(self.path(self.source))) as source,
        ):
            copy_tree(source, staged, control=Unattended(), manifest=manifest.record)
            facts = {"copied": {"files": len(FILES), "copied_bytes": 1}}
            facts["publish"] = {"inode": os.fstat(staged).st_ino}
            for mark in marks:
                manifest.mark(mark, **facts[mark])
        manifest.close()

    def ended(self) -> Job:
        """The job after its next run."""
        with suppress(Ignore):
            Runner(self.settings, self.store, lambda _: None)(self.job.id, lambda _: None)
        return self.store.get(self.job.id)

    def equal(self) -> bool:
        hidden = self.staging.parent
        left = [path.name for path in hidden.iterdir()] if hidden.exists() else []
        return snapshot(self.path(self.source)) == snapshot(self.path(self.target)) and not left


@pytest.fixture
def former(tmp_path: Path, valkey_alone: Valkey) -> Iterator[FormerRun]:
    settings = settings_in(tmp_path, valkey_alone.url)
    source, target = new_vfolder(), new_vfolder()
    request = CloneRequest(volume=VOLUME, source=str(source), target=str(target))
    top = settings.volume_path(settings.volume[VOLUME])
    assert target.scope is not None
    (top / target.scope.directory).mkdir()
    with connect(settings, Database.JOBS) as client, descriptors.opened(str(top)) as root:
        store = JobStore(client, lambda _: None)
        job = store.submit(Submission(request))
        assert store.claim(job.id, "former", "node", 60, "former:1") == "ok"
        run = FormerRun(settings, store, root, job, source, target)
        for name in FILES:
            path = run.path(source) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        yield run


def lost(run: FormerRun) -> None:
    run.store.lose(run.job.id, "former", "killed", 10)


@pytest.mark.parametrize("marks", [(), ("copied",), ("copied", "publish")])
def test_a_clone_that_an_earlier_version_staged_begins_again(
    former: FormerRun, marks: tuple[str, ...]
) -> None:
    former.copy(*marks)
    lost(former)
    ended = former.ended()
    assert ended.state is State.SUCCEEDED, ended.document()
    assert ended.member("result")["files"] == len(FILES)
    assert former.equal()


def test_a_clone_that_an_earlier_version_published_is_settled(former: FormerRun) -> None:
    former.copy("copied", "publish")
    target = former.path(former.target)
    target.parent.mkdir(parents=True)
    former.staging.rename(target)
    lost(former)
    ended = former.ended()
    assert ended.state is State.SUCCEEDED, ended.document()
    assert ended.member("result")["files"] == len(FILES)
    assert former.equal()


def test_a_clone_that_an_earlier_version_staged_is_cancelled(former: FormerRun) -> None:
    former.copy()
    lost(former)
    former.store.cancel(former.job.id)
    ended = former.ended()
    assert ended.state is State.CANCELLED, ended.document()
    assert not former.path(former.target).exists()
    assert list(former.staging.parent.iterdir()) == []
