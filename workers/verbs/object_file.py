"""Transfers of one file to objects: one object is written, complete or not at all."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from backends.entries import HasObjects, ObjectEntry, ObjectTree
from backends.transfer import Endpoint
from backends.tree import Selection
from core.errors import EntryExists, EntryNotFound
from core.jobs import State
from core.names import VFolderId, VFolderPath
from workers.run import Context, Manifest, Outcome
from workers.verbs.object_send import TransferToObjects
from workers.verbs.object_sources import (
    FileSource,
    ObjectSource,
    OpenUploads,
    SendingSource,
    SourceEntry,
    kind_of,
    time_of,
)

T = TypeVar("T")


class _OneFile:
    """A source of one entry, which is sent under a name of its own."""

    def __init__(self, source: SendingSource, entry: SourceEntry) -> None:
        self._source = source
        self._entry = entry

    def entries(self) -> Iterator[SourceEntry]:
        """See `SendingSource.entries`."""
        yield self._entry

    def top(self) -> Mapping[str, str]:
        """See `SendingSource.top`."""
        return self._source.top()

    def metadata(self, one: SourceEntry) -> Mapping[str, str]:
        """See `SendingSource.metadata`."""
        return self._source.metadata(one)

    def send(self, one: SourceEntry, target: ObjectTree) -> None:
        """See `SendingSource.send`."""
        self._source.send(one, target)

    def digest(self, one: SourceEntry) -> bytes:
        """See `SendingSource.digest`."""
        return self._source.digest(one)

    def time_ns(self, one: SourceEntry) -> int:
        """See `SendingSource.time_ns`."""
        return self._source.time_ns(one)

    def kind(self, path: VFolderPath) -> str | None:
        """See `SendingSource.kind`."""
        return self._source.kind(path)


class FileToObjects(TransferToObjects):
    """One run of a transfer of one file; where the target is a vfolder, it goes to its top."""

    def __init__(self, context: Context, request: Any) -> None:  # noqa: ANN401 - as the parent's
        super().__init__(context, request)
        self._from = VFolderPath.parse(self._request.source_path)
        if self._path.is_root:
            self._path = VFolderPath((self._from.name,))

    def _done_with(self, manifest: Manifest) -> Outcome:
        tree, mark = self._objects.tree(self._vfolder), manifest.last("begun")
        if mark is None:
            mark = self._choose(tree)
            manifest.mark("begun", **mark)
        if mark["keeps"]:
            result = {"kept": 1, "target": self._named()}
            sentence = "transferred nothing: the target's file stays, as requested"
            return Outcome(sentence, result, State.PARTIAL, items=0, size_bytes=0)
        self._replaced_bytes = mark["replaced_bytes"]
        self._begun = self._replaced_bytes is None
        return super()._done_with(manifest)

    def _choose(self, tree: ObjectTree) -> dict[str, Any]:
        """Return whether the file at the target stays, and the bytes of what is replaced.

        Raises:
            EntryExists: the request refuses to replace it, or it is a directory.
            EntryRefused: a file is above it.
        """
        there = tree.head(self._path)
        if there is None:
            tree.check_free(self._path)
            return {"keeps": False, "replaced_bytes": None}
        conflict = self._request.on_conflict
        if conflict == "fail":
            raise EntryExists(f"{self._path} is already there.")
        newer = self._source_ns() > time_of(there)
        keeps = conflict == "skip" or (conflict == "newer" and not newer)
        return {"keeps": keeps, "replaced_bytes": there.size}

    def _mark_top(self, source: SendingSource, target: ObjectTree) -> None:
        """Mark nothing: the target is an object."""

    def _target(self, manifest: Manifest) -> ObjectTree:  # noqa: ARG002 - as the parent's
        return self._objects.tree(self._vfolder).below(self._path.parent)

    @contextmanager
    def _source(self, uploads: OpenUploads) -> Iterator[SendingSource]:
        backend, name = self._context.backend(self._request.volume), self._path.name
        vfolder, place = VFolderId.parse(self._request.source), VFolderPath((self._path.name,))
        if objects := backend.skill(HasObjects):
            tree = objects.tree(vfolder)
            found = _present(tree.head(self._from), self._from)
            entry = ObjectEntry(self._from.name, self._from, found.size, found.etag, found.modified)
            above = ObjectSource(tree.below(self._from.parent), Selection())
            yield _OneFile(above, SourceEntry(name, "f", found.size, entry, place))
            return
        endpoint = Endpoint(backend, vfolder, self._from)
        status = _present(endpoint.status(), self._from)
        kind, own = kind_of(status.st_mode), VFolderPath((self._from.name,))
        size = status.st_size if kind in "fl" else 0
        with endpoint.parent.opened() as root:
            source = FileSource(root, Selection(), uploads, self._pace)
            yield _OneFile(source, SourceEntry(name, kind, size, own, place))

    def _source_ns(self) -> int:
        """Return the time of the file at the source (nanoseconds)."""
        backend = self._context.backend(self._request.volume)
        vfolder = VFolderId.parse(self._request.source)
        if objects := backend.skill(HasObjects):
            return time_of(_present(objects.tree(vfolder).head(self._from), self._from))
        status = Endpoint(backend, vfolder, self._from).status()
        return _present(status, self._from).st_mtime_ns

    def _undo_sent(self) -> None:
        """Remove the object where none was before."""
        if self._begun:
            self._objects.tree(self._vfolder).remove([self._path], recursive=False)


def _present(found: T | None, path: VFolderPath) -> T:
    if found is None:
        raise EntryNotFound(f"{path} does not exist.")
    return found
