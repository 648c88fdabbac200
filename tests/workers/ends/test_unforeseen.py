"""Whatever exception ends a job, at any point: no staging, archive, promise or lock is left."""

import fcntl
import os
import struct
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends.fs import layout
from core.jobs import Job, State
from core.jobs.store import PREFIX
from core.names import VFolderId
from tests.support.brittlefs import Rule
from tests.workers.ends.conftest import FILES, Bench, Fault, on_brittle, tar_of
from workers.node import leftovers

#: What a verb, a library or the interpreter may raise, and no verb expects.
UNFORESEEN: tuple[type[Exception], ...] = (
    OverflowError,
    RecursionError,
    MemoryError,
    struct.error,
    KeyError,
    TypeError,
)


def clone(bench: Bench) -> dict[str, Any]:
    return {"source": str(bench.folder()), "target": str(bench.absent()), "verify": "checksum"}


def transfer(bench: Bench) -> dict[str, Any]:
    return clone(bench)


def over(bench: Bench) -> dict[str, Any]:
    target = str(bench.folder())
    return {"source": str(bench.folder()), "target": target, "on_conflict": "replace"}


def one_file(bench: Bench) -> dict[str, Any]:
    return over(bench) | {"source_path": "sub/b", "target_path": "other"}


def extract(bench: Bench) -> dict[str, Any]:
    vfolder = bench.folder()
    (bench.path(vfolder) / "x.tar").write_bytes(tar_of(FILES))
    return {"vfolder": str(vfolder), "source": "x.tar", "target": "new", "archive": "tar"}


def upload(bench: Bench) -> dict[str, Any]:
    directory = bench.top / layout.area(bench.scope, layout.UPLOADS)
    directory.mkdir(parents=True, exist_ok=True)
    vfolder = bench.folder()
    (directory / vfolder.id.hex).write_bytes(tar_of(FILES))
    named = {"upload": vfolder.id.hex, "target": "new", "archive": "tar"}
    return {"vfolder": str(vfolder)} | named


def delete(bench: Bench) -> dict[str, Any]:
    return {"vfolder": str(bench.folder()), "keep_seconds": 0}


def into_trash(bench: Bench) -> dict[str, Any]:
    return {"vfolder": str(bench.folder()), "keep_seconds": 1000}


def delete_files(bench: Bench) -> dict[str, Any]:
    return {"vfolder": str(bench.folder()), "paths": ["sub", "a"], "recursive": True}


def usage(bench: Bench) -> dict[str, Any]:
    return {"vfolder": str(bench.folder())}


def restore(bench: Bench) -> dict[str, Any]:
    request = into_trash(bench)
    assert bench.done("delete", **request).state is State.SUCCEEDED
    return {"vfolder": request["vfolder"]}


def purge(bench: Bench) -> dict[str, Any]:
    request = into_trash(bench)
    return {"vfolder": request["vfolder"], "trash": bench.done("delete", **request).id}


def rescan(bench: Bench) -> dict[str, Any]:
    bench.folder()
    return {}


CASES: dict[str, tuple[str, Callable[[Bench], dict[str, Any]]]] = {
    "clone": ("clone", clone),
    "transfer": ("transfer", transfer),
    "transfer over a tree": ("transfer", over),
    "transfer of a file": ("transfer", one_file),
    "extract": ("extract", extract),
    "extract of an upload": ("extract", upload),
    "delete": ("delete", delete),
    "delete into the trash": ("delete", into_trash),
    "delete-files": ("delete-files", delete_files),
    "usage": ("usage", usage),
    "restore": ("restore", restore),
    "purge": ("purge", purge),
    "rescan": ("rescan", rescan),
}


@pytest.mark.parametrize("case", CASES)
def test_an_unforeseen_exception_leaves_nothing(bench: Bench, fault: Fault, case: str) -> None:
    verb, made = CASES[case]
    fault.arm(None)
    request = made(bench)
    fault.arm(None)
    ended = bench.done(verb, **request)
    assert ended.state is State.SUCCEEDED, ended.document()
    points = fault.points
    assert len({phase for _, phase in points}) > 1
    for point, raises in zip(points, cycle(UNFORESEEN), strict=False):
        fault.arm(None)
        request = made(bench)
        fault.arm(point, partial(raised, raises))
        ended = bench.done(verb, **request)
        fault.arm(None)
        assert ended.state.ended, (point, ended.document())
        assert bench.left() == {}, (point, raises)
        assert lock_is_free(bench, request), point


def raised(kind: type[Exception]) -> None:
    raise kind("injected")


def lock_is_free(bench: Bench, request: dict[str, Any]) -> bool:
    """Whether the next job on the vfolder gets its lock and its slot."""
    vfolder = request.get("vfolder") or request.get("source")
    if vfolder is None:
        return True
    job = bench.submit("delete", vfolder=str(VFolderId.parse(vfolder)), keep_seconds=0)
    # `partial`: it got both, and the vfolder was gone
    return bench.run(job).state in (State.SUCCEEDED, State.PARTIAL)


#: Nothing that a job staged can be published or removed; the rest of the volume works.
REFUSED = Rule(path="*/staging/*", error="EIO")


@pytest.mark.part("fuse")
@pytest.mark.parametrize("case", ["clone", "transfer", "extract", "extract of an upload"])
def test_what_a_job_could_not_undo_the_next_sweep_undoes(
    bench: Bench, fault: Fault, case: str
) -> None:
    verb, made = CASES[case]
    with on_brittle(bench) as volume:
        request = made(bench)
        fault.arm(("phase", "publish"), act=lambda: volume.rules(REFUSED))
        ended = bench.done(verb, **request)
        fault.arm(None)
        volume.heal()
        assert ended.state is State.FAILED
        assert bench.left() != {}
        bench.sweep()
        assert bench.left() == {}


@pytest.mark.parametrize("case", ["clone", "extract of an upload"])
def test_the_sweep_undoes_what_a_poisoned_job_left(bench: Bench, fault: Fault, case: str) -> None:
    verb, made = CASES[case]
    job = bench.submit(verb, **made(bench))
    lost(bench, fault, job)
    assert bench.left().keys() == {layout.STAGING, layout.JOBS, "held"}
    bench.sweep()
    assert bench.left() == {}


def lost(bench: Bench, fault: Fault, job: Job) -> None:
    """Have a run die where it publishes; the job ends as poison."""
    lose = bench.store.lose
    fault.arm(("phase", "publish"), act=lambda: os._exit(1))
    child = os.fork()
    if child == 0:
        bench.run(job)
        os._exit(0)
    assert os.waitpid(child, 0)[1] != 0
    fault.arm(None)
    lose(job.id, bench.store.get(job.id).run, "killed", 0)
    assert bench.store.get(job.id).state is State.FAILED


def test_the_sweep_leaves_an_ended_job_whose_process_still_holds_the_fence(
    bench: Bench, fault: Fault
) -> None:
    job = bench.submit("clone", **clone(bench))
    lost(bench, fault, job)
    before = bench.hidden(layout.STAGING), bench.hidden(layout.JOBS)
    with (bench.top / layout.manifest(bench.scope, job.id)).open() as fence:
        fcntl.flock(fence, fcntl.LOCK_EX)
        bench.sweep()
        assert (bench.hidden(layout.STAGING), bench.hidden(layout.JOBS)) == before
    bench.sweep()
    assert bench.left() == {}


def test_the_sweep_leaves_what_belongs_to_no_record_for_a_while(bench: Bench, fault: Fault) -> None:
    """The store may have lost the record of a live run when it restarted."""
    job = bench.submit("clone", **clone(bench))
    lost(bench, fault, job)
    before = bench.left()
    with bench.store.redis.pipeline() as pipe:
        pipe.delete(f"{PREFIX}job:{job.id}")
        pipe.execute()
    bench.sweep()
    assert bench.left() == before


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is older than the grace."""
    monkeypatch.setattr(leftovers, "ORPHAN_GRACE_SECONDS", -1.0)


@pytest.mark.usefixtures("aged")
def test_the_sweep_removes_old_orphans(bench: Bench, fault: Fault) -> None:
    job = bench.submit("clone", **clone(bench))
    lost(bench, fault, job)
    bench.store.redis.delete(f"{PREFIX}job:{job.id}")
    bench.sweep()
    assert bench.left().keys() == {"held"}  # it expires: no record says whether the job has ended


def drafts(bench: Bench) -> list[Path]:
    """A draft in each hidden directory whose files are replaced, as a killed process leaves it."""
    vfolder = bench.absent()
    names = {
        layout.area(None, layout.LIMITS): f"{bench.scope.directory}.77.new",
        layout.area(bench.scope, layout.META): f".{vfolder.id.hex}.0123456789abcdef",
        layout.area(bench.scope, layout.RETENTION): f"draft.{vfolder.id.hex}.daily",
        layout.area(bench.scope, layout.TRASH): f"{uuid4()}.json.new",
    }
    for directory, name in names.items():
        path = bench.top / directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
        (path.parent / f"{vfolder.id.hex}.kept").write_text("{}")
    return [bench.top / directory / name for directory, name in names.items()]


@pytest.mark.usefixtures("aged")
def test_the_sweep_removes_drafts_of_killed_processes(bench: Bench) -> None:
    found = drafts(bench)
    bench.sweep()
    assert [path for path in found if path.exists()] == []
    assert all(list(path.parent.iterdir()) for path in found if path.parent.name != layout.TRASH)


def test_the_sweep_leaves_drafts_that_may_be_written_now(bench: Bench) -> None:
    found = drafts(bench)
    bench.sweep()
    assert all(path.exists() for path in found)
