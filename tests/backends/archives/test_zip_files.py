"""Entries of a zip and their records, made in C and in Python: the same bytes."""

import os
import random
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from isal.isal_zlib import crc32

from backends.archives import Deviations, plan, zips
from backends.archives.pieces import Extent
from backends.archives.plan import ArchiveEntry, Batch
from backends.archives.runs import RUN_ENTRIES, SMALL_BYTES
from backends.archives.zips import StoredZip
from backends.fs import native
from core.errors import StorageError
from core.names import VFolderPath

pytestmark = pytest.mark.part("native-code")

ROOT = [plan.Source(VFolderPath(()), "")]
BELOW = [plan.Source(VFolderPath(()), "tög/" + "p" * 40)]
#: The first and last seconds that C makes, those beside them, leap days, ends of years.
SECONDS = (
    *(0, 1, 315_532_799, 315_532_800, 951_782_399, 951_782_400, 951_868_800, 1_078_012_801),
    *(1_709_164_800, 1_709_251_199, 1_735_689_599, 1_735_689_600, 2**31 - 1, 2**31, -1, 2**32),
)
NAMES = (
    *(b"plain", b"with space", "gr\xfc\xdfe".encode(), "\U0001f600".encode(), b"\xff\xfe"),
    *(b"\xed\xa0\x80", b"back\\slash", b"new\nline", b"n" * 255, b"-", b"~"),
)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A tree with what archives may have."""
    place = tmp_path / "folder"
    for name in NAMES:
        below = place / os.fsdecode(name)
        below.mkdir(parents=True)
        (below / os.fsdecode(name)).write_bytes(name)
        (below / "link").symlink_to(os.fsdecode(name))
    sizes = place / "sizes"
    sizes.mkdir()
    for size in (0, 1, 65_535, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1):
        (sizes / f"{size}").write_bytes(random.Random(size).randbytes(size))
    (place / "many").mkdir()
    for number in range(RUN_ENTRIES + 3):
        (place / f"many/{number}").write_text(f"{number}")
    (place / "modes").mkdir()
    for mode in (0o400, 0o777, 0o1644, 0o4755, 0o7777):
        (place / f"modes/{mode:o}").touch()
        (place / f"modes/{mode:o}").chmod(mode)
    os.link(place / "many/1", place / "modes/again")
    (place / "empty").mkdir(0o1777)
    os.utime(place / "empty", (7, 7))
    return place


def with_times(place: Path) -> None:
    """Files of all times; C makes none of a run in which one time is far."""
    (place / "times").mkdir()
    for seconds in SECONDS:
        file = place / f"times/{seconds}"
        file.touch()
        with suppress(OSError):  # not every file system has them all
            os.utime(file, ns=(0, seconds * 10**9 + 999_999_999))


@contextmanager
def planned(place: Path, sources: list[plan.Source]) -> Iterator[tuple[int, plan.Plan]]:
    descriptor = os.open(place, os.O_RDONLY)
    made = plan.make(descriptor, sources)
    try:
        yield descriptor, made
    finally:
        made.close()
        os.close(descriptor)


def data(archive: StoredZip, start: int = 0) -> bytes:
    parts: list[bytes] = []
    for piece in archive.pieces(start):
        parts += piece.read() if isinstance(piece, Extent) else [piece]
    return b"".join(parts)


@pytest.mark.parametrize("times", [False, True])
@pytest.mark.parametrize("sources", [ROOT, BELOW])
def test_both_ways_make_the_same_zip(top: Path, sources: list[plan.Source], *, times: bool) -> None:
    if times:
        with_times(top)
    with planned(top, sources) as (descriptor, made):
        in_c = StoredZip(descriptor, made, in_c=True)
        in_python = StoredZip(descriptor, made, in_c=False)
        whole = data(in_python)
        assert data(in_c) == whole
        assert len(whole) == in_c.size == in_python.size
        for start in (1, len(whole) // 3, len(whole) - 30):
            assert data(in_c, start) == whole[start:]


def grown(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"more")


def rewritten(file: Path) -> None:
    file.write_bytes(b"y" * file.stat().st_size)
    os.utime(file, (1, 1))


def replaced(file: Path) -> None:
    """Another file has the name, the size and the time."""
    status = file.stat()
    draft = file.with_name("draft")
    draft.write_bytes(b"z" * status.st_size)
    os.utime(draft, ns=(status.st_atime_ns, status.st_mtime_ns))
    draft.rename(file)


def shortened(file: Path) -> None:
    os.truncate(file, 1)


def removed(file: Path) -> None:
    file.unlink()


def to_link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def to_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def to_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def directory_to_link(file: Path) -> None:
    file.parent.rename(file.parent.with_name("moved"))
    file.parent.symlink_to("moved")


CHANGES = (
    *(grown, rewritten, replaced, shortened, removed),
    *(to_link, to_fifo, to_directory, directory_to_link),
)


def outcome(descriptor: int, made: plan.Plan, *, in_c: bool) -> tuple[object, list[str]]:
    """What a strict archive sends, or how it ends; and what it met."""
    met = Deviations()
    try:
        return data(StoredZip(descriptor, made, met, in_c=in_c)), met.examples
    except (StorageError, OSError) as error:
        return (type(error), str(error)), met.examples


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_is_met_by_both_ways_in_the_same_way(
    top: Path, change: Callable[[Path], None]
) -> None:
    """C makes nothing of a run with such a file, and all of the same run without it."""
    file = top / "many/17"
    with planned(top / "many", ROOT) as (descriptor, made):
        [batch] = made.batches()
        groups = [(b"", b"", batch.entries[:100]), (b".", b"", batch.entries[100:])]
        assert native.zip_files(descriptor, groups, crc32) is not None
    with planned(top, ROOT) as (descriptor, made):
        change(file)
        [batch] = [one for one in made.batches() if one.directory == b"many"]
        entries = [one for one in batch.entries if one.name == b"17"]
        assert native.zip_files(descriptor, [(b"many", b"", entries)], crc32) is None
        assert outcome(descriptor, made, in_c=True) == outcome(descriptor, made, in_c=False)


def test_no_directory_outside_is_read(top: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("secret")
    (top / "inside").symlink_to("../outside")
    with planned(tmp_path, ROOT) as (_, made):
        [batch] = [one for one in made.batches() if one.directory == b"outside"]
    descriptor = os.open(top, os.O_RDONLY)
    for directory in (b"inside", b"../outside", os.fsencode(tmp_path / "outside"), b"gone"):
        assert native.zip_files(descriptor, [(directory, b"", batch.entries)], crc32) is None
    os.close(descriptor)


def test_the_records_of_all_times_are_the_same() -> None:
    dice = random.Random(7)
    seconds = [*range(0, 2**31, 86_400 * 3 + 12_345), *(dice.randrange(2**31) for _ in range(900))]
    entries = [
        ArchiveEntry(b"%d" % at, dice.randrange(1 << 16), at % 1000, at * 10**9, 1, b"", True)  # noqa: FBT003 - `is_file`
        for at in (*seconds, *(at for at in SECONDS if 0 <= at < 2**31))
    ]
    entries.append(ArchiveEntry(b"below", 0o40755, 0, 10**9, 2, is_directory=True))
    entries.append(ArchiveEntry(b"link", 0o120777, 3, 10**9, 2, b"\xffto"))
    crcs = array("I", [dice.randrange(2**32) for _ in entries])
    batch = Batch(b"", "\xfc/".encode(), entries)
    for offset in (0, 4_000_000_000):
        made = native.zip_records(batch.prefix, entries, crcs.tobytes(), offset, SMALL_BYTES)
        assert made == zips._records(batch, crcs, offset)
