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

from backends import paths
from core.errors import EntryRefused, StorageError
from core.names import VFolderPath
from core.os_failures import translate

#: Entries planned or sent in one go: bounds memory in a directory of a million names.
BATCH_ENTRIES = 1_000
#: A plan up to this size stays in memory.
MEMORY_BYTES = 4 << 20

#: The bits of a mode that tell what an entry is.
_KIND = 0o170000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class UnsupportedEntry(EntryRefused):
    """A fifo, socket or device: no archive can hold it."""

    kind = "storage/unsupported-file-type"
    title = "Unsupported file type"
    error_code = "vfs-storage_read_invalid-parameters"


class Changed(StorageError):
    """An entry is not any more what was planned: the stream cannot go on."""

    title = "The entry changed while it was sent"


class Entry(msgspec.Struct, array_like=True, gc=False):
    """One planned entry; names are the bytes on disk."""

    name: bytes
    mode: int
    size: int
    mtime_ns: int
    inode: int
    #: What a link says.
    target: bytes = b""
    is_file: bool = False
    is_directory: bool = False


class Batch(msgspec.Struct, array_like=True):
    """Entries of one directory."""

    #: The directory, from the top.
    directory: bytes
    #: What stands before each name in the archive: empty, or with a slash at the end.
    prefix: bytes
    entries: list[Entry]


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
        self._spool.write(len(data).to_bytes(4, "little"))
        self._spool.write(data)
        self.entries += len(batch.entries)

    def batches(self) -> Iterator[Batch]:
        """All batches again, in order."""
        self._spool.seek(0)
        while head := self._spool.read(4):
            yield self._decoder.decode(self._spool.read(int.from_bytes(head, "little")))

    @property
    def tag(self) -> str:
        """The same for the same tree, another when anything in it changed."""
        found: str = self._digest.hexdigest()
        return found

    def close(self) -> None:
        """Remove the temporary file."""
        self._spool.close()


def make(top: int, sources: Iterable[Source]) -> Plan:
    """List everything below the sources, beneath the directory descriptor `top`.

    Links are planned as links and never followed, except that a source itself may be a link that
    stays inside. Costs one lstat per entry.

    Raises:
        EntryNotFound, PathEscape: a source is not there, or leads out.
        UnsupportedEntry: a fifo, socket or device is among the entries.
        EntryRefused: a directory cannot be read.
    """
    plan = Plan()
    try:
        for source in sources:
            _add_source(plan, top, source)
    except BaseException:
        plan.close()
        raise
    return plan


def _add_source(plan: Plan, top: int, source: Source) -> None:
    found = paths.stat_beneath(top, source.path)
    if stat.S_ISDIR(found.st_mode):
        if source.name:
            above, _, name = source.name.rpartition("/")
            itself = _entry(os.fsencode(name), found, b"")
            plan.add(Batch(b"", _prefix(os.fsencode(above)), [itself]))
        _walk(plan, top, str(source.path), os.fsencode(source.name))
        return
    if not stat.S_ISREG(found.st_mode):
        raise UnsupportedEntry(f"{source.path} is no file, directory or link.")
    above, _, _ = source.name.rpartition("/")
    entry = _entry(os.fsencode(source.path.name), found, b"")
    directory = os.fsencode(str(source.path.parent))
    plan.add(Batch(directory, _prefix(os.fsencode(above)), [entry]))


def _walk(plan: Plan, top: int, path: str, name: bytes) -> None:
    todo = [(b"" if path == "." else os.fsencode(path), name)]
    while todo:
        directory, inside = todo.pop()
        with opened(top, directory) as descriptor:
            for batch in _batches(descriptor, directory, _prefix(inside)):
                plan.add(batch)
                todo += [
                    (_join(directory, entry.name), batch.prefix + entry.name)
                    for entry in batch.entries
                    if entry.is_directory
                ]


def _batches(descriptor: int, directory: bytes, prefix: bytes) -> Iterator[Batch]:
    entries: list[Entry] = []
    try:
        with os.scandir(descriptor) as found:
            for one in found:
                entries.append(_listed(descriptor, directory, one))
                if len(entries) == BATCH_ENTRIES:
                    yield Batch(directory, prefix, entries)
                    entries = []
    except OSError as error:
        raise translate(error, os.fsdecode(directory)) from error
    if entries:
        yield Batch(directory, prefix, entries)


def _listed(descriptor: int, directory: bytes, one: "os.DirEntry[str]") -> Entry:
    found = one.stat(follow_symlinks=False)
    name = os.fsencode(one.name)
    mode = found.st_mode
    kind = mode & _KIND
    if kind == stat.S_IFREG:  # nearly all: made without further ado
        return Entry(name, mode, found.st_size, found.st_mtime_ns, found.st_ino, b"", True)  # noqa: FBT003 - `is_file`
    if kind == stat.S_IFDIR:
        return _entry(name, found, b"")
    if kind == stat.S_IFLNK:
        return _entry(name, found, os.fsencode(os.readlink(one.name, dir_fd=descriptor)))
    shown = os.fsdecode(_join(directory, name))
    raise UnsupportedEntry("An archive holds files, directories and links only.", paths=[shown])


def _entry(name: bytes, found: os.stat_result, target: bytes) -> Entry:
    mode = found.st_mode
    is_file, is_directory = stat.S_ISREG(mode), stat.S_ISDIR(mode)
    size = found.st_size if is_file else len(target)
    return Entry(name, mode, size, found.st_mtime_ns, found.st_ino, target, is_file, is_directory)


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
