"""A snapshot over its vfolder, on a real btrfs, whose run dies at each change of a directory."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery.exceptions import Ignore

from backends.base import MountedBackend
from backends.fs import descriptors, layout, linux
from backends.volumes import Volumes
from core.jobs import Job
from core.jobs.requests import parse
from core.jobs.store import JobStore, Submission
from core.names import QuotaScope, VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.support.doors import settings_in
from tests.support.loops import mounted
from tests.support.trees import snapshot
from tests.support.valkey import Valkey
from workers.node import Sweep
from workers.run import Manifest
from workers.runner import JobFailed, Runner

pytestmark = pytest.mark.part("btrfs")

VOLUME = "kept"
ON_BTRFS = """
[volume.kept]
backend = "btrfs"
path = "{top}"
[vfolder.jobs]
lease-seconds = 600.0
max-losses = 100
"""


class Died(BaseException):
    """The process ends here."""


class Deaths:
    """Ends the process before or after one of the calls that change a directory or a manifest."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.at, self.calls = -1, 0
        for owner, name in ((linux, "rename_noreplace"), (linux, "rename_exchange")):
            patch.setattr(owner, name, self._wrapped(getattr(owner, name)))
        patch.setattr(Manifest, "mark", self._wrapped(Manifest.mark))
        patch.setattr(os, "rmdir", self._wrapped(os.rmdir))

    def _wrapped(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            self.calls += 2
            own = self.calls
            if own - 1 == self.at:
                raise Died
            try:
                return inner(*args, **more)
            finally:
                if own == self.at:
                    raise Died

        return call


class Kept:
    """A volume on btrfs and the jobs that a test runs itself."""

    def __init__(self, settings: Settings, store: JobStore, top: Path) -> None:
        self.settings, self.store, self.top = settings, store, top

    def folder(self) -> VFolderId:
        vfolder = VFolderId(QuotaScope.parse(f"user:{uuid4()}"), uuid4())
        assert vfolder.scope is not None
        backend = Volumes(self.settings).get(VOLUME).skill(MountedBackend)
        assert backend is not None
        backend.create_scope(vfolder.scope)
        (self.top / vfolder.directory / "sub").mkdir(parents=True)
        return vfolder

    def submit(self, **request: Any) -> Job:
        return self.store.submit(Submission(parse({"volume": VOLUME, **request})))

    def run(self, job: Job) -> Job:
        try:
            with suppress(Ignore, JobFailed):
                Runner(self.settings, self.store, lambda _: None)(job.id, lambda _: None)
        except Died:
            found = self.store.get(job.id)
            self.store.lose(job.id, found.fields["run"], "died", 100)
        return self.store.get(job.id)


@pytest.fixture
def kept(tmp_path: Path, valkey: Valkey) -> Iterator[Kept]:
    with valkey.client() as client:
        client.flushall()
    make = ["mkfs.btrfs", "-q", "-m", "single", "-d", "single"]
    with mounted(tmp_path / "btrfs", make, size_bytes=256 << 20) as top:
        settings = settings_in(tmp_path, valkey.url, ON_BTRFS.format(top=top))
        with connect(settings, Database.JOBS) as client:
            yield Kept(settings, JobStore(client, lambda _: None), top)


@pytest.mark.parametrize("exchanges", [True, False])
def test_it_is_whole_wherever_the_run_dies(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, *, exchanges: bool
) -> None:
    """Without the exchange (as on NFS) the vfolder may be absent, until the next run."""
    if not exchanges:

        def refused(*_: object) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        monkeypatch.setattr(linux, "rename_exchange", refused)
    vfolder = kept.folder()
    top = kept.top / vfolder.directory
    (top / "sub/a").write_text("before")
    then = snapshot(top)
    own = {"vfolder": str(vfolder)}
    made = kept.run(kept.submit(verb="snapshot", action="create", name="s", **own))
    assert made.state.value == "succeeded", made.document()
    deaths, number, ended = Deaths(monkeypatch), 0, False
    while not ended:
        (top / "sub/a").write_text("after")
        (top / "late").write_text(str(number))
        now = snapshot(top)
        over = {"verb": "snapshot", "action": "restore", "name": "s", "over": True}
        job = kept.submit(**own, **over)
        number += 1
        deaths.calls, deaths.at = 0, number
        first = kept.run(job)
        ended = first.state.ended
        assert snapshot(top) in (now, then) if exchanges or top.exists() else True
        deaths.at = -1
        Sweep(kept.settings, kept.store, VOLUME)()
        last = first if ended else kept.run(job)
        assert last.state.value == "succeeded", (number, last.document())
        assert snapshot(top) == then, number
        # What was there can be taken back.
        (top / "sub").rename(top / "aside")
        words = {"verb": "restore", "trash": job.id, "entries": True}
        back = kept.run(kept.submit(**own, **words))
        assert back.state.value == "succeeded", (number, back.document())
        (top / "aside/a").unlink()
        (top / "aside").rmdir()
        assert snapshot(top) == now, number
        assert not list((kept.top / layout.area(vfolder.scope, layout.TRASH)).iterdir()), number
    assert number > 20, "it died often"


def test_a_failure_before_the_exchange_changes_nothing(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    vfolder = kept.folder()
    top = kept.top / vfolder.directory
    own = {"vfolder": str(vfolder)}
    kept.run(kept.submit(verb="snapshot", action="create", name="s", **own))
    (top / "late").write_text("late")
    now = snapshot(top)

    def broken(*_: object) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(descriptors, "exchange", broken)
    over = {"verb": "snapshot", "action": "restore", "name": "s", "over": True}
    job = kept.run(kept.submit(**own, **over))
    assert job.state.value == "failed", job.document()
    assert snapshot(top) == now
    assert not list((kept.top / layout.area(vfolder.scope, layout.TRASH)).iterdir())
    assert not list((kept.top / layout.area(vfolder.scope, layout.STAGING)).iterdir())
