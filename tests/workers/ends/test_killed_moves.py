"""kill -9 of a worker at each step of a move to the trash and back: grants and links go along."""

from functools import partial

import pytest

from backends.entries import access_files
from core.access import Grant, Link, Seals, VFolderRecord, records
from core.jobs import Job, State
from core.names import VFolderId
from tests.support.deaths import killed_at
from tests.support.thoroughness import times
from tests.workers.ends.conftest import FILES, VOLUME, Bench

#: Of so many steps one is tried; more steps than any of the jobs has; more losses than any has.
STRIDE = times(11, 1)
STEPS_MAX = 400
LOSSES_MAX = 10
KEEP_SECONDS = 1000


def shared(bench: Bench) -> VFolderId:
    """A vfolder with a grant and a link."""
    vfolder = bench.folder()
    record = VFolderRecord(
        id=vfolder.id,
        volume=VOLUME,
        scope=str(vfolder.scope),
        owner=records.implied(VOLUME, vfolder).owner,
        name="shared",
        grants=(Grant(id="g", to="user:6a3ce8b1-1b2c-4d5e-8f90-0123456789ab", permission="rw"),),
        links=(Link(id="l", digest="0" * 64, kind="read", path="", maker="user:x"),),
        revision=1,
    )
    text = seals(bench).seal(record, records.place_of(VOLUME, vfolder))
    access_files.replace(bench.backend, vfolder, text, "")
    return vfolder


def seals(bench: Bench) -> Seals:
    return Seals([bench.settings.storage_proxy.secret])


def opened(bench: Bench, vfolder: VFolderId, text: bytes | None) -> VFolderRecord:
    assert text is not None, "there is no record"
    return seals(bench).opened(text, records.place_of(VOLUME, vfolder), VFolderRecord)


def ended(bench: Bench, job: Job) -> Job:
    """Let the next attempt end a job whose process was killed."""
    found = bench.store.get(job.id)
    if found.state is State.RUNNING:
        bench.store.lose(job.id, found.run, "killed", LOSSES_MAX)
    bench.sweep()
    return found if found.state.ended else bench.run(job)


@pytest.mark.parametrize("back", [False, True])
def test_a_record_goes_along(bench: Bench, *, back: bool) -> None:
    number, answer, killed = 1 + 5 * back, None, 0
    while answer is None:
        assert number < STEPS_MAX, "it never ends"
        vfolder = shared(bench)
        moved = bench.submit("delete", vfolder=str(vfolder), keep_seconds=KEEP_SECONDS)
        trash = job = moved
        if back:
            assert bench.run(moved).state is State.SUCCEEDED
            job = bench.submit("restore", vfolder=str(vfolder), trash=trash.id)
        answer = killed_at(number, lambda: None, partial(bench.run, job))
        killed += answer is None
        kept = access_files.read_trashed(bench.backend, vfolder, trash.id)
        if bench.path(vfolder).exists():
            # What is there has its grants; it never falls back to what its place implies.
            assert kept is None or back, number
            live = access_files.read(bench.backend, vfolder).text
            assert opened(bench, vfolder, live).grants, number
        last = ended(bench, job)
        assert last.state is State.SUCCEEDED, (number, last.document())
        kept = access_files.read_trashed(bench.backend, vfolder, trash.id)
        if back:
            assert kept is None, number
            kept = access_files.read(bench.backend, vfolder).text
            assert {name: (bench.path(vfolder) / name).read_bytes() for name in FILES} == FILES
        assert not bench.path(vfolder).exists() or back
        assert [one.id for one in opened(bench, vfolder, kept).grants] == ["g"], number
        assert bench.left() == {}, number
        number += STRIDE
    assert killed > 2, "it was killed often"
