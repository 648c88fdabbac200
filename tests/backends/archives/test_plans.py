"""Plans of archives: the same by both ways to list, read in any order; the records of a zip."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path

import pytest

from backends.archives import plan, zip_records
from backends.fs import directory
from core.errors import StorageError
from core.names import VFolderPath
from tests.support import brittlefs
from tests.support.brittlefs import Rule

ROOT = [plan.Source(VFolderPath(()), "")]
#: More entries than one batch has, with names that make a batch larger than what is read at once.
MANY = plan.BATCH_ENTRIES * 2 + 7


@contextmanager
def planned(top: Path, leave_out: plan.LeaveOut | None = None) -> Iterator[plan.Plan]:
    descriptor = os.open(top, os.O_RDONLY)
    try:
        made = plan.make(descriptor, ROOT, hard_links=True, leave_out=leave_out)
        yield made
        made.close()
    finally:
        os.close(descriptor)


def test_both_ways_to_list_make_the_same_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "many").mkdir()
    for number in range(MANY):
        (tmp_path / "many" / f"{number:05}{'n' * 100}").touch()
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("abc")
    os.link(tmp_path / "a/b/file", tmp_path / "a/again")
    (tmp_path / "a/link").symlink_to("b")
    os.utime(tmp_path / "a/b/file", ns=(0, -1))
    plans = []
    for in_c in (True, False):
        way = partial(directory.files_and_details, in_c=in_c)
        monkeypatch.setattr(plan, "files_and_details", way)
        with planned(tmp_path) as made:
            plans.append((made.tag, list(made.batches())))
    assert plans[0] == plans[1]
    assert sum(len(batch.entries) for batch in plans[0][1]) == MANY + 6


def test_a_plan_is_read_twice_at_the_same_time(tmp_path: Path) -> None:
    for number in range(MANY):
        (tmp_path / f"{number:05}{'n' * 100}").touch()
    for number in range(100):
        (tmp_path / f"d{number}").mkdir()
    with planned(tmp_path) as made:
        expected = list(made.batches())
        assert sum(len(batch.entries) for batch in expected) == MANY + 100
        pairs = list(zip_longest(made.batches(), made.batches()))
        assert pairs == [(one, one) for one in expected]


@pytest.mark.part("fuse")
def test_an_entry_that_cannot_be_looked_at(tmp_path: Path) -> None:
    left_out = []
    with brittlefs.mounted(tmp_path) as volume:
        for name in ("bad", "good", "gone"):
            (volume.backing / name).touch()
        volume.rules(
            Rule("getattr", "*/bad", error="EIO"), Rule("getattr", "*/gone", error="ENOENT")
        )
        with pytest.raises(StorageError) as failed, planned(volume.path):
            pass
        assert failed.value.facts.get("errno") == errno.EIO
        with planned(volume.path, lambda path, _reason: left_out.append(path)) as made:
            [batch] = made.batches()
    assert left_out == [b"bad"]
    assert [entry.name for entry in batch.entries] == [b"good"]


@pytest.mark.parametrize("seconds", [-1, 0, 1, 2**31 - 1, 2**31, 2**33, -(2**33)])
@pytest.mark.parametrize("name", [b"a", "ü/".encode(), b"\xff", b"n" * 300])
def test_the_fast_records_are_those_of_the_rules(name: bytes, seconds: int) -> None:
    mtime_ns = plan.planned_ns(seconds * 10**9 + 5)
    entry = plan.ArchiveEntry(name, 0o40755, 0, mtime_ns, 1, is_directory=True)
    for one in (entry, plan.ArchiveEntry(name, 0o100644, 70_000, mtime_ns, 1, is_file=True)):
        form = zip_records.STORED | zip_records.time_form(one)
        sent = 0xDEADBEEF, one.size, one.size, form
        local = zip_records.local(name, one, sent)
        assert zip_records.local_stored(name, one, sent[0]) == local
        for offset in (0, 2**32 - 2):
            central = zip_records.central(name, one, sent, offset)
            assert zip_records.central_stored(name, one, sent[0], offset) == central
            assert len(central) - zip_records.CENTRAL_MORE_BYTES == len(local)
