"""Faults of the storage: errors, full disks, short transfers, changed data, hangs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.tree import (
    CopyOptions,
    Effort,
    Loss,
    TreeManifest,
    compare_trees,
    copy_tree,
    measure_tree,
    remove_tree,
)
from contract.trees import Opener
from core.errors import NoSpace, QuotaExceeded
from core.jobs import Unattended
from tests.support.faultfs import mounted, rules

pytestmark = pytest.mark.part("fuse")
FILES = 12
#: The hang lasts many times as long as this number of calls of the control.
HANG_SECONDS, CALLS = 8, 5


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for number in range(FILES):
        path = root / f"dir{number % 3}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(20_000 + number * 30_000))
    return root


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "backing", tmp_path / "faulty") as mount:
        yield mount


@pytest.fixture
def faulty_source(source: Path, tmp_path: Path) -> Iterator[Path]:
    with mounted(source, tmp_path / "faulty-source") as mount:
        yield mount


def same(a: int, b: int) -> bool:
    return list(compare_trees(a, b, control=Unattended())) == []


def test_an_unreadable_file_is_named_and_the_rest_is_copied(
    source: Path, faulty_source: Path, tmp_path: Path, anchor: Opener
) -> None:
    rules(faulty_source, {"op": "read", "path": "*/file4", "errno": "EIO"})
    control = Unattended()
    target = tmp_path / "target"
    receipt = copy_tree(anchor(faulty_source), anchor(target), control=control)
    assert receipt.losses == {Loss.FAILED: 1}
    assert not receipt.complete
    assert [path for path, _ in control.faults] == ["dir1/file4"]
    assert receipt.files == FILES - 1
    rules(faulty_source)
    again = copy_tree(anchor(faulty_source), anchor(target), control=Unattended())
    assert (again.complete, again.reused) == (True, FILES - 1)
    assert same(anchor(source), anchor(target))


@pytest.mark.parametrize(("error", "kind"), [("ENOSPC", NoSpace), ("EDQUOT", QuotaExceeded)])
def test_a_full_target_ends_the_job_and_a_later_run_continues(
    source: Path, faulty: Path, anchor: Opener, error: str, kind: type[Exception]
) -> None:
    rules(faulty, {"op": "write", "space": 400_000, "errno": error})
    manifest = TreeManifest.temporary()
    with pytest.raises(kind):
        copy_tree(anchor(source), anchor(faulty), control=Unattended(), manifest=manifest)
    rules(faulty)
    receipt = copy_tree(anchor(source), anchor(faulty), control=Unattended(), manifest=manifest)
    manifest.close()
    assert receipt.complete
    assert same(anchor(source), anchor(faulty))


def test_short_reads_and_writes_are_continued(
    source: Path, faulty_source: Path, faulty: Path, anchor: Opener
) -> None:
    rules(faulty_source, {"op": "read", "short": 4096})
    rules(faulty, {"op": "write", "short": 1000})
    receipt = copy_tree(anchor(faulty_source), anchor(faulty), control=Unattended())
    assert receipt.complete
    rules(faulty)
    assert same(anchor(source), anchor(faulty))


def test_changed_data_is_found_by_the_digest_only(
    source: Path, faulty: Path, anchor: Opener
) -> None:
    copy_tree(anchor(source), anchor(faulty), control=Unattended())
    rules(faulty, {"op": "read", "path": "*/file7", "corrupt": True})
    control = Unattended()
    options = CopyOptions(verify="sha256")
    receipt = copy_tree(anchor(source), anchor(faulty), control=control, options=options)
    assert receipt.losses == {Loss.DIFFERENT: 1}
    assert [path for path, _ in control.faults] == ["dir1/file7"]
    assert not receipt.complete


def test_a_stale_directory_handle_is_a_fault_and_does_not_end_the_job(
    faulty_source: Path, tmp_path: Path, anchor: Opener
) -> None:
    rules(faulty_source, {"op": "readdir", "path": "/dir2", "errno": "ESTALE"})
    usage = measure_tree(anchor(faulty_source), control=Unattended())
    assert (usage.complete, usage.unreadable) == (False, 1)
    assert usage.files == FILES - 4
    receipt = copy_tree(anchor(faulty_source), anchor(tmp_path / "t"), control=Unattended())
    assert receipt.losses == {Loss.FAILED: 1}


def test_what_cannot_be_deleted_is_named_and_deleted_later(
    source: Path, tmp_path: Path, faulty_source: Path, anchor: Opener
) -> None:
    rules(faulty_source, {"op": "unlink", "path": "*/file4", "errno": "EBUSY"})
    removal = remove_tree(anchor(faulty_source), "dir1", control=Unattended())
    assert {path for path, _ in removal.remaining_named} == {"file4"}
    assert os.listdir(source / "dir1") == ["file4"]
    rules(faulty_source)
    assert remove_tree(anchor(faulty_source), "dir1", control=Unattended()).complete
    assert not (source / "dir1").exists()


def test_a_hung_storage_does_not_hang_the_job(
    source: Path, faulty_source: Path, tmp_path: Path, anchor: Opener
) -> None:
    rules(faulty_source, {"op": "read", "path": "*/file5", "delay": HANG_SECONDS})

    class Stopping(Unattended):
        calls = 0

        def check(self) -> None:
            self.calls += 1
            if self.calls > CALLS:
                raise TimeoutError

    options = CopyOptions(effort=Effort(helpers=2))
    with pytest.raises(TimeoutError):
        copy_tree(
            anchor(faulty_source), anchor(tmp_path / "t"), control=Stopping(), options=options
        )
