"""The body of a response: the same bytes for every server, and no descriptor stays open."""

import gc
import os
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from api.streaming import ArchiveResponse, Pace
from backends.archives import FORMATS, Deviations, Piece, plan
from backends.archives.pieces import Extent
from core.errors import StorageError
from core.names import VFolderPath

ROOT = [plan.Source(VFolderPath(()), "")]
#: Directories of a large plan; their content is not read.
MANY = 20_000


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    for number in range(30):
        (tmp_path / f"small{number}").write_bytes(os.urandom(20_000))
    (tmp_path / "large").write_bytes(os.urandom(700_000))
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def body_of(top: int, form: str) -> ArchiveResponse:
    return ArchiveResponse(top, ROOT, FORMATS[form], Pace(None))


def read(pieces: Iterator[Piece]) -> bytes:
    return b"".join(b"".join(p.read()) if isinstance(p, Extent) else p for p in pieces)


@pytest.mark.parametrize("form", FORMATS)
def test_a_server_without_senders_gets_the_same(top: int, form: str) -> None:
    """As over TLS, where the server takes only bytes."""
    whole, other = body_of(top, form), body_of(top, form)
    data = b"".join(whole)
    assert data == read(other.pieces())
    assert whole.length in (len(data), None)
    whole.close()
    other.close()
    if whole.length is not None:
        part = body_of(top, form)
        part.limit(100_001, 600_000)
        assert b"".join(part) == data[100_001:700_001]
        part.close()


def open_files(top: Path) -> set[tuple[str, str]]:
    """What this process has open below a directory, by descriptor.

    Nothing else counts: threads that other tests of this process left behind open and close files,
    sockets and pipes, too.
    """
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            what = os.readlink(f"/proc/self/fd/{number}")
            if what.startswith(str(top)):
                found.add((number, what))
    return found


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("begun", [0, 1, 3])
def test_nothing_is_left_open(top: int, tmp_path: Path, form: str, begun: int) -> None:
    gc.collect()  # what earlier tests left open is closed now, not in the middle of this test
    before = open_files(tmp_path)
    body = body_of(top, form)
    pieces = body.pieces()
    for _ in range(begun):
        next(pieces)
    body.close()
    body.close()
    assert open_files(tmp_path) <= before
    assert list(pieces) == []


@pytest.mark.parametrize("form", FORMATS)
def test_what_cannot_be_sent_is_a_problem_before_the_head(
    top: int, tmp_path: Path, form: str
) -> None:
    body = body_of(top, form)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(StorageError) as caught:
        body.begin()
    assert caught.value.status in (404, 409)
    body.close()
    whole, begun = body_of(top, form), body_of(top, form)
    begun.begin()
    assert read(begun.pieces()) == read(whole.pieces())
    begun.close()
    whole.close()


@pytest.mark.parametrize("form", ["zip", "zip-deflate", "tar"])
def test_memory_is_flat(top: int, form: str) -> None:
    """For any number of entries: the plan is in a file, and a few bytes are kept of each."""
    made = plan.Plan()
    for first in range(0, MANY, 1000):
        entries = [
            plan.ArchiveEntry(b"%099d" % number, 0o40755, 0, number, number, is_directory=True)
            for number in range(first, first + 1000)
        ]
        made.add(plan.Batch(b"", b"some/directory/", entries))
    tracemalloc.start()
    archive = FORMATS[form].make(top, made, Deviations())
    size = sum(len(piece) for piece in archive.pieces())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert archive.size in (size, None)
    assert peak < (4 << 20) + 13 * MANY
    made.close()
