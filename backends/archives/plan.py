"""The plan of an archive: every entry with its attributes, listed before the first byte is sent.

A large plan is kept in a temporary file, so a million entries cost no memory. It is read once to
send the entries, and once for the records behind them. Each entry is compared with the plan when it
is sent. An entry that cannot be sent whole ends the stream, or is left out (see `deviations`).
"""

import errno
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import xxhash

from backends.fs import paths, reason_of, translate
from backends.fs.directory import files_and_details
from backends.fs.native import Detail
from core.errors import Conflict, EntryNotFound, EntryRefused, StorageError
from core.names import VFolderPath

#: Entries planned or sent at once; bounds the memory for a directory of a million names.
BATCH_ENTRIES = 1_000
#: A plan of up to this size in bytes stays in memory.
MEMORY_BYTES = 256 * 1024
#: It is read in blocks of this size, of many small batches.
BLOCK_BYTES = 64 * 1024
#: Files of several names that are remembered at a time; they take about 20 MiB.
HARD_LINKS_MAX = 100_000

#: The length of a batch is written before it, in so many bytes.
_HEAD_BYTES = 4
#: The bits of a mode that have the kind of an entry.
_KIND = 0o170000
#: Errors of a directory that vanished, or whose name is that of another entry now.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
#: The times that a plan can store (nanoseconds of the epoch): integers of msgpack.
_FIRST_NS, _LAST_NS = -(2**63), 2**64 - 1
NAME_TOO_LONG = "Its path is longer than this format of archives can have; a tar has it."
TIME_NOT_KEPT = "Its time is before 1677 or after 2554; the archive has the nearest time it can."
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class UnsupportedEntry(EntryRefused):
    """The entry is a fifo, socket or device; no archive can have it."""

    kind = "storage/unsupported-file-type"
    title = "Unsupported file type"
    error_code = "vfs-storage_read_invalid-parameters"


class EntryChanged(Conflict):
    """An entry cannot be sent as it was planned any more, so the stream cannot continue."""

    error_code = "vfs-storage_read_conflict"
    title = "The entry changed while it was sent"
    retriable = True


def planned_ns(mtime_ns: int) -> int:
    """Return a time of modification as a plan can store it: files may have any time of 64 bits.

    From the year 1677 to 2554 it is exact.
    """
    return min(max(mtime_ns, _FIRST_NS), _LAST_NS)


class ArchiveEntry(msgspec.Struct, array_like=True, gc=False):
    """One planned entry; its name has the bytes on disk."""

    name: bytes
    mode: int
    size: int
    mtime_ns: int
    inode: int
    #: The target of a link; of a hard link, the name in the archive of the earlier file.
    target: bytes = b""
    #: Whether it has content of its own; a hard link has none.
    is_file: bool = False
    is_directory: bool = False


class Batch(msgspec.Struct, array_like=True):
    """Entries of one directory."""

    #: The path of the directory below the top.
    directory: bytes
    #: The part before each name in the archive: empty, or with a slash at the end.
    prefix: bytes
    entries: list[ArchiveEntry]


@dataclass(frozen=True, slots=True)
class Source:
    """A directory or file to archive: the one at `path`, named `name` in the archive.

    With an empty name the entries of a directory are at the top of the archive. The entry `without`
    of the directory is left out.
    """

    path: VFolderPath
    name: str
    without: str = ""


class Plan:
    """The entries that an archive will have; `close` removes its temporary file."""

    def __init__(self, on_batch: Callable[[], object] = bool) -> None:
        self._on_batch = on_batch
        self._spool = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - closed by close()
        self._digest = xxhash.xxh3_128()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Batch)
        self.entries = 0
        #: When it was made (nanoseconds of the epoch).
        self.made_ns = time.time_ns()

    def add(self, batch: Batch) -> None:
        """Add a batch; the archive has the batches in this order."""
        data = self._encoder.encode(batch)
        self._digest.update(data)
        self._spool.write(len(data).to_bytes(_HEAD_BYTES, "little"))
        self._spool.write(data)
        self.entries += len(batch.entries)
        self._on_batch()

    def batches(self) -> Iterator[Batch]:
        """Yield all batches in order; several iterators may run at the same time."""
        at, decode = 0, self._decoder.decode
        while data := self._read(at):
            begin = _HEAD_BYTES
            end = begin + int.from_bytes(data[:begin], "little")
            if end > len(data):
                data = self._read(at, end)
            while end <= len(data):
                yield decode(memoryview(data)[begin:end])
                begin = end + _HEAD_BYTES
                end = begin + int.from_bytes(data[end:begin], "little")
            at += begin - _HEAD_BYTES

    def _read(self, at: int, size: int = BLOCK_BYTES) -> bytes:
        self._spool.seek(at)
        return self._spool.read(size)

    @property
    def tag(self) -> str:
        """Return a digest of the plan: the same for the same tree, another after any change."""
        digest: str = self._digest.hexdigest()
        return digest

    def close(self) -> None:
        """Remove the temporary file."""
        self._spool.close()


#: Gets the path of an entry that is not planned, and the reason.
LeaveOut = Callable[[bytes, str], None]


def make(
    top: int,
    sources: Iterable[Source],
    *,
    hard_links: bool = False,
    on_batch: Callable[[], object] = bool,
    leave_out: LeaveOut | None = None,
    on_time: LeaveOut = lambda _path, _reason: None,
    name_bytes_max: int | None = None,
) -> Plan:
    """List everything below the sources, beneath the directory descriptor `top`.

    Links are planned as links and never followed; only a source itself may be a link that stays
    inside. With `hard_links`, a later name of a file is planned as a link to its first name.
    Without, each name is a file of its own. What vanishes while it is listed is not planned.
    `on_batch` is called after each batch of entries, and may raise to stop. Costs one lstat(2) per
    entry.

    With `leave_out`, entries below the sources that no archive can have, or that cannot be read,
    are left out; without it they are errors. `on_time` gets the entries whose time no plan can
    have: the archive has the nearest one. A name in the archive takes at most `name_bytes_max`.

    Raises:
        EntryNotFound, PathEscape: a source does not exist, or leads outside.
        UnsupportedEntry: a fifo, socket or device is among the entries.
        EntryRefused: a directory cannot be read.
    """
    plan = Plan(on_batch)
    links = HardLinks() if hard_links else None
    longest = name_bytes_max or sys.maxsize
    listing = _Listing(top, plan, links, leave_out, on_time, longest)
    try:
        for source in sources:
            listing.add(source)
    except BaseException:
        plan.close()
        raise
    return plan


class HardLinks:
    """The first names of files that have several names, so that a later name can point there.

    At most `HARD_LINKS_MAX` files are remembered at a time. The names of other files are planned as
    files of their own: the archive is correct then too, only longer.
    """

    def __init__(self) -> None:
        self._first: dict[tuple[int, int], tuple[bytes, int]] = {}

    def first(self, file: tuple[int, int], names: int, name: bytes) -> bytes:
        """Return the first name of a file (device, inode) of so many names; empty: this is it."""
        before, left = self._first.pop(file, (b"", names))
        if left > 1 and (before or len(self._first) < HARD_LINKS_MAX):
            self._first[file] = before or name, left - 1
        return before


@dataclass(frozen=True, slots=True)
class _Listing:
    """Fills a plan from what is beneath `top`."""

    top: int
    plan: Plan
    links: HardLinks | None
    leave_out: LeaveOut | None
    on_time: LeaveOut
    name_bytes_max: int

    def add(self, source: Source) -> None:
        """Plan one source and all below it."""
        status = paths.stat_beneath(self.top, source.path)
        self._look_at_time(os.fsencode(str(source.path)), status.st_mtime_ns)
        if stat.S_ISDIR(status.st_mode):
            if source.name:
                above, _, name = source.name.rpartition("/")
                itself = _entry(_detail(os.fsencode(name), status), b"")
                self.plan.add(Batch(b"", _prefix(os.fsencode(above)), [itself]))
            self._walk(str(source.path), os.fsencode(source.name), source.without)
            return
        if not stat.S_ISREG(status.st_mode):
            raise UnsupportedEntry(f"{source.path} is no file, directory or link.")
        above, _, _ = source.name.rpartition("/")
        prefix = _prefix(os.fsencode(above))
        entry = self._file(_detail(os.fsencode(source.path.name), status), prefix)
        directory = os.fsencode(str(source.path.parent))
        self.plan.add(Batch(directory, prefix, [entry]))

    def _walk(self, path: str, name: bytes, without: str) -> None:
        """Plan everything below a directory, depth first.

        A directory comes right before its entries: GNU tar sets the mode and time of a directory
        when it meets the first entry that is elsewhere.
        """
        top = b"" if path == "." else os.fsencode(path)
        todo = self._directory(top, _prefix(name), without)
        while todo:
            above, prefix, entry = todo.pop()
            self.plan.add(Batch(b"", prefix, [entry]))
            todo += self._directory(_join(above, entry.name), _prefix(prefix + entry.name))

    def _directory(
        self, directory: bytes, prefix: bytes, without: str = ""
    ) -> list[tuple[bytes, bytes, ArchiveEntry]]:
        """Plan the entries of a directory, and return the directories among them."""
        below: list[tuple[bytes, bytes, ArchiveEntry]] = []
        try:
            with opened(self.top, directory) as descriptor:
                for batch in self._batches(descriptor, directory, prefix, without):
                    below += [(directory, prefix, one) for one in batch.entries if one.is_directory]
                    batch.entries = [one for one in batch.entries if not one.is_directory]
                    if batch.entries:
                        self.plan.add(batch)
        except StorageError as error:
            if not self._is_left_out(directory, error):
                raise
        return below

    def _is_left_out(self, directory: bytes, error: StorageError) -> bool:
        """Return whether a directory that cannot be listed may be missing."""
        if error.facts.get("errno") in _GONE or isinstance(error, EntryNotFound):
            return True
        if self.leave_out is None:
            return False
        self.leave_out(directory, error.detail)
        return True

    def _batches(
        self, descriptor: int, directory: bytes, prefix: bytes, without: str
    ) -> Iterator[Batch]:
        batch = Batch(directory, prefix, [])
        try:
            for entries in self._listed(descriptor, batch, os.fsencode(without)):
                batch.entries += entries
                while len(batch.entries) >= BATCH_ENTRIES:
                    later = batch.entries[BATCH_ENTRIES:]
                    del batch.entries[BATCH_ENTRIES:]
                    yield batch
                    batch.entries = later
        except OSError as error:
            raise translate(error, os.fsdecode(directory)) from error
        if batch.entries:
            yield batch

    def _listed(
        self, descriptor: int, batch: Batch, without: bytes
    ) -> Iterator[list[ArchiveEntry]]:
        """Yield planned entries of a directory; what vanished or is left out is none."""
        fits = 0 if without else self.name_bytes_max - len(batch.prefix)
        for found, failed in files_and_details(descriptor, ArchiveEntry, fits):
            entries: list[ArchiveEntry] = []
            for one in found:
                if isinstance(one, ArchiveEntry):  # nearly all
                    entries.append(one)
                elif one[0] != without and (other := self._other(descriptor, batch, one)):
                    entries.append(other)
            yield entries
            for name, number in failed:
                self._left_out(_join(batch.directory, name), OSError(number, os.strerror(number)))

    def _other(self, descriptor: int, batch: Batch, one: Detail) -> ArchiveEntry | None:
        """Return the planned entry; None for one that vanished, or is left out."""
        try:
            return self._planned(descriptor, batch, one)
        except FileNotFoundError:
            return None
        except (OSError, UnsupportedEntry) as error:
            self._left_out(_join(batch.directory, one[0]), error)
            return None

    def _left_out(self, path: bytes, error: OSError | UnsupportedEntry) -> None:
        if self.leave_out is None:
            raise error
        self.leave_out(path, reason_of(error))

    def _planned(self, descriptor: int, batch: Batch, one: Detail) -> ArchiveEntry:
        name, mode, _, mtime_ns, *_ = one
        path = _join(batch.directory, name)
        if len(batch.prefix) + len(name) >= self.name_bytes_max:
            raise UnsupportedEntry(NAME_TOO_LONG, paths=[os.fsdecode(path)])
        self._look_at_time(path, mtime_ns)
        kind = mode & _KIND
        if kind == stat.S_IFREG:
            return self._file(one, batch.prefix)
        if kind == stat.S_IFDIR:
            return _entry(one, b"")
        if kind == stat.S_IFLNK:
            return _entry(one, _target(os.fsdecode(name), descriptor))
        raise UnsupportedEntry(
            "An archive can have only files, directories and links.", paths=[os.fsdecode(path)]
        )

    def _look_at_time(self, path: bytes, mtime_ns: int) -> None:
        if not _FIRST_NS <= mtime_ns <= _LAST_NS:
            self.on_time(path, TIME_NOT_KEPT)

    def _file(self, one: Detail, prefix: bytes) -> ArchiveEntry:
        """Plan a file; a later name of an earlier file becomes a hard link."""
        name, mode, size, mtime_ns, inode, names, device = one
        mtime = planned_ns(mtime_ns)
        if self.links is not None and names > 1:
            first = self.links.first((device, inode), names, prefix + name)
            if first:
                return ArchiveEntry(name, mode, 0, mtime, inode, first)
        return ArchiveEntry(name, mode, size, mtime, inode, b"", True)  # noqa: FBT003 - `is_file`


def _detail(name: bytes, status: os.stat_result) -> Detail:
    numbers = status.st_mode, status.st_size, status.st_mtime_ns
    return name, *numbers, status.st_ino, status.st_nlink, status.st_dev


def _entry(one: Detail, target: bytes) -> ArchiveEntry:
    name, mode, length, mtime_ns, inode, *_ = one
    is_file, is_directory = stat.S_ISREG(mode), stat.S_ISDIR(mode)
    size = length if is_file else len(target)
    return ArchiveEntry(
        name, mode, size, planned_ns(mtime_ns), inode, target, is_file, is_directory
    )


def _target(name: str, directory: int) -> bytes:
    """Return the target of a link; another kind of entry that took its name is a missing link."""
    try:
        return os.fsencode(os.readlink(name, dir_fd=directory))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error


def _prefix(name: bytes) -> bytes:
    return name + b"/" if name else b""


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


@contextmanager
def opened(top: int, directory: bytes) -> Iterator[int]:
    """Open a planned directory for reading; no link on the way leads outside.

    Raises:
        StorageError: the directory is gone, or cannot be read.
    """
    parts = tuple(part for part in os.fsdecode(directory).split("/") if part not in ("", "."))
    descriptor = paths.open_beneath(top, VFolderPath(parts), _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
