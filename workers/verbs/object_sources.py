"""What is sent to objects: files below a directory, or the objects of another vfolder."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from backends.entries import ContinuedUpload, ObjectFacts, ObjectTree
from backends.fs import is_same_time, paths
from backends.tree import Selection
from core.errors import BackendFailed, EntryNotFound, PathEscape, StorageError
from core.names import VFolderPath
from workers.run import Manifest
from workers.verbs.object_attributes import attributes_of, metadata_of, modified_ns
from workers.verbs.object_fetch import BLOCK_BYTES
from workers.verbs.object_transfer import ChosenObjects

#: Tries to send a file that changes while it is read.
TRIES = 3
#: A file is above the path, or no file can have its name.
_NONE_THERE = frozenset({errno.ENOTDIR, errno.ENAMETOOLONG})
_STATE_BYTES = 8


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """An entry that is sent: its path as text, its kind (f, d, l), its bytes."""

    name: str
    kind: str
    size: int
    #: What its source needs to read it.
    own: Any = None
    #: Where it goes, when that is not its own path.
    place: VFolderPath | None = None
    #: Another one after each change of the entry.
    version: str = ""


class SendingSource(Protocol):
    """What is sent."""

    def entries(self) -> Iterator[SourceEntry]:
        """Yield what the request selects, in the same order each time."""

    def top(self) -> Mapping[str, str]:
        """Return the metadata that the marker of the complete directory gets."""

    def metadata(self, one: SourceEntry) -> Mapping[str, str]:
        """Return the metadata that the marker of a directory gets."""

    def send(self, one: SourceEntry, target: ObjectTree) -> None:
        """Write the object of an entry."""

    def digest(self, one: SourceEntry) -> bytes:
        """Return the digest of a file at the source."""

    def time_ns(self, one: SourceEntry) -> int:
        """Return the time of a file at the source (nanoseconds)."""

    def kind(self, path: VFolderPath) -> str | None:
        """Return the kind of the entry at a path, selected or not; None where there is none."""


class OpenUploads:
    """The uploads of big files that the runs of a job began, in its manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._known = {str(one["path"]): one for one in manifest.all("upload")}

    def of(self, path: VFolderPath, status: os.stat_result, target: ObjectTree) -> ContinuedUpload:
        """Return what an earlier run sent of a file, which is abandoned where the file changed."""
        version = [status.st_size, status.st_mtime_ns]
        known = self._known.get(str(path))
        if known is not None and known["version"] != version:
            target.abandon(path, known["id"])
            known = None

        def note(upload: str) -> None:
            mark = {"path": str(path), "version": version, "id": upload}
            self._manifest.note("upload", **mark)
            self._known[str(path)] = mark

        return ContinuedUpload(known["id"] if known else None, note)

    def forget(self, path: VFolderPath) -> None:
        """Take an upload as complete."""
        self._known.pop(str(path), None)

    def abandon(self, target: ObjectTree) -> None:
        """Remove what no run continues."""
        for one in self._known.values():
            target.abandon(VFolderPath.parse(one["path"]), one["id"])


class FileSource:
    """A directory of files, by the descriptor of its root."""

    def __init__(
        self,
        root: int,
        selection: Selection,
        uploads: OpenUploads,
        on_part: Callable[[int], object],
    ) -> None:
        self._root = root
        self._selection = selection
        self._uploads = uploads
        self._on_part = on_part

    def entries(self) -> Iterator[SourceEntry]:
        """See `SendingSource.entries`: by name, a directory before what is in it."""
        yield from self._below(VFolderPath(()))

    def _below(self, directory: VFolderPath) -> Iterator[SourceEntry]:
        descriptor = paths.open_beneath(self._root, directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            names = sorted(os.listdir(descriptor))
            found = [(name, _status(name, descriptor)) for name in names]
        finally:
            os.close(descriptor)
        for name, status in found:
            path = directory / VFolderPath((name,))
            if status is None or not self._selection.includes(str(path), status):
                continue
            kind = kind_of(status.st_mode)
            size = status.st_size if kind in "fl" else 0
            version = f"{status.st_ino} {status.st_ctime_ns}"
            yield SourceEntry(str(path), kind, size, path, version=version)
            if kind == "d":
                yield from self._below(path)

    def top(self) -> Mapping[str, str]:
        """See `SendingSource.top`."""
        return metadata_of(os.fstat(self._root))

    def metadata(self, one: SourceEntry) -> Mapping[str, str]:
        """See `SendingSource.metadata`."""
        return metadata_of(paths.stat_beneath(self._root, one.own, follow=False))

    def send(self, one: SourceEntry, target: ObjectTree) -> None:
        """See `SendingSource.send`.

        Raises:
            BackendFailed: the file changes again and again, or the entry is a device or a fifo.
        """
        place: VFolderPath = one.place or one.own
        if one.kind == "f":
            self._send_file(one.own, target, place)
            return
        with paths.parent_beneath(self._root, one.own) as (parent, name):
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if one.kind == "l":
                target.send_link(place, os.readlink(name, dir_fd=parent), metadata_of(status))
            elif one.kind == "d":
                target.mark(one.own, metadata_of(status))
            else:
                raise BackendFailed("A bucket keeps no devices, sockets and fifos.")

    def _send_file(self, path: VFolderPath, target: ObjectTree, place: VFolderPath) -> None:
        for _ in range(TRIES):
            descriptor = paths.open_file(self._root, path)
            try:
                before = os.fstat(descriptor)
                target.send(
                    place,
                    descriptor,
                    before.st_size,
                    metadata_of(before),
                    on_part=self._on_part,
                    continued=self._uploads.of(place, before, target),
                )
                after = os.fstat(descriptor)
            finally:
                os.close(descriptor)
            self._uploads.forget(place)
            same = is_same_time(before.st_mtime_ns, after.st_mtime_ns, 1)
            if same and before.st_size == after.st_size:
                return
        raise BackendFailed("The file changes again and again while it is sent.")

    def digest(self, one: SourceEntry) -> bytes:
        """See `SendingSource.digest`."""
        descriptor = paths.open_file(self._root, one.own)
        with open(descriptor, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def time_ns(self, one: SourceEntry) -> int:
        """See `SendingSource.time_ns`."""
        return paths.stat_beneath(self._root, one.own, follow=False).st_mtime_ns

    def kind(self, path: VFolderPath) -> str | None:
        """See `SendingSource.kind`."""
        try:
            return kind_of(paths.stat_beneath(self._root, path, follow=False).st_mode)
        except EntryNotFound:
            return None
        except PathEscape:  # it leads over a link, which comes in the place of a directory
            return "l"
        except StorageError as error:
            if error.facts.get("errno") in _NONE_THERE:
                return None
            raise


def _status(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def kind_of(mode: int) -> str:
    """Return the kind of an entry by its mode: f, d, l, or o for others."""
    kinds = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}
    return kinds.get(stat.S_IFMT(mode), "o")


class ObjectSource:
    """The objects of a vfolder of another volume."""

    def __init__(self, tree: ObjectTree, selection: Selection) -> None:
        self._tree = tree
        self._selection = selection

    def entries(self) -> Iterator[SourceEntry]:
        """See `SendingSource.entries`."""
        chosen = ChosenObjects(self._selection)
        for one in filter(chosen, self._tree.entries()):
            kind = "d" if one.marker else "f"
            yield SourceEntry(one.name, kind, one.size, one, version=one.etag)

    def top(self) -> Mapping[str, str]:
        """See `SendingSource.top`: most directories of a bucket have no marker."""
        try:
            return self._tree.marker_metadata(VFolderPath(()))
        except EntryNotFound:
            return {}

    def metadata(self, one: SourceEntry) -> Mapping[str, str]:
        """See `SendingSource.metadata`."""
        return self._tree.marker_metadata(one.own.path)

    def send(self, one: SourceEntry, target: ObjectTree) -> None:
        """See `SendingSource.send`."""
        target.take(self._tree, one.own, one.place)

    def digest(self, one: SourceEntry) -> bytes:
        """See `SendingSource.digest`."""
        return digest_of_object(self._tree, one.own.path)

    def time_ns(self, one: SourceEntry) -> int:
        """See `SendingSource.time_ns`."""
        found = self._tree.head(one.own.path)
        return time_of(found) if found is not None else 0

    def kind(self, path: VFolderPath) -> str | None:
        """See `SendingSource.kind`."""
        try:
            return "d" if self._tree.is_directory(path) else "f"
        except EntryNotFound:
            return None


def state_of(source: SendingSource, check: Callable[[], object]) -> str:
    """Return a number that is another one after any change of what the source sends.

    Costs one walk. `check` is called for each entry; what it raises ends the walk.
    """
    total = 0
    for one in source.entries():
        check()
        text = "\0".join((one.name, one.kind, str(one.size), one.version))
        digest = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=_STATE_BYTES)
        total += int.from_bytes(digest.digest(), "big")
    return f"{total % (1 << 8 * _STATE_BYTES):x}"


def time_of(found: ObjectFacts) -> int:
    """Return the time of the file that an object was (nanoseconds)."""
    return attributes_of(found.metadata).mtime_ns or modified_ns(found.modified) or 0


def digest_of_object(tree: ObjectTree, path: VFolderPath) -> bytes:
    """Return the digest of the bytes of an object."""
    digest, reader = hashlib.sha256(), tree.open_object(path)
    try:
        while block := reader.read(BLOCK_BYTES):
            digest.update(block)
    finally:
        reader.close()
    return digest.digest()
