"""A job says what is true: a wrong copy is no success, and neither is a purge that left entries."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.fs import layout
from core.jobs import State
from tests.workers.ends.conftest import Bench, Fault


def staged(bench: Bench, name: str) -> Path:
    """A file of the copy that is not published yet."""
    [found] = (bench.top / layout.area(bench.scope, layout.STAGING)).glob(f"*/*/{name}")
    return found


def other_bytes(path: Path) -> None:
    """Spoil the content; length and times stay."""
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def other_mode(path: Path) -> None:
    path.chmod(0o600 if path.stat().st_mode & 0o077 else 0o666)


def shorter(path: Path) -> None:
    status = path.stat()
    os.truncate(path, status.st_size - 1)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("verb", "level", "spoil"),
    [
        ("clone", "checksum", other_bytes),
        ("clone", "checksum", Path.unlink),
        ("clone", "size", other_mode),
        ("clone", "size", shorter),
        ("clone", "size", Path.unlink),
        ("transfer", "checksum", other_bytes),
        ("transfer", "checksum", Path.unlink),
        ("transfer", "size", shorter),
        ("transfer", "size", Path.unlink),
    ],
)
def test_a_copy_that_is_wrong_is_never_published(
    bench: Bench, fault: Fault, verb: str, level: str, spoil: Callable[[Path], None]
) -> None:
    source, target = bench.folder(), bench.absent()
    request: dict[str, Any] = {"source": str(source), "target": str(target), "verify": level}
    fault.arm(("phase", "verify"), lambda: spoil(staged(bench, "sub/b")))
    ended = bench.done(verb, **request)
    fault.arm(None)
    assert ended.state is State.FAILED, ended.document()
    assert "sub/b" in str((ended.member("error") or {})["data"])
    assert not bench.path(target).exists()
    assert bench.left() == {}


@pytest.mark.parametrize("more", [{"on_conflict": "newer"}, {"on_conflict": "skip"}, {}])
def test_a_selection_is_verified_by_checksums(bench: Bench, more: dict[str, Any]) -> None:
    """What was not selected is not missing; what was selected and spoiled is found."""
    source, target = bench.folder(), bench.absent()
    if more:  # all entries are there: nothing is selected
        bench.done("clone", source=str(source), target=str(target))
    body = {"source": str(source), "target": str(target), "verify": "checksum", **more}
    ended = bench.done("transfer", **body, filters=[] if more else ["- a"])
    assert ended.state is State.SUCCEEDED, ended.document()
    assert sorted(os.listdir(bench.path(target))) == (["a", "sub"] if more else ["sub"])


def test_a_spoiled_file_of_a_selection_is_found(bench: Bench, fault: Fault) -> None:
    source, target = bench.folder(), bench.absent()
    for spoil in (other_bytes, Path.unlink):
        body = {"source": str(source), "target": str(target), "filters": ["- a"]}
        fault.arm(("phase", "verify"), lambda spoil=spoil: spoil(staged(bench, "sub/b")))
        ended = bench.done("transfer", **body, verify="checksum")
        fault.arm(None)
        assert ended.state is State.FAILED, ended.document()
        assert not bench.path(target).exists()


@contextmanager
def resisting(directory: Path) -> Iterator[None]:
    """A directory that cannot be removed: a mount."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", _now(directory)], check=True)


def _now(directory: Path) -> Path:
    """Where a mount is that may have moved with its directory."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    names = [line.split()[4] for line in lines]
    [found] = [name for name in names if name.endswith("sub/deep") and _is_near(name, directory)]
    return Path(found)


def _is_near(name: str, directory: Path) -> bool:
    return name.startswith(f"{str(directory).partition('/local/')[0]}/")


@pytest.mark.part("root")
def test_a_delete_that_leaves_entries_is_partial(bench: Bench) -> None:
    vfolder = bench.folder()
    moved = bench.top / layout.area(bench.scope, layout.TRASH)
    with resisting(bench.path(vfolder) / "sub/deep"):
        job = bench.submit("delete", vfolder=str(vfolder), keep_seconds=0)
        ended = bench.run(job)
        assert ended.state is State.PARTIAL, ended.document()
        assert (ended.member("result") or {})["left"] > 0
        assert [path.name for path in moved.iterdir()] == [job.id]
        bench.sweep()
        assert (moved / job.id / "sub/deep").is_dir()
    bench.sweep()
    assert list(moved.iterdir()) == []


@pytest.mark.part("root")
def test_a_purge_that_leaves_entries_is_partial(bench: Bench) -> None:
    vfolder = bench.folder()
    deleted = bench.done("delete", vfolder=str(vfolder), keep_seconds=1000)
    tree = bench.top / layout.trash(bench.scope, deleted.id)
    request = {"vfolder": str(vfolder), "trash": deleted.id}
    with resisting(tree / "sub/deep"):
        ended = bench.done("purge", **request)
        assert ended.state is State.PARTIAL, ended.document()
        assert (ended.member("result") or {})["left"] > 0
        assert sorted(os.listdir(tree)) == ["sub"]
        assert bench.done("restore", vfolder=str(vfolder)).state is State.FAILED
        again = bench.done("purge", **request)
        assert again.state is State.PARTIAL, again.document()
    last = bench.done("purge", **request)
    assert last.state is State.SUCCEEDED, last.document()
    assert bench.hidden(layout.TRASH) == []


@pytest.mark.part("root")
def test_entries_that_stay_are_counted(bench: Bench) -> None:
    vfolder = bench.folder()
    with resisting(bench.path(vfolder) / "sub/deep"):
        ended = bench.done("delete-files", vfolder=str(vfolder), paths=["sub", "a"], recursive=True)
        assert ended.state is State.PARTIAL, ended.document()
        assert (ended.member("result") or {})["failed"] == 1
        assert os.listdir(bench.path(vfolder)) == ["sub"]


@pytest.mark.part("root")
def test_an_entry_that_cannot_be_removed_is_counted_and_named(bench: Bench) -> None:
    """The others go."""
    vfolder = bench.folder()
    resists = bench.path(vfolder) / "sub/b"
    subprocess.run(["mount", "--bind", resists, resists], check=True)
    try:
        ended = bench.done("delete-files", vfolder=str(vfolder), paths=["sub/b", "a"])
    finally:
        subprocess.run(["umount", resists], check=True)
    assert ended.state is State.PARTIAL, ended.document()
    assert (ended.member("result") or {})["failed"] == 1
    assert sorted(os.listdir(bench.path(vfolder))) == ["sub"]
    assert resists.exists()


def test_a_restore_replaces_nothing_that_was_made_meanwhile(bench: Bench) -> None:
    vfolder = bench.folder()
    deleted = bench.done("delete", vfolder=str(vfolder), keep_seconds=1000)
    bench.path(vfolder).mkdir(parents=True)
    (bench.path(vfolder) / "newer").write_bytes(b"newer")
    ended = bench.done("restore", vfolder=str(vfolder))
    assert ended.state is State.FAILED, ended.document()
    assert (ended.member("error") or {})["title"] == "The vfolder exists"
    assert os.listdir(bench.path(vfolder)) == ["newer"]
    assert (bench.top / layout.trash(bench.scope, deleted.id) / "sub/b").exists()
