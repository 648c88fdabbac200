"""Clones that the storage system makes: big files on a simulated ONTAP, whole trees by a plugin."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Ignore

from backends.base import HasSnapshots, MountedBackend, capabilities
from backends.volumes import Volumes
from core.jobs import Job, State
from core.jobs.requests import parse
from core.jobs.store import JobStore, Submission
from core.names import VFolderId
from core.redis import Database, connect
from core.settings import Settings
from simulators.arrays import ontap, vast
from simulators.serving import serving
from simulators.shelf import Shelf
from tests.backends.systems.arrays.simulated import trusting
from tests.support.doors import mark, settings_in
from tests.support.loops import mounted
from tests.support.trees import snapshot
from tests.support.valkey import Valkey
from tests.workers.transfer.disks import new_vfolder
from workers.runner import JobFailed, Runner

#: Files from this size on are cloned by a call each.
BIG_BYTES = 32 << 20
#: A storage system that clones trees, as a plugin of a site.
PLUGIN = """
import os
import shutil
from pathlib import PurePosixPath
from typing import ClassVar

from backends.mounted import PosixBackend
from core.errors import Unsupported


class CloningBackend(PosixBackend):
    name: ClassVar[str] = "cloning"
    outcomes: ClassVar[list[str]] = []

    def clone_tree(self, source: PurePosixPath, target: PurePosixPath) -> None:
        outcome = self.outcomes.pop(0) if self.outcomes else "done"
        if outcome == "unsupported":
            raise Unsupported("not these two")
        made = self.mount.path / target
        shutil.copytree(self.mount.path / source, made, symlinks=True)
        if outcome == "killed":
            next(path for path in made.rglob("*") if path.is_file()).unlink()
            os._exit(9)
        if outcome == "wrong":
            next(path for path in made.rglob("*") if path.is_file()).write_text("another")
"""


@dataclass
class Site:
    """One volume, whose jobs the test runs as a worker's process does."""

    settings: Settings
    store: JobStore
    volume: str

    @property
    def backend(self) -> MountedBackend:
        backend = Volumes(self.settings).get(self.volume).skill(MountedBackend)
        assert backend is not None
        return backend

    def path(self, vfolder: VFolderId) -> Path:
        return self.backend.vfolder_path(vfolder)

    def folder(self, *names: str, size: int = 10) -> VFolderId:
        made = new_vfolder()
        assert made.scope is not None
        self.backend.create_scope(made.scope)
        self.backend.create_vfolder(made)
        for name in names:
            path = self.path(made) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(size))
        return made

    def done(self, verb: str, **request: Any) -> Job:
        return self.run(self.store.submit(Submission(parse({"verb": verb, **request}))))

    def run(self, job: Job) -> Job:
        with suppress(Ignore, JobFailed):
            Runner(self.settings, self.store, lambda _: None)(job.id, lambda _: None)
        return self.store.get(job.id)

    def clone(self, source: VFolderId, **more: Any) -> tuple[Job, VFolderId]:
        target = new_vfolder()
        names = {"source": str(source), "target": str(target)}
        return self.done("clone", volume=self.volume, **names, **more), target

    def same(self, source: VFolderId, target: VFolderId) -> bool:
        return snapshot(self.path(source)) == snapshot(self.path(target))


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    """An ext4: no file shares the blocks of another one there."""
    with mounted(tmp_path / "disk", ["mkfs.ext4", "-q", "-F"], size_bytes=512 << 20) as made:
        yield made


@contextmanager
def site(directory: Path, valkey: Valkey, top: Path, table: dict[str, Any]) -> Iterator[Site]:
    """A site whose volume `array` is at `top`."""
    options = "".join(f"{key} = {_toml(value)}\n" for key, value in table["options"].items())
    head = f'[volume.array]\nbackend = "{table["backend"]}"\npath = "{top}"\n'
    more = f"{head}[volume.array.options]\n{options}"
    settings = settings_in(directory, valkey.url, more)
    mark(settings, {"array": top})
    with connect(settings, Database.JOBS) as client:
        yield Site(settings, JobStore(client, lambda _: None), "array")


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


@contextmanager
def on_ontap(
    directory: Path, valkey: Valkey, top: Path, profile: ontap.Profile
) -> Iterator[tuple[Site, ontap.OntapSim]]:
    simulator = ontap.OntapSim(Shelf(top), profile)
    with serving(simulator) as server:
        options = trusting(ontap.options(server.url))
        with site(directory, valkey, top, {"backend": "netapp", "options": options}) as made:
            yield made, simulator


def clones(simulator: ontap.OntapSim) -> list[str]:
    return [effect for effect in simulator.effects if effect.startswith("clone file")]


def test_big_files_are_cloned_by_the_array(tmp_path: Path, valkey_alone: Valkey, top: Path) -> None:
    with on_ontap(tmp_path, valkey_alone, top, ontap.Profile(quota="on")) as (it, simulator):
        source = it.folder("small", "a/big", "a/b/big", size=BIG_BYTES)
        (it.path(source) / "small").write_bytes(b"x")
        (it.path(source) / "a/big").chmod(0o640)
        os.chown(it.path(source) / "a/big", 1234, 4321)
        os.utime(it.path(source) / "a/big", ns=(10**18, 10**18 + 7))
        ended, target = it.clone(source, verify="checksum")
        assert ended.state is State.SUCCEEDED, ended.document()
        assert len(clones(simulator)) == 2
        assert it.same(source, target)
        found = ended.member("result")
        assert (found["files"], found["copied_bytes"]) == (3, 2 * BIG_BYTES + 1)


@pytest.mark.parametrize(
    "profile",
    [
        ontap.Profile(quota="on", style="flexgroup"),
        ontap.Profile(quota="on", denied=("clone",)),
    ],
    ids=["flexgroup", "denied"],
)
def test_what_the_array_does_not_clone_is_copied(
    tmp_path: Path, valkey_alone: Valkey, top: Path, profile: ontap.Profile
) -> None:
    with on_ontap(tmp_path, valkey_alone, top, profile) as (it, simulator):
        source = it.folder("one", "two", size=BIG_BYTES)
        ended, target = it.clone(source)
        assert ended.state is State.SUCCEEDED, ended.document()
        assert clones(simulator) == []
        assert it.same(source, target)


def test_a_snapshot_is_restored_by_clones(tmp_path: Path, valkey_alone: Valkey, top: Path) -> None:
    with on_ontap(tmp_path, valkey_alone, top, ontap.Profile(quota="on")) as (it, simulator):
        source = it.folder("big", size=BIG_BYTES)
        snapshots = it.backend.skill(HasSnapshots)
        assert snapshots is not None
        snapshots.create_snapshot(source, "before")
        before = (it.path(source) / "big").read_bytes()
        (it.path(source) / "big").write_bytes(b"after")
        target = new_vfolder()
        ended = it.done(
            "snapshot",
            action="restore",
            volume="array",
            vfolder=str(source),
            name="before",
            target=str(target),
        )
        assert ended.state is State.SUCCEEDED, ended.document()
        assert len(clones(simulator)) == 1
        assert (it.path(target) / "big").read_bytes() == before


@pytest.fixture
def cloning(
    tmp_path: Path, valkey_alone: Valkey, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Site, list[str]]]:
    """A volume of the plugin; what its next calls do."""
    installed = tmp_path / "installed"
    facts = installed / "cloning_backend-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: cloning-backend\nVersion: 1.0\n")
    entry = "[vfolder.backends]\ncloning = cloning_backend:CloningBackend\n"
    (facts / "entry_points.txt").write_text(entry)
    (installed / "cloning_backend.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.delitem(sys.modules, "cloning_backend", raising=False)
    top = tmp_path / "top"
    top.mkdir()
    with site(tmp_path, valkey_alone, top, {"backend": "cloning", "options": {}}) as made:
        assert "instant-clone" in capabilities(made.backend)
        yield made, sys.modules["cloning_backend"].CloningBackend.outcomes


def test_vast_clones_whole_vfolders(tmp_path: Path, valkey_alone: Valkey, top: Path) -> None:
    simulator = vast.VastSim(Shelf(top), vast.Profile(clone_looks=2))
    with serving(simulator) as server:
        options = trusting({**vast.options(server.url), "vast_clones": True})
        table = {"backend": "vast", "options": options}
        with site(tmp_path, valkey_alone, top, table) as it:
            source = it.folder("a", "sub/b")
            for clones, method in ((True, "clone"), (False, None)):
                simulator.profile.clones = clones
                job, target = it.clone(source)
                assert job.state is State.SUCCEEDED
                assert job.document()["result"].get("method") == method
                assert it.same(source, target)
                assert not simulator.streams
                assert not simulator.snapshots


def test_a_whole_vfolder_is_cloned_by_one_call(cloning: tuple[Site, list[str]]) -> None:
    it, outcomes = cloning
    source = it.folder("a", "b/c")
    outcomes.append("done")
    ended, target = it.clone(source)
    assert ended.state is State.SUCCEEDED, ended.document()
    assert outcomes == []
    assert ended.member("result")["method"] == "clone"
    assert it.same(source, target)
    copy = new_vfolder()
    names = {"source": str(source), "target": str(copy), "target_volume": "array"}
    moved = it.done("transfer", volume="array", verify="checksum", **names)
    assert moved.state is State.SUCCEEDED, moved.document()
    assert moved.member("result")["method"] == "clone"
    assert "cloned" in str(moved.document())
    assert it.same(source, copy)


def test_what_cannot_be_cloned_is_copied(cloning: tuple[Site, list[str]]) -> None:
    it, outcomes = cloning
    source = it.folder("a", "b/c")
    outcomes.append("unsupported")
    ended, target = it.clone(source)
    assert ended.state is State.SUCCEEDED, ended.document()
    assert ended.member("result")["files"] == 2
    assert it.same(source, target)


def test_a_clone_that_was_killed_begins_again(cloning: tuple[Site, list[str]]) -> None:
    it, outcomes = cloning
    source, target = it.folder("a", "b/c"), new_vfolder()
    request = {"verb": "clone", "volume": "array", "source": str(source), "target": str(target)}
    job = it.store.submit(Submission(parse(request)))
    outcomes.append("killed")
    if not (child := os.fork()):
        with connect(it.settings, Database.JOBS) as client:
            Site(it.settings, JobStore(client, lambda _: None), "array").run(job)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    outcomes.clear()
    assert not it.path(target).exists()
    it.store.lose(job.id, it.store.get(job.id).run or "", "killed", 10)
    ended = it.run(job)
    assert ended.state is State.SUCCEEDED, ended.document()
    assert ended.member("result")["method"] == "clone"
    assert it.same(source, target)


def test_a_clone_that_differs_is_not_published(cloning: tuple[Site, list[str]]) -> None:
    it, outcomes = cloning
    source = it.folder("a")
    outcomes.append("wrong")
    ended, target = it.clone(source)
    assert ended.state is State.FAILED, ended.document()
    assert not it.path(target).exists()
