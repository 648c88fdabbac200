"""Fetch objects into a tree of files that grows: many small ones at a time, big ones in ranges.

A file gets its name when it is complete. So a later run of the job finds by its name what an
earlier one fetched. A big file has a draft of a name that stays the same, and beside it a note of
how many of its ranges are there: a later run continues behind them.
"""

import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any, Self, TypeVar

from backends.entries import ObjectEntry, ObjectTree, OpenObject
from backends.fs import atomic, descriptors, linux, paths, reason_of
from backends.systems.s3 import in_order
from core.errors import BackendFailed, EntryNotFound, StorageError, Unavailable
from core.jobs import Counter
from core.names import VFolderPath
from workers.run import Run
from workers.verbs.object_attributes import (
    ObjectAttributes,
    attributes_of,
    link_text,
    modified_ns,
)

#: Files that are moved beside each other.
BESIDE = 16
BLOCK_BYTES = 1 << 20
#: Bytes that a thread receives and writes at once; they stay in the cache of its processor.
BUFFER_BYTES = 256 * 1024
#: Small files that one thread moves, one after the other: their number and their bytes.
GROUP_ITEMS = 8
GROUP_BYTES = 1 << 20
#: Objects of this size are fetched in ranges, and continue at the last one.
RANGE_BYTES = 16 << 20
BIG_BYTES = 2 * RANGE_BYTES
#: Ranges of all big objects of a job that come beside each other.
RANGES_BESIDE = 8
#: Directories of the growing tree that stay open.
OPEN_DIRECTORIES = 64
#: What a fetched file keeps of a mode: never the set-id bits, which anyone who may write to the
#: bucket could set.
_MODE_KEPT = 0o777
_DRAFT = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
#: Bytes of the note of how many ranges are there.
_NOTE_BYTES = 8

T = TypeVar("T")
R = TypeVar("R")


def beside(
    work: Callable[[T], R], items: Iterable[T], most: int = BESIDE
) -> Generator[R, None, None]:
    """Yield the results of `work` in the order of the items; at most `most` run at a time.

    A caller that may stop earlier closes it; see `in_order`.
    """
    with ThreadPoolExecutor(most, thread_name_prefix="transfer") as threads:
        yield from in_order(threads, work, items, most)


def grouped(items: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield small items in groups, each of which one thread moves: to pass items costs time, too.

    The first groups have one item, so that few items are moved beside each other, too.
    """
    group: list[T] = []
    size_bytes = groups = 0
    for one in items:
        group.append(one)
        size_bytes += size_of(one)
        most = min(GROUP_ITEMS, 1 << (groups // BESIDE))
        if len(group) >= most or size_bytes >= GROUP_BYTES:
            yield group
            group, size_bytes, groups = [], 0, groups + 1
    if group:
        yield group


@dataclass(frozen=True, slots=True)
class FetchedLink:
    """A symlink: its target, and its attributes."""

    text: str
    attributes: ObjectAttributes

    def set(self, name: str, parent: int) -> None:
        """Give the link its owner and time."""
        own = self.attributes
        if own.uid is not None and own.gid is not None and os.geteuid() == 0:
            os.chown(name, own.uid, own.gid, dir_fd=parent, follow_symlinks=False)
        if own.mtime_ns is not None:
            times = (own.mtime_ns, own.mtime_ns)
            os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)


@dataclass(frozen=True, slots=True)
class FetchPlaces:
    """Descriptors: the directory that is filled, one for drafts, and the one it is laid over."""

    into: int
    drafts: int
    like: int | None = None


class ObjectFetch:
    """Fetches the objects of a tree into a directory; what an earlier run fetched stays."""

    def __init__(self, run: Run, tree: ObjectTree, places: FetchPlaces, *, checks: bool) -> None:
        """Take the places; `checks` reads back what was written."""
        self._run = run
        self._tree = tree
        self._directory, self._drafts = places.into, places.drafts
        self._checks = checks
        self._stop = bytearray(1)
        self._numbers = count()
        self._buffers = threading.local()
        self._directories = _GrowingTree(self._directory, places.like)
        self.counts = dict.fromkeys(("files", "links", "directories", "copied_bytes"), 0)
        self.failed = 0

    def __call__(self, chosen: Iterable[ObjectEntry], top: ObjectAttributes) -> None:
        """Fetch every object; faults are reported and counted. The directory itself gets `top`.

        Raises:
            Unavailable: the object storage is away for longer than a job waits.
        """
        links: list[tuple[ObjectEntry, FetchedLink]] = []
        marked: list[tuple[VFolderPath, ObjectAttributes]] = []
        threads = ThreadPoolExecutor(RANGES_BESIDE, thread_name_prefix="ranges")
        with closing(self._directories), threads as self._ranges:
            groups = grouped(chosen, lambda one: one.size)
            with closing(beside(self._try_each, groups)) as fetched:
                for group in fetched:
                    self._run.check()
                    self._count(group)
                    for one, found in group:
                        match found:
                            case FetchedLink():
                                links.append((one, found))
                            case ObjectAttributes() if one.path is not None:
                                marked.append((one.path, found))
            for one, link in links:  # at the end, so that no path leads through one
                self._make_link(one, link)
            self._directories.set_like()
            for path, attributes in reversed(marked):
                with descriptors.opened("/".join(path.parts), self._directory) as made:
                    _set(made, attributes, None)
            _set(self._directory, top, None)
        linux.sync_file_system(self._directory)

    def _count(self, group: list[tuple[ObjectEntry, Any]]) -> None:
        """Count objects by what `_try` returned for each; an unavailable storage ends the run."""
        items = size_bytes = 0
        for one, found in group:
            match found:
                case Unavailable():
                    raise found
                case OSError() | StorageError():
                    self._fail(one, found)
                    continue
                case ObjectAttributes():
                    self.counts["directories"] += 1
                case None:
                    self.counts["files"] += 1
                    self.counts["copied_bytes"] += one.size
            items, size_bytes = items + 1, size_bytes + one.size
        self._run.count(Counter.COPIED, items, size_bytes)
        self._run.throttle.pace(items, 0, self._stop)

    def _fail(self, one: ObjectEntry, error: OSError | StorageError) -> None:
        self.failed += 1
        self._run.count(Counter.FAILED, 1)
        self._run.fault(one.name, reason_of(error))

    def _try_each(self, group: list[ObjectEntry]) -> list[tuple[ObjectEntry, Any]]:
        return [self._try(one) for one in group]

    def _try(self, one: ObjectEntry) -> tuple[ObjectEntry, Any]:
        """Fetch an object; return it with what is left to do, or with the error."""
        try:
            return one, self._fetch(one)
        except (OSError, StorageError) as error:
            return one, error

    def _fetch(self, one: ObjectEntry) -> FetchedLink | ObjectAttributes | None:
        """Return a symlink, the attributes of a directory, or None for a file, which is written."""
        path = one.path
        if path is None:
            raise EntryNotFound("No file can have the name of this object.")
        with self._directories.opened(path if one.marker else path.parent) as parent:
            if one.marker:
                return attributes_of(self._tree.marker_metadata(path))
            if self._run.may_continue and _has_file(parent, path.name, one.size):
                return None
            if one.size >= BIG_BYTES:
                self._fetch_big(one, (parent, path.name))
                return None
            with closing(self._tree.open_object(path, etag=one.etag)) as reader:
                attributes = attributes_of(reader.metadata)
                if attributes.is_link:
                    text = b"".join(iter(lambda: reader.read(BLOCK_BYTES), b""))
                    return FetchedLink(link_text(text), attributes)
                with self._draft(f"{self._run.id}.{next(self._numbers)}") as draft:
                    self._write(reader, draft.descriptor, 0)
                    draft.finish(reader, attributes, (parent, path.name))
        return None

    def _fetch_big(self, one: ObjectEntry, place: tuple[int, str]) -> None:
        """Fetch an object in ranges, several at a time; those that an earlier run noted are there.

        The last one is always fetched: its answer has what belongs to the object.
        """
        path, etag = one.path or VFolderPath(()), one.etag
        starts = range(0, one.size, RANGE_BYTES)

        with self._draft(_draft_name(one)) as draft, draft.note() as note:

            def fetch(start: int) -> OpenObject:
                end = min(start + RANGE_BYTES, one.size)
                with closing(self._tree.open_object(path, start, end, etag)) as reader:
                    self._write(reader, draft.descriptor, start)
                    return reader

            done = min(note.read(), len(starts) - 1)
            found = in_order(self._ranges, fetch, starts[done:], RANGES_BESIDE)
            with closing(found):
                for number, answer in enumerate(found, done + 1):
                    note.write(number)
                    reader = answer
            draft.finish(reader, attributes_of(reader.metadata), place)
            note.remove()

    def _draft(self, name: str) -> "_Draft":
        return _Draft(name, self._drafts)

    def _buffer(self) -> memoryview:
        """Return the buffer of this thread."""
        if not hasattr(self._buffers, "own"):
            self._buffers.own = memoryview(bytearray(BUFFER_BYTES))
        own: memoryview = self._buffers.own
        return own

    def _write(self, reader: OpenObject, descriptor: int, start: int) -> None:
        """Write the bytes of a reader at their offset; read them back where the job checks.

        Raises:
            BackendFailed: the disk has other bytes.
            Interrupted: the run ends.
        """
        digest, at, buffer = hashlib.sha256(), start, self._buffer()
        while got := reader.readinto(buffer):
            self._run.check()
            self._run.throttle.pace(0, got, self._stop)
            atomic.pwrite_all(descriptor, buffer[:got], at)
            at += got
            if self._checks:
                digest.update(buffer[:got])
        if at - start >= BLOCK_BYTES:  # else the end of the fetch waits for all of it
            descriptors.begin_writeback(descriptor, start, at - start)
        if self._checks and _digest_from_disk(descriptor, start, at) != digest.digest():
            raise BackendFailed("The file has other bytes than its object.")

    def _make_link(self, one: ObjectEntry, link: FetchedLink) -> None:
        path = one.path or VFolderPath(())
        try:
            with self._directories.opened(path.parent) as parent:
                with suppress(FileExistsError):  # an earlier run made it
                    os.symlink(link.text, path.name, dir_fd=parent)
                link.set(path.name, parent)
            self.counts["links"] += 1
        except (OSError, StorageError) as error:
            self._fail(one, error)


@dataclass(slots=True)
class _OpenDirectory:
    descriptor: int
    users: int = 0


class _GrowingTree:
    """The directories of a tree, made where they are missing; for several threads.

    The last ones stay open: most objects are in the directory of the one before. Those that the
    tree `like` has too get its modes and owners, since a bucket says none of most directories.
    """

    def __init__(self, root: int, like: int | None) -> None:
        self._root = root
        self._like = like
        #: What directories of `like` have, where it is not what new ones have.
        self._others: dict[VFolderPath, os.stat_result] = {}
        self._lock = threading.Lock()
        self._open: OrderedDict[VFolderPath, _OpenDirectory] = OrderedDict()

    @contextmanager
    def opened(self, path: VFolderPath) -> Iterator[int]:
        """Open a directory.

        Raises:
            OSError, StorageError: a file or a link is in the way, or the storage refuses.
        """
        with self._lock:
            found = self._open.get(path)
            if found is None:
                self._close_oldest()
                found = self._open[path] = _OpenDirectory(self._made(path))
            found.users += 1
        try:
            yield found.descriptor
        finally:
            with self._lock:
                found.users -= 1

    def _close_oldest(self) -> None:
        """Close those beyond `OPEN_DIRECTORIES` that no thread uses."""
        extra = len(self._open) - OPEN_DIRECTORIES
        for path in [path for path, one in self._open.items() if not one.users][: max(0, extra)]:
            os.close(self._open.pop(path).descriptor)

    def set_like(self) -> None:
        """Give the directories what those of `like` have, the deepest first."""
        self._compare(VFolderPath(()))
        for path in sorted(self._others, key=lambda path: len(path.parts), reverse=True):
            there = self._others[path]
            with self.opened(path) as directory:
                if os.geteuid() == 0:
                    os.fchown(directory, there.st_uid, there.st_gid)
                os.fchmod(directory, stat.S_IMODE(there.st_mode))

    def _compare(self, path: VFolderPath) -> None:
        """Note how the directory of `like`, and those above it, differ."""
        if self._like is None:
            return
        for length in range(len(path.parts) + 1):
            above = VFolderPath(path.parts[:length])
            try:
                there = paths.stat_beneath(self._like, above, follow=False)
            except StorageError:  # it is not there, nor is anything below
                return
            here = paths.stat_beneath(self._root, above)
            same = [(one.st_mode, one.st_uid, one.st_gid) for one in (here, there)]
            if stat.S_ISDIR(there.st_mode) and same[0] != same[1]:
                self._others[above] = there

    def _made(self, path: VFolderPath) -> int:
        made = descriptors.inherit_owner
        directory = paths.make_directories(self._root, path, on_made=made)
        self._compare(path)
        try:
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        """Close all."""
        while self._open:
            os.close(self._open.popitem()[1].descriptor)


class _Draft:
    """A file that has no place yet. What has none at the end goes with the directory of drafts."""

    def __init__(self, name: str, directory: int) -> None:
        self._name, self._directory = name, directory
        self.descriptor = os.open(name, _DRAFT, 0o644, dir_fd=directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    @contextmanager
    def note(self) -> Iterator["_Note"]:
        """Open the note of how much of the file is there."""
        note = _Note(f"{self._name}.done", self._directory)
        try:
            yield note
        finally:
            os.close(note.descriptor)

    def finish(
        self, reader: OpenObject, attributes: ObjectAttributes, place: tuple[int, str]
    ) -> None:
        """Give the complete file its attributes, its directory and its name.

        Raises:
            BackendFailed: it has not the length of its object.
        """
        if _set(self.descriptor, attributes, reader.modified).st_size != reader.size:
            raise BackendFailed("The file has another length than its object.")
        parent, name = place
        os.rename(self._name, name, src_dir_fd=self._directory, dst_dir_fd=parent)


class _Note:
    """How many ranges of a draft are there: a number, as a file; 0 where there is none."""

    def __init__(self, name: str, directory: int) -> None:
        self._name, self._directory = name, directory
        self.descriptor = os.open(name, _DRAFT, 0o600, dir_fd=directory)

    def read(self) -> int:
        """Return the number."""
        return int.from_bytes(os.pread(self.descriptor, _NOTE_BYTES, 0), "big")

    def write(self, number: int) -> None:
        """Replace the number. A crash of the machine removes all drafts, so nothing is synced."""
        atomic.pwrite_all(self.descriptor, number.to_bytes(_NOTE_BYTES, "big"), 0)

    def remove(self) -> None:
        """Remove the note: its draft has its place."""
        os.unlink(self._name, dir_fd=self._directory)


def _draft_name(one: ObjectEntry) -> str:
    """Return the name of the draft of one version of an object."""
    return hashlib.sha256(f"{one.etag}/{one.name}".encode(errors="replace")).hexdigest()


def _has_file(parent: int, name: str, size: int) -> bool:
    """Return whether an earlier run fetched a file: it gets its name when it is complete."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _digest_from_disk(descriptor: int, start: int, end: int) -> bytes:
    os.fdatasync(descriptor)
    os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_DONTNEED)
    digest, at = hashlib.sha256(), start
    while block := os.pread(descriptor, min(BLOCK_BYTES, end - at), at):
        digest.update(block)
        at += len(block)
    return digest.digest()


def _set(descriptor: int, attributes: ObjectAttributes, written: datetime | None) -> os.stat_result:
    """Give a file or directory what its object says, and return what it had before.

    The time of writing stands for no time.
    """
    owner = (attributes.uid, attributes.gid)
    status = os.fstat(descriptor)
    if None not in owner and os.geteuid() == 0 and owner != (status.st_uid, status.st_gid):
        os.fchown(descriptor, *owner)  # type: ignore[arg-type] # neither is None
    if attributes.mode is not None and attributes.mode & _MODE_KEPT != status.st_mode & _MODE_KEPT:
        os.fchmod(descriptor, attributes.mode & _MODE_KEPT)
    mtime = modified_ns(written) if attributes.mtime_ns is None else attributes.mtime_ns
    if mtime is not None:
        os.utime(descriptor, ns=(mtime, mtime))
    return status
