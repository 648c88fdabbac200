"""Transfers and clones to objects: from files, and from objects of another volume.

Every entry is sent below the prefix of a vfolder that does not exist yet, or of a new directory.
The record of a new vfolder is published last. In a vfolder that exists, objects appear one by one;
a job that does not succeed removes them.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol

from backends.entries import (
    ContinuedUpload,
    HasObjects,
    ObjectFacts,
    ObjectTree,
    object_tree,
)
from backends.fs import is_same_time, paths, reason_of
from backends.quota import soft
from backends.transfer import Endpoint, selection_of
from backends.tree import Selection
from backends.volumes import operations
from core.errors import (
    BackendFailed,
    CopyDiffers,
    EntryNotFound,
    QuotaScopeExists,
    StorageError,
    Unavailable,
    VFolderExists,
)
from core.jobs import Counter, State
from core.jobs.requests import CloneRequest, TransferRequest
from core.names import VFolderId, VFolderPath, counted
from workers.run import Context, Manifest, Outcome
from workers.verbs.object_attributes import attributes_of, metadata_of, modified_ns
from workers.verbs.object_fetch import BLOCK_BYTES, beside, grouped
from workers.verbs.object_transfer import ChosenObjects, as_transfer
from workers.verbs.objects import objects_of
from workers.verbs.transfer import items_of

#: After how many entries the job notes how far it is.
MARKED_ENTRIES = 256
#: Tries to send a file that changes while it is read.
TRIES = 3
#: Differences that an error names, at most.
DIFFERENCES_SHOWN = 5


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


class SendingSource(Protocol):
    """What is sent."""

    def entries(self) -> Iterator[SourceEntry]:
        """Yield what the request selects, in the same order each time."""

    def top(self) -> Mapping[str, str]:
        """Return the metadata that the marker of the complete directory gets."""

    def send(self, one: SourceEntry, target: ObjectTree) -> None:
        """Write the object of an entry."""

    def digest(self, one: SourceEntry) -> bytes:
        """Return the digest of a file at the source."""

    def time_ns(self, one: SourceEntry) -> int:
        """Return the time of a file at the source (nanoseconds)."""


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
            yield SourceEntry(str(path), kind, status.st_size if kind in "fl" else 0, path)
            if kind == "d":
                yield from self._below(path)

    def top(self) -> Mapping[str, str]:
        """See `SendingSource.top`."""
        return metadata_of(os.fstat(self._root))

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
            yield SourceEntry(one.name, "d" if one.marker else "f", one.size, one)

    def top(self) -> Mapping[str, str]:
        """See `SendingSource.top`: most directories of a bucket have no marker."""
        try:
            return self._tree.marker_metadata(VFolderPath(()))
        except EntryNotFound:
            return {}

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


class TransferToObjects:
    """One run of a transfer or clone whose target are objects."""

    _stopped = "An entry could not be copied. Nothing is left at the target."

    def __init__(self, context: Context, request: CloneRequest | TransferRequest) -> None:
        """Refuse what only trees of files can have.

        Raises:
            Unsupported: `delete_extra` or `strict`.
        """
        self._context = context
        self._run = context.run
        self._request = as_transfer(request)
        self._backend = context.backend(self._request.home)
        self._objects = objects_of(context, self._request.home)
        for option in ("delete_extra", "strict"):
            if getattr(self._request, option):
                raise object_tree.unsupported(self._backend, f"a transfer with {option}")
        self._root = context.root(self._request.home)
        self._vfolder = VFolderId.parse(self._request.target)
        self._path = VFolderPath.parse(self._request.target_path)
        self._stop = bytearray(1)
        self._begun = False
        #: The bytes of the object that is replaced; None where there is none.
        self._replaced_bytes: int | None = None
        self._tree: ObjectTree | None = None
        self._uploads: OpenUploads | None = None

    def __call__(self) -> Outcome:
        """Send every entry, compare, and publish a new vfolder.

        Raises:
            VFolderExists, EntryExists: the target exists, and no run of this job made it.
        """
        scope = self._vfolder.scope
        if scope is not None:
            with suppress(QuotaScopeExists):
                self._backend.create_scope(scope)
        manifest = self._context.manifest(self._root, scope)
        self._context.report(self._root, scope, continues=True)
        return self._done_with(manifest)

    def _done_with(self, manifest: Manifest) -> Outcome:
        """Do what is left."""
        done = manifest.last("copied")
        if done is None or not self._is_published():
            done = self._copied(manifest)
            manifest.mark("copied", **done)
            self._publish()
        size_bytes = int(done["copied_bytes"])
        change_bytes = size_bytes - int(done.get("replaced_bytes", self._replaced_bytes or 0))
        since_ms = self._run.job.started_ms if change_bytes < 0 else None
        soft.settle(self._backend, self._vfolder, self._run.job.id, change_bytes, since_ms=since_ms)
        items = items_of(done)
        found = items or done["failed"] or done.get("same") or done.get("kept")
        unmatched = self._request.selects and not found
        amount = counted(done["files"], "file")
        sentence = self._run.summary("transferred", amount, size_bytes=size_bytes)
        return Outcome(
            sentence=f"{sentence}; no entry of the source matches" if unmatched else sentence,
            result={"source": self._request.source, "target": self._named(), **done},
            state=State.SUCCEEDED if done["complete"] and not unmatched else State.PARTIAL,
            items=items,
            size_bytes=size_bytes,
        )

    def undo(self) -> None:
        """Remove what was sent; nothing else had its place."""
        change_bytes = self._undone_bytes()
        since_ms = self._run.job.started_ms if change_bytes < 0 else None
        soft.settle(self._backend, self._vfolder, self._run.job.id, change_bytes, since_ms=since_ms)
        if self._tree is not None and self._uploads is not None:
            self._uploads.abandon(self._tree)
        self._undo_sent()

    def _undone_bytes(self) -> int:
        """Return what the vfolder gained, and keeps after the undo."""
        return 0

    def _undo_sent(self) -> None:
        if self._path.is_root:
            self._objects.drop_draft(self._vfolder, self._run.job.id)
        elif self._begun:
            for name in self._objects.tree(self._vfolder).below(self._path).remove_all():
                self._run.fault(name, "not removed")

    def _named(self) -> str:
        return str(self._vfolder) if self._path.is_root else f"{self._vfolder}/{self._path}"

    def _is_published(self) -> bool:
        return not self._path.is_root or operations.exists(self._backend, self._vfolder)

    def _publish(self) -> None:
        self._run.phase("publish")
        self._run.point_of_no_return()
        self._run.check()
        if self._path.is_root:
            self._objects.publish_draft(self._vfolder, self._run.job.id)

    def _copied(self, manifest: Manifest) -> dict[str, Any]:
        target = self._tree = self._target(manifest)
        self._uploads = OpenUploads(manifest)
        with self._source(self._uploads) as source:
            soft.reserve(
                self._backend, self._vfolder, self._run.job.id, lambda: self._size_of(source)
            )
            self._run.phase("copy")
            done = self._send_all(source, target, manifest)
            self._mark_top(source, target)
            if self._request.verify == "checksum":
                self._verify(source, target)
        return done

    def _mark_top(self, source: SendingSource, target: ObjectTree) -> None:
        """Give the new directory, or the top of the new vfolder, its marker with its attributes.

        Without a marker, a directory is there only while it has entries.
        """
        target.mark(VFolderPath(()), source.top())

    def _target(self, manifest: Manifest) -> ObjectTree:
        """Return the place of the objects, which must be free when the first run begins.

        Raises:
            VFolderExists, EntryExists, VFolderNotFound.
        """
        if self._path.is_root:
            if operations.exists(self._backend, self._vfolder):
                raise VFolderExists(f"The vfolder {self._vfolder} is already there.")
            return self._objects.draft(self._vfolder, self._run.job.id)
        tree = self._objects.tree(self._vfolder)
        if manifest.last("begun") is None:
            tree.check_free(self._path)
            manifest.mark("begun")
        self._begun = True
        return tree.below(self._path)

    @contextmanager
    def _source(self, uploads: OpenUploads) -> Iterator[SendingSource]:
        """Open the source.

        Raises:
            VFolderNotFound, EntryNotFound: it does not exist.
            InvalidParameters: it is no directory.
        """
        request = self._request
        selection = selection_of(request, int(self._run.job.fields["created_at"]), None)
        vfolder, path = VFolderId.parse(request.source), VFolderPath.parse(request.source_path)
        backend = self._context.backend(request.volume)
        if objects := backend.skill(HasObjects):
            yield ObjectSource(objects.tree(vfolder).below(path), selection)
            return
        with Endpoint(backend, vfolder, path).opened() as root:
            yield FileSource(root, selection, uploads, self._pace)

    def _pace(self, size_bytes: int) -> None:
        self._run.check()
        self._run.throttle.pace(0, size_bytes, self._stop)

    def _size_of(self, source: SendingSource) -> int:
        self._run.phase("count")
        size_bytes = 0
        for one in source.entries():
            self._run.check()
            size_bytes += one.size
        return size_bytes

    def _send_all(
        self, source: SendingSource, target: ObjectTree, manifest: Manifest
    ) -> dict[str, Any]:
        """Send what earlier runs did not, and return what all runs did."""
        mark = self._mark_of(source, manifest)
        counts: dict[str, int] = mark["counts"]

        def send(one: SourceEntry) -> tuple[SourceEntry, OSError | StorageError | None]:
            try:
                source.send(one, target)
            except (OSError, StorageError) as error:
                return one, error
            return one, None

        def send_each(group: list[SourceEntry]) -> list[tuple[SourceEntry, Any]]:
            return [send(one) for one in group]

        rest = islice(source.entries(), mark["number"], None)
        with closing(beside(send_each, grouped(rest, lambda one: one.size))) as groups:
            for number, (one, error) in enumerate(chain.from_iterable(groups), mark["number"] + 1):
                self._run.check()
                self._count(one, error, counts)
                if number % MARKED_ENTRIES == 0:
                    manifest.mark("sent", number=number, name=one.name, counts=counts)
        return {
            **counts,
            "hard_links": 0,
            "complete": not counts["failed"],
            "not_kept": {},
            "method": "objects",
        }

    def _mark_of(self, source: SendingSource, manifest: Manifest) -> dict[str, Any]:
        """Return how far an earlier run came; from the beginning where the source differs now."""
        kinds = ("files", "directories", "links", "failed", "copied_bytes")
        nothing = {"number": 0, "counts": dict.fromkeys(kinds, 0)}
        mark = manifest.last("sent")
        if mark is None:
            return nothing
        last = next(islice(source.entries(), mark["number"] - 1, None), None)
        return mark if last is not None and last.name == mark["name"] else nothing

    def _count(
        self, one: SourceEntry, error: OSError | StorageError | None, counts: dict[str, int]
    ) -> None:
        """Count one entry, or report its fault.

        Raises:
            BackendFailed: the first fault ends the job, as the request says.
            Unavailable: the storage is away for longer than a job waits.
        """
        if isinstance(error, Unavailable):
            raise error
        if error is None:
            counts[{"f": "files", "d": "directories", "l": "links"}[one.kind]] += 1
            counts["copied_bytes"] += one.size
            self._run.count(Counter.COPIED, 1, one.size)
            self._run.throttle.pace(1, 0, self._stop)
            return
        counts["failed"] += 1
        self._run.count(Counter.FAILED, 1)
        self._run.fault(one.name, reason_of(error))
        if self._request.on_error == "stop":
            raise BackendFailed(
                self._stopped,
                data={"missing": [f"{one.name}: {reason_of(error)}"]},
            )

    def _verify(self, source: SendingSource, target: ObjectTree) -> None:
        """Read both sides again and compare.

        Raises:
            CopyDiffers: files differ.
        """
        self._run.phase("verify")

        def differs(one: SourceEntry) -> str:
            if one.kind != "f":
                return ""
            path = VFolderPath.parse(one.name)
            return "" if source.digest(one) == digest_of_object(target, path) else one.name

        wrong = []
        with closing(beside(differs, source.entries())) as names:
            for name in names:
                self._run.check()
                self._run.count(Counter.VERIFIED, 1)
                wrong += [name] if name else []
        if wrong:
            shown = ", ".join(wrong[:DIFFERENCES_SHOWN])
            raise CopyDiffers(f"The copy differs from its source in {shown}.")
