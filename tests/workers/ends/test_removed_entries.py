"""Removed entries that are kept: in the trash as the ledger counts, and back at their places."""

import os
from pathlib import Path

import pytest

from backends.fs import layout
from backends.quota import soft
from core.jobs import Job
from core.names import VFolderId
from tests.support.trees import snapshot
from tests.workers.ends.conftest import Bench

KEEP_SECONDS = 3600


def removed(bench: Bench, vfolder: VFolderId, *paths: str, recursive: bool = True) -> Job:
    words = {"vfolder": str(vfolder), "paths": list(paths), "recursive": recursive}
    return bench.done("delete-files", **words, keep_seconds=KEEP_SECONDS)


def restored(bench: Bench, vfolder: VFolderId, trash: str) -> Job:
    return bench.done("restore", vfolder=str(vfolder), trash=trash, entries=True)


def used(bench: Bench) -> int:
    found = bench.backend.describe_scope(bench.scope).used_bytes
    assert found is not None
    return found


def in_trash(bench: Bench, job: str) -> Path:
    return bench.top / layout.trash(bench.scope, job)


def test_entries_go_to_the_trash_and_come_back(bench: Bench) -> None:
    vfolder = bench.folder()
    odd = os.fsdecode(b"sub/\xff\xfe")
    (bench.path(vfolder) / odd).write_bytes(b"odd")
    bench.done("rescan", owner=str(bench.scope))  # the ledger counts what the test wrote
    before, full = snapshot(bench.path(vfolder)), used(bench)
    assert full == 3004
    job = removed(bench, vfolder, "a", "sub/deep", odd)
    assert job.state.value == "succeeded", job.document()
    result = job.member("result")
    assert (result["named"], result["skipped"], result["failed"]) == (3, 0, 0)
    assert result["trash"]["size_bytes"] == 1004
    assert sorted(os.listdir(in_trash(bench, job.id))) == ["0", "1", "2", "paths"]
    assert sorted(os.listdir(bench.path(vfolder))) == ["sub"]
    assert used(bench) == full - 1004
    assert not bench.left()
    back = restored(bench, vfolder, job.id)
    assert back.state.value == "succeeded", back.document()
    assert back.member("result") | {"sentence": ""} == {
        "trash": job.id,
        "restored": 3,
        "left": 0,
        "sentence": "",
    }
    assert snapshot(bench.path(vfolder)) == before
    assert used(bench) == full
    assert bench.hidden(layout.TRASH) == []
    assert not bench.left()
    assert restored(bench, vfolder, job.id).state.value == "failed"


def test_what_is_not_there_is_not_kept(bench: Bench) -> None:
    vfolder = bench.folder()
    job = removed(bench, vfolder, "none", "none/below", "sub", recursive=False)
    assert job.state.value == "partial"
    assert job.member("result")["trash"] is None
    assert bench.hidden(layout.TRASH) == []
    assert (bench.path(vfolder) / "sub").is_dir()


def test_a_name_that_is_taken_stays_in_the_trash(bench: Bench) -> None:
    vfolder = bench.folder()
    top = bench.path(vfolder)
    job = removed(bench, vfolder, "sub/deep/c", "a", "sub")
    (top / "a").write_text("another")
    full = used(bench)
    back = restored(bench, vfolder, job.id)
    assert back.state.value == "partial", back.document()
    assert (back.member("result")["restored"], back.member("result")["left"]) == (2, 1)
    assert (top / "a").read_text() == "another"
    assert (top / "sub/deep/c").read_bytes() == b"3"
    assert used(bench) == full + 2001
    (top / "a").unlink()
    assert restored(bench, vfolder, job.id).state.value == "succeeded"
    assert (top / "a").read_bytes() == b"1" * 1000
    assert bench.hidden(layout.TRASH) == []


def test_directories_that_are_gone_are_made_again(bench: Bench) -> None:
    vfolder = bench.folder()
    job = removed(bench, vfolder, "sub/deep/c")
    bench.done("delete-files", vfolder=str(vfolder), paths=["sub"], recursive=True)
    assert restored(bench, vfolder, job.id).state.value == "succeeded"
    assert (bench.path(vfolder) / "sub/deep/c").read_bytes() == b"3"


def test_a_second_run_goes_on(bench: Bench) -> None:
    """The first run was killed after it had moved one entry; the user made another one since."""
    vfolder = bench.folder()
    top = bench.path(vfolder)
    words = {"vfolder": str(vfolder), "paths": ["a", "sub"], "recursive": True}
    job = bench.submit("delete-files", **words, keep_seconds=KEEP_SECONDS)
    tree = in_trash(bench, job.id)
    tree.mkdir(parents=True)
    (top / "a").rename(tree / "0")
    (top / "a").write_text("made since")
    ended = bench.run(job)
    assert ended.state.value == "succeeded", ended.document()
    assert sorted(os.listdir(tree)) == ["0", "1", "paths"]
    assert (top / "a").read_text() == "made since"
    assert (tree / "0").read_bytes() == b"1" * 1000


def test_a_restore_of_the_vfolder_leaves_removed_entries(bench: Bench) -> None:
    vfolder = bench.folder()
    entries = removed(bench, vfolder, "a")
    bench.done("delete", vfolder=str(vfolder), keep_seconds=0)
    words = {"vfolder": str(vfolder)}
    for more in ({}, {"trash": entries.id}):
        assert bench.done("restore", **words, **more).state.value == "failed"
    assert not bench.path(vfolder).exists()
    # Entries of a vfolder that is gone cannot come back, and do not make one.
    assert restored(bench, vfolder, entries.id).state.value == "failed"
    assert not bench.path(vfolder).exists()


def test_a_purge_of_entries_takes_nothing_else(bench: Bench) -> None:
    vfolder, other = bench.folder(), bench.folder()
    job = removed(bench, vfolder, "a")
    gone = bench.done("delete", vfolder=str(other), keep_seconds=KEEP_SECONDS)
    wrong = bench.done("purge", vfolder=str(other), trash=gone.id, entries=True)
    assert wrong.state.value == "failed"
    assert in_trash(bench, gone.id).is_dir()
    assert bench.done("purge", vfolder=str(other), trash=job.id).state.value == "failed"
    ended = bench.done("purge", vfolder=str(vfolder), trash=job.id, entries=True)
    assert ended.state.value == "succeeded", ended.document()
    assert not in_trash(bench, job.id).exists()
    assert sorted(os.listdir(bench.path(vfolder))) == ["sub"]


@pytest.mark.parametrize("keep", [KEEP_SECONDS, 0.01])
def test_the_sweep_purges_what_has_expired(bench: Bench, keep: float) -> None:
    vfolder = bench.folder()
    words = {"vfolder": str(vfolder), "paths": ["a"], "keep_seconds": keep}
    job = bench.done("delete-files", **words)
    bench.sweep()
    for purge in list(bench.store.redis.zrange("vf:ix:verb:purge", 0, -1)):
        bench.run(bench.store.get(str(purge)))
    assert in_trash(bench, job.id).exists() == (keep == KEEP_SECONDS)
    assert soft.soft_of(bench.backend) is not None
