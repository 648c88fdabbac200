"""Transfers that move: what arrived leaves the source, and nothing else does, whatever happens."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.fs import layout
from core.errors import InvalidParameters
from core.jobs import Job
from core.names import VFolderId
from tests.support.trees import snapshot
from tests.workers.ends.conftest import FILES, Bench
from workers.verbs.move import SourceRemoval

KEEP_SECONDS = 3600


class Died(BaseException):
    """The process ends here: no code of ours runs after it."""


def texts(top: Path) -> dict[str, bytes]:
    """The files of a tree with their content."""
    found = {}
    for directory, _, names in os.walk(top):
        for name in names:
            path = Path(directory) / name
            found[str(path.relative_to(top))] = path.read_bytes()
    return found


def moving(bench: Bench, source: VFolderId, target: VFolderId, **more: object) -> Job:
    words = {"source": str(source), "target": str(target), "remove_source": True, **more}
    return bench.submit("transfer", **words)


def moved(bench: Bench, source: VFolderId, target: VFolderId, **more: object) -> Job:
    return bench.run(moving(bench, source, target, **more))


def empty(bench: Bench) -> VFolderId:
    vfolder = bench.absent()
    bench.path(vfolder).mkdir(parents=True)
    return vfolder


def used(bench: Bench) -> int | None:
    return bench.backend.describe_scope(bench.scope).used_bytes


@pytest.mark.parametrize("verify", ["size", "checksum"])
def test_all_of_a_vfolder_moves(bench: Bench, verify: str) -> None:
    source, target = bench.folder(), empty(bench)
    top = bench.path(source)
    (top / "link").symlink_to("a")
    (top / "nothing").mkdir()
    os.link(top / "a", top / "sub/again")
    bench.done("rescan", owner=str(bench.scope))
    before, full = snapshot(top), used(bench)
    job = moved(bench, source, target, verify=verify)
    result = job.member("result")
    assert job.state.value == "succeeded", job.document()
    assert (result["removed"], result["left"], result["trash"]) == (7, 0, None)
    assert snapshot(bench.path(target)) == before
    assert os.listdir(top) == [], "the vfolder itself stays"
    assert bench.hidden(layout.TRASH) == []
    assert used(bench) == full
    assert not bench.left()


@pytest.mark.parametrize(("path", "into"), [("sub", "x/y"), ("sub", ""), ("a", "b"), ("a", "")])
def test_a_path_moves_and_can_be_restored(bench: Bench, path: str, into: str) -> None:
    source, target = bench.folder(), empty(bench)
    before = snapshot(bench.path(source))
    words = {"source_path": path, "target_path": into, "keep_seconds": KEEP_SECONDS}
    job = moved(bench, source, target, **words)
    assert job.state.value == "succeeded", job.document()
    assert not (bench.path(source) / path).exists()
    assert sorted(texts(bench.path(target)).values()) == sorted(
        content for name, content in FILES.items() if name.startswith(path)
    )
    trash = job.member("result")["trash"]
    assert trash["id"] == job.id
    back = bench.done("restore", vfolder=str(source), trash=job.id, entries=True)
    assert back.state.value == "succeeded", back.document()
    assert snapshot(bench.path(source)) == before


def test_what_changed_or_came_stays(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is copied; before the removal begins, others write."""
    source, target = bench.folder(), empty(bench)
    top = bench.path(source)
    (top / "one/two").mkdir(parents=True)
    (top / "one/two/same").write_text("same")
    status = (top / "a").stat()

    def write() -> None:
        (top / "a").write_bytes(b"9" * 1000)  # as long, and with the old time
        os.utime(top / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
        (top / "sub/deep/new").write_text("came")
        (top / "fresh").mkdir()
        (top / "fresh/below").write_text("came")
        shutil.copytree(top / "one", top / "other", copy_function=shutil.copy2)
        (top / "other/two/same").write_text("MINE")
        os.utime(top / "other/two/same", ns=(5, (top / "one/two/same").stat().st_mtime_ns))
        shutil.rmtree(top / "one")
        (top / "other").rename(top / "one")

    at_removal(monkeypatch, write)
    job = moved(bench, source, target)
    assert job.state.value == "partial", job.document()
    assert texts(top) == {
        "a": b"9" * 1000,
        "sub/deep/new": b"came",
        "fresh/below": b"came",
        "one/two/same": b"MINE",
    }
    assert texts(bench.path(target)) == {**FILES, "one/two/same": b"same"}
    assert job.member("result")["left"] == 4
    # The next job moves what it sees to differ. What has the old time and length looks the same, so
    # it is not copied; its content is compared before it would be removed.
    again = moved(bench, source, target, on_conflict="replace")
    assert again.state.value == "partial", again.document()
    assert texts(top) == {"a": b"9" * 1000, "one/two/same": b"MINE"}
    os.utime(top / "a")
    os.utime(top / "one/two/same")
    last = moved(bench, source, target, on_conflict="replace")
    assert last.state.value == "succeeded", last.document()
    assert texts(top) == {}
    assert texts(bench.path(target))["a"] == b"9" * 1000


def test_a_directory_of_the_same_look_is_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another directory took its place: its file is as old and as long, and unchanged since."""
    source, target, aside = bench.folder(), empty(bench), bench.folder()
    file, other = bench.path(source) / "sub/deep/c", bench.path(aside) / "sub/deep/c"
    other.write_bytes(b"X")
    os.utime(other, ns=(1, file.stat().st_mtime_ns))

    def swap() -> None:
        shutil.rmtree(bench.path(source) / "sub")
        (bench.path(aside) / "sub").rename(bench.path(source) / "sub")

    at_removal(monkeypatch, swap)
    job = moved(bench, source, target)
    assert job.state.value == "partial", job.document()
    assert texts(bench.path(source))["sub/deep/c"] == b"X"
    assert texts(bench.path(target))["sub/deep/c"] == b"3"


def test_what_changes_right_before_its_rename_goes_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = bench.folder(), empty(bench)
    top = bench.path(source)
    inner = SourceRemoval._rename

    def rename(self: SourceRemoval, number: int, path: str) -> bool:
        if path == "sub":
            (top / "sub/deep/c").write_bytes(b"late")
        if path == "a":
            (top / "a").write_bytes(b"late, too")
        return inner(self, number, path)

    monkeypatch.setattr(SourceRemoval, "_rename", rename)
    job = moved(bench, source, target)
    assert job.state.value == "partial", job.document()
    assert texts(top) == {"sub/deep/c": b"late", "a": b"late, too"}
    assert job.member("result")["left"] == 2
    assert bench.hidden(layout.TRASH) == []


def test_a_name_that_was_taken_leaves_it_in_the_trash(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = bench.folder(), empty(bench)
    top = bench.path(source)
    inner = SourceRemoval._looked_again

    def looked(
        self: SourceRemoval, found: dict[int, int], *, doubt: bool
    ) -> list[tuple[str, bool]]:
        for number in found:
            if self._paths[number].name == "a":
                tree = bench.top / layout.trash(bench.scope, self._run.job.id)
                (tree / str(number)).write_bytes(b"by an open descriptor")
                (top / "a").write_bytes(b"another")
        return inner(self, found, doubt=doubt)

    monkeypatch.setattr(SourceRemoval, "_looked_again", looked)
    job = moved(bench, source, target)
    assert job.state.value == "partial", job.document()
    assert texts(top) == {"a": b"another"}
    kept = bench.top / layout.trash(bench.scope, job.id)
    assert b"by an open descriptor" in texts(kept).values()
    assert job.member("result")["trash"]["id"] == job.id


def test_a_retry_ends_what_a_dead_move_left(bench: Bench) -> None:
    source, target = bench.folder(), empty(bench)
    for path, into in (("sub", "sub"), ("a", "a")):
        words = {"source_path": path, "target_path": into}
        copied = bench.done("transfer", source=str(source), target=str(target), **words)
        assert copied.state.value == "succeeded"
        job = moved(bench, source, target, **words)
        assert job.state.value == "succeeded", job.document()
        assert job.member("result")["same"] > 0
    assert texts(bench.path(source)) == {}
    assert texts(bench.path(target)) == FILES


def test_a_file_that_is_another_one_is_a_conflict(bench: Bench) -> None:
    source, target = bench.folder(), bench.folder()
    (bench.path(target) / "a").write_bytes(b"2" * 1000)
    os.utime(bench.path(target) / "a", ns=(1, (bench.path(source) / "a").stat().st_mtime_ns))
    words = {"source_path": "a", "target_path": "a"}
    assert moved(bench, source, target, **words).state.value == "failed"
    kept = moved(bench, source, target, **words, on_conflict="skip")
    assert kept.state.value == "partial"
    assert (kept.member("result")["removed"], kept.member("result")["left"]) == (0, 1)
    assert texts(bench.path(source)) == FILES


def test_filters_leave_the_rest(bench: Bench) -> None:
    source, target = bench.folder(), empty(bench)
    job = moved(bench, source, target, filters=["- /sub/deep/"])
    assert job.state.value == "succeeded", job.document()
    assert texts(bench.path(source)) == {"sub/deep/c": b"3"}
    assert job.member("result")["left"] == 0


@pytest.mark.parametrize(
    "more",
    [
        {"verify": "none"},
        {"delete_extra": True},
        {"keep_seconds": -1},
        {"keep_seconds": 10**12},
        {"remove_source": False, "keep_seconds": 5},
    ],
)
def test_requests_that_make_no_sense(bench: Bench, more: dict[str, object]) -> None:
    source, target = bench.folder(), empty(bench)
    with pytest.raises(InvalidParameters):
        moving(bench, source, target, **more)
    with pytest.raises(InvalidParameters):
        moving(bench, source, source, source_path="a", target_path="b")


def at_removal(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something once, when all has arrived and nothing is removed."""
    inner, todo = SourceRemoval.move, [act]

    def move(self: SourceRemoval, *args: object) -> int:
        if todo:
            todo.pop()()
        return inner(self, *args)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(SourceRemoval, "move", move)
