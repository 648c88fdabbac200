"""A delete on a volume without a free block or inode, and in a scope at its hard limit."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.fs import layout
from core.jobs import State
from tests.support.brittlefs import Rule
from tests.support.doors import mark
from tests.workers.ends.conftest import FILES, VOLUME, Bench, on_brittle

pytestmark = pytest.mark.part("root")
MIB = 1 << 20


def tmpfs(path: Path) -> None:
    options = f"size={4 * MIB},nr_inodes=300"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)


def ext4(path: Path) -> None:
    image = path.parent / "image"
    with image.open("wb") as file:
        file.truncate(12 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-N", "400", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, path], check=True)


KINDS: dict[str, Callable[[Path], None]] = {"tmpfs": tmpfs, "ext4": ext4}


@pytest.fixture(params=KINDS)
def small(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A small volume of its own."""
    KINDS[request.param](bench.top)
    try:
        mark(bench.settings, {VOLUME: bench.top})
        (bench.top / bench.scope.directory).mkdir()
        yield bench
    finally:
        subprocess.run(["umount", "-l", bench.top], check=True)


def fill_blocks(directory: Path) -> None:
    with (directory / "filler").open("ab", buffering=0) as file:
        for size in (64 * 1024, 1):
            filled(lambda size=size: file.write(bytes(size)))
    os.sync()
    number = iter(range(100_000))
    filled(lambda: (directory / f"s{next(number)}").write_bytes(b"1"))


def fill_inodes(directory: Path) -> None:
    number = iter(range(100_000))
    filled(lambda: (directory / f"e{next(number)}").open("wb").close())


def filled(once: Callable[[], object]) -> None:
    try:
        while True:
            once()
    except OSError:
        return


def fill_both(directory: Path) -> None:
    (directory / "filler").touch()
    fill_inodes(directory)
    fill_blocks(directory)


FULL = {"blocks": fill_blocks, "inodes": fill_inodes, "both": fill_both}


@pytest.mark.parametrize("used", [True, False], ids=["hidden directories", "none"])
@pytest.mark.parametrize("full", FULL)
def test_a_delete_works_on_a_full_volume(small: Bench, full: str, used: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    vfolder, other = small.folder(), small.folder()
    if used:
        small.done("delete", vfolder=str(small.folder()), keep_seconds=0)
    FULL[full](small.path(other))
    ended = small.done("delete", vfolder=str(vfolder))
    assert ended.state is State.SUCCEEDED, ended.document()
    result: dict[str, Any] = ended.member("result") or {}
    assert (result["existed"], result["left"]) == (True, 0)
    assert not small.path(vfolder).exists()
    assert (small.hidden(layout.TRASH), small.left()) == ([], {})
    again = small.done("delete", vfolder=str(vfolder))
    assert (again.member("result") or {})["existed"] is False


@pytest.mark.parametrize("full", FULL)
def test_entries_are_deleted_on_a_full_volume(small: Bench, full: str) -> None:
    vfolder = small.folder()
    FULL[full](small.path(small.folder()))
    ended = small.done("delete-files", vfolder=str(vfolder), paths=["sub"], recursive=True)
    assert ended.state is State.SUCCEEDED, ended.document()
    assert os.listdir(small.path(vfolder)) == ["a"]


@pytest.mark.parametrize("full", FULL)
def test_the_trash_of_a_full_volume_is_purged(small: Bench, full: str) -> None:
    vfolder, other = small.folder(), small.folder()
    deleted = small.done("delete", vfolder=str(vfolder), keep_seconds=1000)
    FULL[full](small.path(other))
    ended = small.done("purge", vfolder=str(vfolder), trash=deleted.id)
    assert ended.state is State.SUCCEEDED, ended.document()
    assert (small.hidden(layout.TRASH), small.left()) == ([], {})


def test_a_delete_that_keeps_says_what_to_do_on_a_full_volume(small: Bench) -> None:
    """A kept vfolder frees nothing, and its note needs a block."""
    vfolder = small.folder()
    fill_both(small.path(small.folder()))
    ended = small.done("delete", vfolder=str(vfolder), keep_seconds=1000)
    error: dict[str, Any] = ended.member("error") or {}
    assert (ended.state, error["title"]) == (State.FAILED, "No space left on the volume")
    assert "keep_seconds" in error["detail"]
    assert sorted(os.listdir(small.path(vfolder))) == sorted({name.split("/")[0] for name in FILES})
    assert small.left() == {}


@pytest.mark.part("fuse")
@pytest.mark.parametrize("error", ["EDQUOT", "ENOSPC"])
@pytest.mark.parametrize("used", [True, False], ids=["hidden directories", "none"])
def test_a_delete_works_in_a_scope_at_its_hard_limit(bench: Bench, error: str, used: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """XFS gives ENOSPC for a full project, other systems EDQUOT; nothing is created there."""
    with on_brittle(bench) as volume:
        vfolder = bench.folder()
        if used:
            bench.done("delete", vfolder=str(bench.folder()), keep_seconds=0)
        within = f"*{bench.scope.directory}/*"
        volume.rules(*(Rule(op, within, error=error) for op in ("create", "write", "mkdir")))
        ended = bench.done("delete", vfolder=str(vfolder))
        assert ended.state is State.SUCCEEDED, ended.document()
        assert not bench.path(vfolder).exists()
        assert (bench.hidden(layout.TRASH), bench.left()) == ([], {})
