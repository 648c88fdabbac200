"""The verbs on volumes whose vfolders are objects of a bucket: usage, clone, delete-files.

Deletes, purges and restores need no verb of their own: they rename the record of a vfolder, and the
backend removes its objects before a purge. A verb that needs files refuses such a volume by name.
"""

import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from typing import Any, cast

from backends.entries import HasObjects, ObjectTree, object_tree
from backends.fs import descriptors, layout
from backends.quota import soft
from backends.volumes import operations
from core.errors import (
    CopyDiffers,
    EntryNotFound,
    StorageError,
    UnknownVolume,
    Unsupported,
    VFolderExists,
    VolumeUnavailable,
)
from core.jobs import Counter, State
from core.jobs.requests import CloneRequest, DeleteFilesRequest, UsageRequest
from core.names import VFolderId, VFolderPath, counted
from workers.run import Context, Outcome
from workers.verbs.usage import TOP, CountUsage

#: Differences of a clone that its error names, at most.
DIFFERENCES_SHOWN = 5


def has_objects(context: Context, volume: str) -> bool:
    """Return whether the vfolders of a volume are objects.

    Raises:
        UnknownVolume, VolumeUnavailable: as `Context.backend`.
    """
    return context.backend(volume).skill(HasObjects) is not None


def objects_of(context: Context, volume: str) -> HasObjects:
    """Return the volume as one of objects; see `has_objects`.

    Raises:
        Unsupported: it is not.
    """
    found = context.backend(volume).skill(HasObjects)
    if found is None:
        raise Unsupported(f"Volume {volume} keeps files, not objects.")
    return found


class CountObjects(CountUsage):
    """One run of a count of objects, by listing."""

    def __init__(self, context: Context, request: UsageRequest) -> None:
        super().__init__(context, request)
        self._run = context.run

    def __call__(self) -> Outcome:
        """List every object, and store the result with its time."""
        self._run.phase("count")
        tree = objects_of(self._context, self._request.volume).tree(self._vfolder)

        def seen(size_bytes: int) -> None:
            self._run.check()
            self._run.count(Counter.LISTED, 1, size_bytes)

        return self._ended_with(tree.usage(seen, ages_at=int(time.time()), top=TOP))


class CloneObjects:
    """One run of a clone within a bucket: the storage copies, then one rename publishes."""

    def __init__(self, context: Context, request: CloneRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._source, self._target = map(VFolderId.parse, (request.source, request.target))
        self._objects = objects_of(context, request.volume)
        self._root = context.root(request.volume)
        self._backend = context.backend(request.volume)

    def __call__(self) -> Outcome:
        """Copy every object, compare, and publish the record.

        Raises:
            VFolderExists: the target exists, and no run of this job made it.
            QuotaExceeded: the scope of the target has not enough free space.
        """
        job = self._run.job.id
        manifest = self._context.manifest(self._root, self._target.scope)
        self._context.report(self._root, self._target.scope, continues=False)
        done = manifest.last("copied")
        if done is None or not self._was_published():
            done = self._copy()
            manifest.mark("copied", **done)
            self._run.phase("publish")
            self._run.point_of_no_return()
            self._run.check()
            self._objects.publish_draft(self._target, job)
        soft.settle(self._backend, self._target, job, int(done["copied_bytes"]))
        files, size_bytes = int(done["files"]), int(done["copied_bytes"])
        amounts = [counted(files, "file")] if files else ["an empty vfolder"]
        return Outcome(
            sentence=self._run.summary("cloned", *amounts, size_bytes=size_bytes),
            result={"source": str(self._source), "target": str(self._target), **done},
            items=files,
            size_bytes=size_bytes,
        )

    def _was_published(self) -> bool:
        """Return whether an earlier run of this job published the target.

        Its draft is gone then. Where the draft is left, another caller made the target.
        """
        draft = layout.staging(self._target.scope, self._run.job.id)
        return self._exists() and not descriptors.exists(draft, self._root)

    def _exists(self) -> bool:
        return operations.exists(self._backend, self._target)

    def _copy(self) -> dict[str, int]:
        if self._exists():
            raise VFolderExists(f"The vfolder {self._target} is already there.")
        source, job = self._objects.tree(self._source), self._run.job.id
        soft.reserve(self._backend, self._target, job, lambda: self._measured(source))
        self._run.phase("copy")
        files = copied = 0
        draft = self._objects.draft(self._target, job)
        with closing(source.copy_all(draft)) as sizes:
            for size_bytes in sizes:
                self._run.check()
                self._run.count(Counter.COPIED, 1, size_bytes)
                files, copied = files + 1, copied + size_bytes
        self._verify(source, draft)
        return {"files": files, "copied_bytes": copied}

    def _measured(self, source: ObjectTree) -> int:
        self._run.phase("count")
        return source.usage(lambda _: self._run.check()).size_bytes

    def _verify(self, source: ObjectTree, draft: ObjectTree) -> None:
        """Compare names and sizes, and with `checksum` the content.

        Raises:
            CopyDiffers: they differ.
        """
        if self._request.verify == "none":
            return
        self._run.phase("verify")
        found = source.differences(draft, by_content=self._request.verify == "checksum")
        wrong = list(islice(found, DIFFERENCES_SHOWN))
        if wrong:
            raise CopyDiffers(f"The copy differs from its source in {', '.join(wrong)}.")

    def undo(self) -> None:
        """Remove what was copied; the target never existed."""
        self._objects.drop_draft(self._target, self._run.job.id)
        soft.settle(self._backend, self._target, self._run.job.id)


class DeleteObjects:
    """One run of a delete of entries; it may be repeated, so every run does the complete list."""

    def __init__(self, context: Context, request: DeleteFilesRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._vfolder = VFolderId.parse(request.vfolder)

    def __call__(self) -> Outcome:
        """Remove every entry; absent ones and, without `recursive`, directories are skipped.

        Raises:
            Unsupported: they are to be kept, which a bucket does not do.
        """
        volume = self._request.volume
        if self._request.keep_seconds:
            raise Unsupported(f"Volume {volume} keeps no removed entries; send keep_seconds 0.")
        self._context.report(self._context.root(volume), self._vfolder.scope, continues=False)
        self._run.phase("delete")
        self._tree = objects_of(self._context, volume).tree(self._vfolder)
        ends = {"deleted": 0, "absent": 0, "directories": 0, "failed": 0}
        backend = self._context.backend(volume)
        with soft.settled_removal(backend, self._vfolder) as freed:
            for text in self._request.paths:
                self._run.check()
                ends[self._remove(VFolderPath.parse(text), freed)] += 1
        named = len(self._request.paths)
        skipped = ends["absent"] + ends["directories"]
        amount = counted(ends["deleted"], "entry", "entries") if ends["deleted"] else "nothing"
        complete = ends["deleted"] and not ends["failed"] and not ends["directories"]
        return Outcome(
            sentence=self._run.summary("deleted", amount),
            result={"named": named, "skipped": skipped, "failed": ends["failed"]},
            state=State.SUCCEEDED if complete else State.PARTIAL,
        )

    def _remove(self, path: VFolderPath, freed: list[int]) -> str:
        """Remove one entry, and return how it ended."""
        try:
            if self._tree.is_directory(path) and not self._request.recursive:
                self._context.note(str(path), "it is a directory, and `recursive` is not set")
                return "directories"
            self._tree.remove(
                [path], recursive=self._request.recursive, most=None, on_removed=freed.append
            )
        except EntryNotFound:
            return "absent"
        except StorageError as error:
            if error.retriable:
                raise
            self._run.count(Counter.FAILED, 1)
            self._run.fault(str(path), error.detail)
            return "failed"
        self._run.count(Counter.DELETED, 1)
        return "deleted"

    def undo(self) -> None:
        """Undo nothing: removed entries cannot come back."""


def either(
    files: Callable[[Context, Any], Any],
    objects: Callable[[Context, Any], Any],
    across: Callable[[Context, Any], Any] | None = None,
) -> Any:  # noqa: ANN401 - a table of verbs
    """Return what makes the verb of a request, by what its volumes keep.

    `across` is for two volumes of which one keeps objects, or both do.
    """

    def chosen(context: Context, request: Any) -> Any:  # noqa: ANN401 - as above
        kinds = {has_objects(context, request.home), _reads_objects(context, request)}
        if kinds == {False}:
            return files(context, request)
        if request.volume != request.home and across is not None:
            return across(context, request)
        return objects(context, request)

    return chosen


def _reads_objects(context: Context, request: Any) -> bool:  # noqa: ANN401 - of any verb
    """Return whether the source keeps objects; one that another node reads is refused there."""
    try:
        return has_objects(context, request.volume)
    except (UnknownVolume, VolumeUnavailable):
        if request.volume == request.home:
            raise
        return False


def refused(verb: Callable[[Context, Any], Any]) -> Any:  # noqa: ANN401 - a table of verbs
    """Return the verb, which raises `Unsupported` on a volume of objects."""

    def none(context: Context, request: Any) -> Any:  # noqa: ANN401 - as above
        backend = context.backend(request.home)
        raise object_tree.unsupported(backend, f"the job {request.verb}")

    return either(verb, cast("Callable[[Context, Any], Any]", none))
