"""The plan of an archive: every entry with its attributes, listed before the first byte is sent.

The plan goes to a temporary file once it is large, so a million entries cost no memory; it is read
once to send the entries and once for what comes behind them. What is sent is checked against it:
an entry that changed, vanished or cannot be read ends the stream.
"""

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import xxhash

from backends.fs import paths, translate
from core.errors import EntryRefused, StorageError
from core.names import VFolderPath

#: Entries planned or sent in one go: bounds memory in a directory of a million names.
BATCH_ENTRIES = 1_000
#: A plan up to this size stays in memory.
MEMORY_BYTES = 256 * 1024
#: Files of several names that are remembered at a time: some 20 MiB.
HARD_LINKS_MAX = 100_000

#: The length of a batch stands before it.
_HEAD_BYTES = 4
#: The bits of a mode that tell what an entry is.
_KIND = 0o170000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class UnsupportedEntry(EntryRefused):
    """A fifo, socket or device: no archive can hold it."""

    kind = "storage/unsupported-file-type"
    title = "Unsupported file type"
    error_code = "vfs-storage_read_invalid-parameters"


class EntryChanged(StorageError):
    """An entry is not any more what was planned: the stream cannot go on."""

    title = "The entry changed while it was sent"


class ArchiveEntry(msgspec.Struct, array_like=True, gc=False):
    """One planned entry; names are the bytes on disk."""

    name: bytes
    mode: int
    size: int
    mtime_ns: int
    inode: int
    #: What a link says; of a hard link, the name in the archive of the file that came before.
    target: bytes = b""
    #: It has content of its own: a hard link has not.
    is_file: bool = False
    is_directory: bool = False


class Batch(msgspec.Struct, array_like=True):
    """Entries of one directory."""

    #: The directory, from the top.
    directory: bytes
    #: What stands before each name in the archive: empty, or with a slash at the end.
    prefix: bytes
    entries: list[ArchiveEntry]


@dataclass(frozen=True, slots=True)
class Source:
    """What to put in: the directory or file at `path`, named `name` in the archive.

    An empty name puts a directory's entries at the top.
    """

    path: VFolderPath
    name: str


class Plan:
    """What an archive will hold; closed with its temporary file."""

    def __init__(self) -> None:
        self._spool = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - closed by close()
        self._digest = xxhash.xxh3_128()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Batch)
        self.entries = 0

    def add(self, batch: Batch) -> None:
        """Take a batch; the order of batches is that of the archive."""
        data = self._encoder.encode(batch)
        self._digest.update(data)
        self._spool.write(len(data).to_bytes(_HEAD_BYTES, "little"))
        self._spool.write(data)
        self.entries += len(batch.entries)

    def batches(self) -> Iterator[Batch]:
        """All batches again, in order; several may be on their way at a time."""
        at = 0
        while True:
            self._spool.seek(at)
            head = self._spool.read(_HEAD_BYTES)
            if not head:
                return
            length = int.from_bytes(head, "little")
            at += _HEAD_BYTES + length
            yield self._decoder.decode(self._spool.read(length))

    @property
    def tag(self) -> str:
        """The same for the same tree, another when anything in it changed."""
        found: str = self._digest.hexdigest()
        return found

    def close(self) -> None:
        """Remove the temporary file."""
        self._spool.close()


def make(top: int, sources: Iterable[Source], *, hard_links: bool = False) -> Plan:
    """List everything below the sources, beneath the directory descriptor `top`.

    Links are planned as links and never followed, except that a source itself may be a link that
    stays inside. With `hard_links`, a file that came before under another name is planned as a link
    to that; without, as a file each time. Costs one lstat per entry.

    Raises:
        EntryNotFound, PathEscape: a source is not there, or leads out.
        UnsupportedEntry: a fifo, socket or device is among the entries.
        EntryRefused: a directory cannot be read.
    """
    plan = Plan()
    listing = _Listing(top, plan, HardLinks() if hard_links else None)
    try:
        for source in sources:
            listing.add(source)
    except BaseException:
        plan.close()
        raise
    return plan


class HardLinks:
    """Where files of several names came first, so that a later name can point there.

    Not more than `HARD_LINKS_MAX` files are remembered at a time: the names of others are planned
    as files of their own, which is as true and only longer.
    """

    def __init__(self) -> None:
        self._first: dict[tuple[int, int], tuple[bytes, int]] = {}

    def first(self, found: os.stat_result, name: bytes) -> bytes:
        """The name under which the same file came before; empty when it did not."""
        key = found.st_dev, found.st_ino
        before, left = self._first.pop(key, (b"", found.st_nlink))
        if left > 1 and (before or len(self._first) < HARD_LINKS_MAX):
            self._first[key] = before or name, left - 1
        return before


@dataclass(frozen=True, slots=True)
class _Listing:
    """Fills a plan from what is beneath `top`."""

    top: int
    plan: Plan
    links: HardLinks | None

    def add(self, source: Source) -> None:
        """Plan one source and all below it."""
        found = paths.stat_beneath(self.top, source.path)
        if stat.S_ISDIR(found.st_mode):
            if source.name:
                above, _, name = source.name.rpartition("/")
                itself = _entry(os.fsencode(name), found, b"")
                self.plan.add(Batch(b"", _prefix(os.fsencode(above)), [itself]))
            self._walk(str(source.path), os.fsencode(source.name))
            return
        if not stat.S_ISREG(found.st_mode):
            raise UnsupportedEntry(f"{source.path} is no file, directory or link.")
        above, _, _ = source.name.rpartition("/")
        prefix = _prefix(os.fsencode(above))
        entry = self._file(os.fsencode(source.path.name), found, prefix)
        directory = os.fsencode(str(source.path.parent))
        self.plan.add(Batch(directory, prefix, [entry]))

    def _walk(self, path: str, name: bytes) -> None:
        """Everything below a directory, depth first.

        A directory stands right before what is in it: GNU tar gives it its mode and time when the
        first entry comes that is elsewhere.
        """
        top = b"" if path == "." else os.fsencode(path)
        todo = self._directory(top, _prefix(name))
        while todo:
            above, prefix, entry = todo.pop()
            self.plan.add(Batch(b"", prefix, [entry]))
            todo += self._directory(_join(above, entry.name), _prefix(prefix + entry.name))

    def _directory(
        self, directory: bytes, prefix: bytes
    ) -> list[tuple[bytes, bytes, ArchiveEntry]]:
        """Plan what is in a directory; the directories in it come back."""
        below: list[tuple[bytes, bytes, ArchiveEntry]] = []
        with opened(self.top, directory) as descriptor:
            for batch in self._batches(descriptor, directory, prefix):
                below += [(directory, prefix, one) for one in batch.entries if one.is_directory]
                batch.entries = [one for one in batch.entries if not one.is_directory]
                if batch.entries:
                    self.plan.add(batch)
        return below

    def _batches(self, descriptor: int, directory: bytes, prefix: bytes) -> Iterator[Batch]:
        batch = Batch(directory, prefix, [])
        try:
            with os.scandir(descriptor) as found:
                for one in found:
                    batch.entries.append(self._listed(descriptor, batch, one))
                    if len(batch.entries) == BATCH_ENTRIES:
                        yield batch
                        batch = Batch(directory, prefix, [])
        except OSError as error:
            raise translate(error, os.fsdecode(directory)) from error
        if batch.entries:
            yield batch

    def _listed(self, descriptor: int, batch: Batch, one: "os.DirEntry[str]") -> ArchiveEntry:
        found = one.stat(follow_symlinks=False)
        name = os.fsencode(one.name)
        kind = found.st_mode & _KIND
        if kind == stat.S_IFREG:
            return self._file(name, found, batch.prefix)
        if kind == stat.S_IFDIR:
            return _entry(name, found, b"")
        if kind == stat.S_IFLNK:
            return _entry(name, found, os.fsencode(os.readlink(one.name, dir_fd=descriptor)))
        shown = os.fsdecode(_join(batch.directory, name))
        raise UnsupportedEntry("An archive holds files, directories and links only.", paths=[shown])

    def _file(self, name: bytes, found: os.stat_result, prefix: bytes) -> ArchiveEntry:
        """A file, nearly always; a later name of one that came before is a hard link."""
        mode, mtime, inode = found.st_mode, found.st_mtime_ns, found.st_ino
        if self.links is not None and found.st_nlink > 1:
            first = self.links.first(found, prefix + name)
            if first:
                return ArchiveEntry(name, mode, 0, mtime, inode, first)
        return ArchiveEntry(name, mode, found.st_size, mtime, inode, b"", True)  # noqa: FBT003 - `is_file`


def _entry(name: bytes, found: os.stat_result, target: bytes) -> ArchiveEntry:
    mode = found.st_mode
    is_file, is_directory = stat.S_ISREG(mode), stat.S_ISDIR(mode)
    size = found.st_size if is_file else len(target)
    return ArchiveEntry(
        name, mode, size, found.st_mtime_ns, found.st_ino, target, is_file, is_directory
    )


def _prefix(name: bytes) -> bytes:
    return name + b"/" if name else b""


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


@contextmanager
def opened(top: int, directory: bytes) -> Iterator[int]:
    """A planned directory, open for reading; no link on the way is followed out.

    Raises:
        StorageError: it is gone, or cannot be read.
    """
    parts = tuple(part for part in os.fsdecode(directory).split("/") if part not in ("", "."))
    descriptor = paths.open_beneath(top, VFolderPath(parts), _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
