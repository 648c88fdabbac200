"""A plan's entries in runs: small files are read together, before their turn; large ones alone."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache

from backends.archives.pieces import PIECE_BYTES, Extent, Piece
from backends.archives.plan import ArchiveEntry, Batch, Plan, opened
from backends.archives.reading import OPEN_FILE, check, read_files

#: Files up to this size are read in one go.
SMALL_BYTES = 256 * 1024
#: Runs of small files that are read before their turn, and how many entries one has at most.
RUNS_AHEAD = 4
RUN_ENTRIES = 250
#: One run more is read ahead after every so many: who stalls does so soon, and holds little.
RUNS_TRUSTED = 8
#: Threads that read before their turn, for all archives of a process.
READERS = 4


@dataclass(frozen=True, slots=True)
class Group:
    """Some entries of one directory, a piece's worth at most; a large file is alone."""

    batch: Batch
    entries: list[ArchiveEntry]
    size: int

    @property
    def is_large(self) -> bool:
        """It is one large file."""
        return is_large(self.entries[0])


Run = list[Group]
_Loaded = Generator[tuple[Run, list[bytes] | None], None, None]


def is_large(entry: ArchiveEntry) -> bool:
    """A file that is not read in one go."""
    return entry.size > SMALL_BYTES and entry.is_file


def name_of(batch: Batch, entry: ArchiveEntry) -> bytes:
    """The name in the archive; a directory's ends with a slash."""
    name = batch.prefix + entry.name
    return name + b"/" if entry.is_directory else name


def groups(plan: Plan) -> Iterator[Group]:
    """All entries of a plan, in order; the same groups each time."""
    for batch in plan.batches():
        entries: list[ArchiveEntry] = []
        size = 0
        for entry in batch.entries:
            full = size + entry.size > PIECE_BYTES or len(entries) == RUN_ENTRIES
            if entries and (full or is_large(entries[0])):
                yield Group(batch, entries, size)
                entries, size = [], 0
            entries.append(entry)
            size += entry.size
        if entries:
            yield Group(batch, entries, size)


def assembled(
    top: int,
    found: Iterable[Group],
    pack: Callable[[Run, list[bytes]], bytes],
    send_large: Callable[[Group], Iterator[Piece]],
) -> Iterator[Piece]:
    """What an archive is made of: runs as `pack` joins them, each large file as it is sent.

    Raises:
        StorageError, OSError: a file is not there any more, or not as it was planned.
    """
    with closing(_loaded(top, found)) as coming:
        for run, contents in coming:
            if contents is None:
                yield from send_large(run[0])
                continue
            packed = pack(run, contents)
            del run, contents  # nobody knows how long the reader takes
            yield packed
            del packed


def _loaded(top: int, found: Iterable[Group]) -> _Loaded:
    """Runs in order with the contents of their files; of a large file None."""
    coming: deque[tuple[Run, Future[list[bytes]] | None]] = deque()
    try:
        for number, run in enumerate(_runs(found)):
            coming.append((run, None if run[0].is_large else _readers().submit(_load, top, run)))
            while len(coming) > min(RUNS_AHEAD, 1 + number // RUNS_TRUSTED):
                yield _arrived(*coming.popleft())
        while coming:
            yield _arrived(*coming.popleft())
    finally:
        wait([load for _, load in coming if load and not load.cancel()])  # they read below `top`


@cache
def _readers() -> ThreadPoolExecutor:
    """The threads of this process that read ahead; an archive whose reader stalls holds none."""
    return ThreadPoolExecutor(READERS, thread_name_prefix="archive")


def _arrived(run: Run, load: "Future[list[bytes]] | None") -> tuple[Run, list[bytes] | None]:
    return run, load.result() if load else None


def _runs(found: Iterable[Group]) -> Iterator[Run]:
    """Groups that are read and sent together: a piece's worth, or one large file."""
    run: Run = []
    entries = size = 0
    for group in found:
        full = size + group.size > PIECE_BYTES or entries + len(group.entries) > RUN_ENTRIES
        if run and (full or group.is_large):
            yield run
            run, entries, size = [], 0, 0
        run.append(group)
        entries += len(group.entries)
        size += group.size
    if run:
        yield run


def _load(top: int, run: Run) -> list[bytes]:
    """The contents of the files of a run, read beside the thread that packs."""
    contents: list[bytes] = []
    for group in run:
        files = [entry for entry in group.entries if entry.is_file]
        if files:
            with opened(top, group.batch.directory) as directory:
                contents += read_files(directory, files)
    return contents


@contextmanager
def large(top: int, group: Group) -> Iterator[Extent]:
    """A large file, open; compared with the plan before and after it was sent.

    Raises:
        StorageError, OSError: it is not there any more, or not as it was planned.
    """
    [entry] = group.entries
    with opened(top, group.batch.directory) as directory:
        descriptor = os.open(entry.name, OPEN_FILE, dir_fd=directory)
    try:
        check(entry, _seen(descriptor))
        yield Extent(descriptor, 0, entry.size)
        check(entry, _seen(descriptor))
    finally:
        os.close(descriptor)


def _seen(descriptor: int) -> tuple[int, int, int]:
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns, found.st_ino
