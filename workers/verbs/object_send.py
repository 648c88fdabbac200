"""Transfers and clones to objects: from files, and from objects of another volume.

Every entry is sent below the prefix of a vfolder that does not exist yet, or of a new directory.
The record of a new vfolder is published last. In a vfolder that exists, objects appear one by one;
a job that does not succeed removes them.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import chain, islice
from typing import Any

from backends.entries import HasObjects, ObjectTree
from backends.fs import reason_of
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
from workers.verbs.object_fetch import beside, grouped
from workers.verbs.object_sources import (
    FileSource,
    ObjectSource,
    OpenUploads,
    SendingSource,
    SourceEntry,
    digest_of_object,
    state_of,
)
from workers.verbs.object_transfer import as_transfer
from workers.verbs.objects import objects_of
from workers.verbs.transfer import items_of

#: After how many entries the job notes how far it is.
MARKED_ENTRIES = 256
#: Differences that an error names, at most.
DIFFERENCES_SHOWN = 5


class TransferToObjects:
    """One run of a transfer or clone whose target are objects."""

    #: What an error says of the target.
    _left = "Nothing is left at the target."

    def __init__(self, context: Context, request: CloneRequest | TransferRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = as_transfer(request)
        self._backend = context.backend(self._request.home)
        self._objects = objects_of(context, self._request.home)
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
        lost_bytes = int(done.get("replaced_bytes", self._replaced_bytes or 0))
        change_bytes = size_bytes - lost_bytes - int(done.pop("removed_bytes", 0))
        since_ms = self._run.job.started_ms if change_bytes < 0 else None
        soft.settle(self._backend, self._vfolder, self._run.job.id, change_bytes, since_ms=since_ms)
        items = items_of(done)
        kinds = ("failed", "same", "kept", "extra_removed")
        found = items or any(done.get(kind) for kind in kinds)
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
            self._note_state(source, manifest)
            self._run.phase("copy")
            done = self._send_all(source, target, manifest)
            done["complete"] &= self._settle_directories(source, target)
            self._mark_top(source, target)
            if self._request.verify == "checksum":
                self._verify(source, target)
            done["complete"] &= self._is_unchanged(source, manifest)
            return done | self._without_extra(source, target, manifest, done)

    def _settle_directories(self, source: SendingSource, target: ObjectTree) -> bool:
        """Write markers again that the storage has lost; return whether all are as they should be.

        SeaweedFS keeps a directory for each file. One that it makes for a file may take the place
        of the marker that comes at the same moment.
        """
        wrong = 0

        def settle(one: SourceEntry) -> tuple[str, OSError | StorageError | None]:
            path = VFolderPath.parse(one.name.removesuffix("/"))
            try:
                wanted, there = source.metadata(one), {}
                with suppress(EntryNotFound):
                    there = dict(target.marker_metadata(path))
                if there != wanted:
                    target.mark(path, wanted)
            except EntryNotFound:  # it left the source meanwhile
                return one.name, None
            except (OSError, StorageError) as error:
                return one.name, error
            return one.name, None

        with closing(beside(settle, (one for one in source.entries() if one.kind == "d"))) as each:
            for name, error in each:
                self._run.check()
                if isinstance(error, Unavailable):
                    raise error
                if error is not None:
                    self._run.fault(name, reason_of(error))
                    wrong += 1
        return not wrong

    def _without_extra(
        self,
        source: SendingSource,  # noqa: ARG002 - for overlays
        target: ObjectTree,  # noqa: ARG002 - as above
        manifest: Manifest,  # noqa: ARG002 - as above
        done: dict[str, Any],  # noqa: ARG002 - as above
    ) -> dict[str, Any]:
        """Remove what only the target has, and return what was done: a new one has nothing."""
        return {}

    def _note_state(self, source: SendingSource, manifest: Manifest) -> None:
        """Note what the source is when the first run of a strict job begins."""
        if self._request.strict and manifest.last("state") is None:
            manifest.mark("state", state=state_of(source, self._run.check))

    def _is_unchanged(self, source: SendingSource, manifest: Manifest) -> bool:
        """Return whether the source of a strict job is what it was.

        Raises:
            BackendFailed: it is not, and the first fault ends the job, as the request says.
        """
        mark = manifest.last("state")
        if mark is None or mark["state"] == state_of(source, self._run.check):
            return True
        self._run.fault(self._request.source_path, "the source changed while the job ran")
        if self._request.on_error == "stop":
            raise BackendFailed(f"The source changed while the job ran. {self._left}")
        return False

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
        request, selection = self._request, self._selection()
        vfolder, path = VFolderId.parse(request.source), VFolderPath.parse(request.source_path)
        backend = self._context.backend(request.volume)
        if objects := backend.skill(HasObjects):
            yield ObjectSource(objects.tree(vfolder).below(path), selection)
            return
        with Endpoint(backend, vfolder, path).opened() as root:
            yield FileSource(root, selection, uploads, self._pace)

    def _selection(self) -> Selection:
        return selection_of(self._request, int(self._run.job.fields["created_at"]), None)

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
                f"An entry could not be copied. {self._left}",
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
