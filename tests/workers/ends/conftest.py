"""A store, a volume with soft limits, and jobs that the test runs as a worker's process does."""

import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery.exceptions import Ignore

from backends.base import MountedBackend
from backends.fs import layout
from backends.quota import soft
from backends.volumes import Volumes
from core.jobs import Job
from core.jobs.requests import parse
from core.jobs.store import JobStore, Submission
from core.names import QuotaScope, VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.support.brittlefs import BrittleFS, mounted
from tests.support.doors import settings_in
from tests.support.valkey import Valkey
from workers.node import Sweep
from workers.run import Run
from workers.runner import JobFailed, Runner

VOLUME = "local"
LIMIT_BYTES = 64 << 20
#: What a test's vfolder has.
FILES = {"a": b"1" * 1000, "sub/b": b"2" * 2000, "sub/deep/c": b"3"}


@dataclass
class Bench:
    """One volume; every vfolder of the test lies in one quota scope with a limit."""

    settings: Settings
    store: JobStore
    scope: QuotaScope
    made: list[VFolderId] = field(default_factory=list)

    @property
    def top(self) -> Path:
        top: Path = self.settings.volume_path(self.settings.volume[VOLUME])
        return top

    @property
    def backend(self) -> MountedBackend:
        backend = Volumes(self.settings).get(VOLUME).skill(MountedBackend)
        assert backend is not None
        return backend

    def absent(self) -> VFolderId:
        return VFolderId(self.scope, uuid4())

    def folder(self) -> VFolderId:
        """A vfolder with `FILES`."""
        vfolder = self.absent()
        for name, content in FILES.items():
            path = self.path(vfolder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return vfolder

    def path(self, vfolder: VFolderId) -> Path:
        return self.top / vfolder.directory

    def hidden(self, area: str) -> list[str]:
        path = self.top / layout.area(self.scope, area)
        return sorted(os.listdir(path)) if path.exists() else []

    def left(self) -> dict[str, Any]:
        """What jobs left: files, promises of space, slots and locks of the store."""
        areas = {area: self.hidden(area) for area in (layout.STAGING, layout.JOBS)}
        areas[layout.JOBS] = [n for n in areas[layout.JOBS] if not n.endswith(".report")]
        held = self.held()
        found: dict[str, Any] = {name: names for name, names in areas.items() if names}
        return found | ({"held": held} if held else {})

    def held(self) -> int:
        found = soft.soft_of(self.backend)
        assert found is not None
        return found.balance(self.scope.directory).held_bytes

    def submit(self, verb: str, **request: Any) -> Job:
        return self.store.submit(Submission(parse({"verb": verb, "volume": VOLUME, **request})))

    def run(self, job: Job) -> Job:
        """One attempt."""
        with suppress(Ignore, JobFailed):
            Runner(self.settings, self.store, lambda _: None)(job.id, lambda _: None)
        return self.store.get(job.id)

    def done(self, verb: str, **request: Any) -> Job:
        return self.run(self.submit(verb, **request))

    def sweep(self) -> str:
        return Sweep(self.settings, self.store, VOLUME)()


@contextmanager
def on_brittle(bench: Bench) -> Iterator[BrittleFS]:
    """Have the volume on a file system that fails by rules; nothing is on it before."""
    directory = bench.settings.directory / "brittle"
    directory.mkdir()
    shutil.copytree(bench.top, directory / "backing")
    with mounted(directory) as volume:
        shutil.rmtree(bench.top)
        bench.top.symlink_to(volume.path)
        yield volume


@pytest.fixture
def bench(tmp_path: Path, valkey: Valkey) -> Iterator[Bench]:
    with valkey.client() as client:
        client.flushall()
    settings = settings_in(tmp_path, valkey.url, "[vfolder.jobs]\nlease-seconds = 60.0\n")
    with connect(settings, Database.JOBS) as client:
        found = Bench(settings, JobStore(client, lambda _: None), new_scope())
        found.backend.set_limit(found.scope, LIMIT_BYTES)
        yield found


def new_scope() -> QuotaScope:
    return QuotaScope.parse(f"user:{uuid4()}")


def tar_of(
    files: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] | None = None
) -> bytes:
    """The bytes of a tar; `change` may spoil each header."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if change is not None:
                change(info)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


#: The calls of a run at which a fault is placed.
CALLS = ("phase", "expect", "count", "entry", "check", "point_of_no_return")
Point = tuple[str, str]


class Fault:
    """Raises at one point of a run: the first call of a name within a phase; notes all points."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.points: list[Point] = []
        self.at: Point | None = None
        self.act: Callable[[], None] = lambda: None
        self._phase = "start"
        for name in CALLS:
            patch.setattr(Run, name, self._wrapped(name, getattr(Run, name)))

    def arm(self, at: Point | None, act: Callable[[], None] = lambda: None) -> None:
        self.points, self.at, self.act, self._phase = [], at, act, "start"

    def _wrapped(self, name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(run: Run, *args: Any, **more: Any) -> Any:
            if name == "phase":
                self._phase = args[0]
            point = name, self._phase
            first = point not in self.points
            if first:
                self.points.append(point)
            result = inner(run, *args, **more)
            if first and point == self.at:
                self.act()
            return result

        return call


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> Fault:
    return Fault(monkeypatch)
