"""The entries of a plan in runs: small files are read together and ahead, large ones alone."""

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

#: Files of up to this size in bytes are read at once.
SMALL_BYTES = 256 * 1024
#: Runs of small files that are read ahead, and the most entries of one run.
RUNS_AHEAD = 4
RUN_ENTRIES = 250
#: One more run is read ahead after each so many. A reader that stalls mostly stalls early, and
#: holds little memory then.
RUNS_TRUSTED = 8
#: Threads that read ahead, for all archives of a process.
READERS = 4


@dataclass(frozen=True, slots=True)
class Group:
    """Some entries of one directory, at most `PIECE_BYTES`; a large file has a group of its own."""

    batch: Batch
    entries: list[ArchiveEntry]
    size: int

    @property
    def is_large(self) -> bool:
        """Return whether this is one large file."""
        return is_large(self.entries[0])


Run = list[Group]
_Loaded = Generator[tuple[Run, list[bytes] | None], None, None]


def is_large(entry: ArchiveEntry) -> bool:
    """Return whether an entry is a file too large to be read at once."""
    return entry.size > SMALL_BYTES and entry.is_file


def name_of(batch: Batch, entry: ArchiveEntry) -> bytes:
    """Return the name in the archive; that of a directory ends with a slash."""
    name = batch.prefix + entry.name
    return name + b"/" if entry.is_directory else name


def groups(plan: Plan) -> Iterator[Group]:
    """Yield all entries of a plan in order; the groups are the same each time."""
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
    planned: Iterable[Group],
    pack: Callable[[Run, list[bytes]], bytes],
    send_large: Callable[[Group], Iterator[Piece]],
) -> Iterator[Piece]:
    """Yield the pieces of an archive: `pack` makes those of a run, `send_large` of a large file.

    Raises:
        StorageError, OSError: a file is gone, or is not as planned any more.
    """
    with closing(_loaded(top, planned)) as coming:
        for run, contents in coming:
            if contents is None:
                yield from send_large(run[0])
                continue
            packed = pack(run, contents)
            del run, contents  # the client may take long to read the piece
            yield packed
            del packed


def _loaded(top: int, planned: Iterable[Group]) -> _Loaded:
    """Yield runs in order with the contents of their files; None for a large file."""
    coming: deque[tuple[Run, Future[list[bytes]] | None]] = deque()
    try:
        for number, run in enumerate(_runs(planned)):
            coming.append((run, None if run[0].is_large else _readers().submit(_load, top, run)))
            while len(coming) > min(RUNS_AHEAD, 1 + number // RUNS_TRUSTED):
                yield _arrived(*coming.popleft())
        while coming:
            yield _arrived(*coming.popleft())
    finally:
        wait([load for _, load in coming if load and not load.cancel()])  # they read below `top`


@cache
def _readers() -> ThreadPoolExecutor:
    """Return the threads of this process that read ahead; a stalled client occupies none."""
    return ThreadPoolExecutor(READERS, thread_name_prefix="archive")


def _arrived(run: Run, load: "Future[list[bytes]] | None") -> tuple[Run, list[bytes] | None]:
    return run, load.result() if load else None


def _runs(planned: Iterable[Group]) -> Iterator[Run]:
    """Yield groups that are read and sent together: about `PIECE_BYTES`, or one large file."""
    run: Run = []
    entries = size = 0
    for group in planned:
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
    """Return the contents of the files of a run; runs beside the thread that packs."""
    contents: list[bytes] = []
    for group in run:
        files = [entry for entry in group.entries if entry.is_file]
        if files:
            with opened(top, group.batch.directory) as directory:
                contents += read_files(directory, files)
    return contents


@contextmanager
def large(top: int, group: Group) -> Iterator[Extent]:
    """Open a large file, and compare it with the plan before and after it is sent.

    Raises:
        StorageError, OSError: the file is gone, or is not as planned any more.
    """
    [entry] = group.entries
    with opened(top, group.batch.directory) as directory:
        descriptor = os.open(entry.name, OPEN_FILE, dir_fd=directory)
    try:
        check(entry, _current(descriptor))
        yield Extent(descriptor, 0, entry.size)
        check(entry, _current(descriptor))
    finally:
        os.close(descriptor)


def _current(descriptor: int) -> tuple[int, int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns, status.st_ino
