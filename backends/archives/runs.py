"""The entries of a plan in runs: small files are read together and ahead, large ones alone."""

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from backends.archives.deviations import CHANGED, Deviations
from backends.archives.pieces import PIECE_BYTES, Extent, Piece
from backends.archives.plan import ArchiveEntry, Batch, EntryChanged, Plan, opened
from backends.archives.reading import (
    OPEN_FILE,
    is_planned,
    met_size,
    path_of,
    read_files,
    reason_left_out,
)
from core.errors import StorageError

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
#: The contents of the files of a run; None is a file that is left out.
Contents = list[bytes | None]
#: What is made of a run beside the thread that sends.
Loaded = TypeVar("Loaded")
#: A run, and the call that loads it; None for a large file.
_Coming = tuple[Run, Future[Loaded] | None]


@dataclass(frozen=True, slots=True)
class Beneath:
    """Where the files of a plan are, and what is met there otherwise than planned."""

    top: int
    met: Deviations


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
    planned: Iterable[Group],
    load: Callable[[Run], Loaded],
    pack: Callable[[Run, Loaded], bytes],
    send_large: Callable[[Group], Iterator[Piece]],
) -> Iterator[Piece]:
    """Yield the pieces of an archive: those of runs, and what `send_large` makes of large files.

    `load` reads a run, ahead and in another thread. `pack` makes its piece of that, in order.

    Raises:
        StorageError, OSError: a file is gone, or cannot be sent as planned any more.
    """
    with closing(_ahead(planned, load)) as coming:
        for run, loading in coming:
            if loading is None:
                yield from send_large(run[0])
                continue
            packed = pack(run, loading.result())
            del run, loading  # the client may take long to read the piece
            yield packed
            del packed


def _ahead(
    planned: Iterable[Group], load: Callable[[Run], Loaded]
) -> Generator[_Coming[Loaded], None, None]:
    """Yield runs in order; those after them are loaded meanwhile."""
    coming: deque[_Coming[Loaded]] = deque()
    try:
        for number, run in enumerate(_runs(planned)):
            coming.append((run, None if run[0].is_large else _readers().submit(load, run)))
            while len(coming) > min(RUNS_AHEAD, 1 + number // RUNS_TRUSTED):
                yield coming.popleft()
        while coming:
            yield coming.popleft()
    finally:
        wait([one for _, one in coming if one and not one.cancel()])  # they read below `top`


@cache
def _readers() -> ThreadPoolExecutor:
    """Return the threads of this process that read ahead; a stalled client occupies none."""
    return ThreadPoolExecutor(READERS, thread_name_prefix="archive")


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


def contents(beneath: Beneath, run: Run) -> Contents:
    """Return the contents of the files of a run.

    Raises:
        StorageError, OSError: a file is gone, or cannot be sent as planned any more.
    """
    found: Contents = []
    for group in run:
        files = [entry for entry in group.entries if entry.is_file]
        if files:
            found += _load_files(beneath, group.batch, files)
    return found


def _load_files(beneath: Beneath, batch: Batch, files: list[ArchiveEntry]) -> Contents:
    try:
        with opened(beneath.top, batch.directory) as directory:
            return read_files(directory, batch, files, beneath.met)
    except StorageError as error:
        if not beneath.met.tolerant or isinstance(error, EntryChanged):
            raise
        for entry in files:
            beneath.met.add(path_of(batch, entry), error.detail)
        return [None] * len(files)


@contextmanager
def large(beneath: Beneath, group: Group) -> Iterator[Extent | None]:
    """Open a large file, and compare it with the plan before and after it is sent.

    Gives the extent to send; None for a file that a tolerant archive leaves out.

    Raises:
        StorageError, OSError: the file is gone, or cannot be sent as planned any more.
    """
    [entry] = group.entries
    descriptor = _opened_file(beneath, group.batch, entry)
    if descriptor is None:
        yield None
        return
    try:
        before = _current(descriptor)
        same = is_planned(entry, before)
        size = entry.size if same else met_size(group.batch, entry, before, beneath.met)
        yield Extent(descriptor, 0, size)
        if same and not is_planned(entry, _current(descriptor)):
            beneath.met.add(path_of(group.batch, entry), CHANGED)
    finally:
        os.close(descriptor)


def _opened_file(beneath: Beneath, batch: Batch, entry: ArchiveEntry) -> int | None:
    try:
        with opened(beneath.top, batch.directory) as directory:
            descriptor = os.open(entry.name, OPEN_FILE, dir_fd=directory)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    except (StorageError, OSError) as error:
        if not beneath.met.tolerant:
            raise
        reason = reason_left_out(error) if isinstance(error, OSError) else error.detail
        beneath.met.add(path_of(batch, entry), reason)
        return None


def _current(descriptor: int) -> tuple[int, int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns, status.st_ino
