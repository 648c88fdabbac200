"""The trash: a deleted vfolder stays there until it is purged, and can be restored until then.

The verbs `restore` and `purge`, and the operations that they share with `delete`. Each job that
works on a tree in the trash holds the lock of its vfolder, so no two work on the same tree.
"""

import os
from contextlib import suppress
from itertools import islice
from pathlib import PurePosixPath

import msgspec

from backends.base import MountedBackend
from backends.entries import HasObjects, access_files
from backends.fs import descriptors, layout
from backends.quota import soft
from backends.retention import TrashContent, TrashRecord, trash
from backends.tree import RemoveOptions, Usage, UsageOptions, measure_tree, remove_tree
from core.errors import QuotaExceeded, TrashNotFound, VFolderExists, VFolderNotFound
from core.jobs import Counter, State
from core.jobs.requests import PurgeRequest, RestoreRequest
from core.names import VFolderId, counted, size_text
from workers.run import NO_ROOM, Context, Manifest, Outcome, Run

#: Objects that a purge leaves which its report names, at most.
LEFT_SHOWN = 100
#: After so many objects a limited purge looks whether the run ends.
PACED_OBJECTS = 10


class TrashedTree:
    """One tree in the trash of a scope, by the job that deleted it."""

    def __init__(self, context: Context, volume: str, vfolder: VFolderId, trash_id: str) -> None:
        self._context = context
        self._run = context.run
        self._volume = volume
        self._backend: MountedBackend = context.backend(volume)
        self._root = context.root(volume)
        self._vfolder = vfolder
        self._id = trash_id
        self._stop = bytearray(1)
        self.path = layout.trash(vfolder.scope, trash_id)

    @property
    def exists(self) -> bool:
        """Whether the tree exists, even in part."""
        return descriptors.exists(self.path, self._root)

    def note(self, keep_seconds: float, holds: TrashContent = "vfolder") -> None:
        """Record what will be here, of which vfolder, for how long; call it before the rename."""
        with self._context.hidden_directory(self._root, self.path.parent) as directory:
            at = trash.clock(directory)
            ends = at + keep_seconds
            text = str(self._vfolder)
            note = TrashRecord(
                id=self._id, vfolder=text, deleted_at=at, expires_at=ends, holds=holds
            )
            trash.keep(directory, note)

    def record(self) -> TrashRecord | None:
        """Return the record of the tree; None when it has none."""
        with self._context.hidden_directory(self._root, self.path.parent) as directory:
            return trash.find(directory, self._id)

    def measure(self, own_bytes: int = 0) -> int:
        """Count the tree, note its size in its record, and return its bytes.

        `own_bytes` is the length of a file in it that is of this service, and does not count.
        """
        usage = self._measured(self.path)
        size_bytes = usage.size_bytes - own_bytes
        entries = usage.entries - bool(own_bytes)
        with self._context.hidden_directory(self._root, self.path.parent) as directory:
            note = trash.find(directory, self._id)
            if note is not None:
                sizes = {"size_bytes": size_bytes, "entries": entries}
                trash.keep(directory, msgspec.structs.replace(note, **sizes))
        return size_bytes

    def measure_at(self, path: PurePosixPath) -> int:
        """Count the tree at another path of the volume, and return its bytes."""
        return self._measured(path).size_bytes

    def _measured(self, path: PurePosixPath) -> Usage:
        self._run.phase("count")
        if objects := self._backend.skill(HasObjects):
            return objects.tree_at(path, self._root).usage(lambda _: self._run.check())
        with descriptors.opened(path, self._root) as top:
            options = UsageOptions(effort=self._context.effort)
            return measure_tree(top, control=self._run, options=options)

    def purge(self) -> int:
        """Remove the tree, then its record; return how many entries could not be removed.

        The record says that a purge began: from then on the tree cannot be restored.
        """
        self._run.phase("purge")
        limit = self._context.settings.vfolder.trash.purge_entries_per_second
        self._run.hold_back(self._volume, limit)
        try:
            with descriptors.opened(self.path.parent, self._root) as directory:
                return self._purge(directory)
        except FileNotFoundError:  # nothing was ever thrown away here
            return 0

    def _purge(self, directory: int) -> int:
        if not descriptors.exists(PurePosixPath(self._id), directory):
            trash.forget(directory, self._id)
            return 0
        note = trash.find(directory, self._id)
        self._note_purge(directory)
        if note is None or note.holds == "vfolder":  # else the vfolder itself stays
            if objects := self._backend.skill(HasObjects):
                self._purge_objects(objects, directory)
            self._backend.before_purge(directory, self._id, self._vfolder)
        options = RemoveOptions(effort=self._context.effort)
        removal = remove_tree(directory, self._id, control=self._run, options=options)
        os.fsync(directory)
        if removal.complete:
            trash.forget(directory, self._id)
        return removal.remaining

    def _purge_objects(self, objects: HasObjects, directory: int) -> None:
        """Remove the objects of the tree; `before_purge` finds those that are left.

        Raises:
            BackendFailed: the storage did not remove some; the next purge begins with them.
        """
        with suppress(VFolderNotFound):  # a record without objects, or none
            tree = objects.tree_at(PurePosixPath(self._id), directory)
            left = list(islice(tree.remove_all(self._count_removed), LEFT_SHOWN))
            for path in left:
                self._run.fault(path, "the object storage did not remove it")

    def _count_removed(self, number: int) -> None:
        """Count the objects of a batch, and wait as long as the limit says."""
        self._run.count(Counter.DELETED, number)
        for done in range(0, number, PACED_OBJECTS):
            self._run.check()
            self._run.throttle.pace(min(PACED_OBJECTS, number - done), 0, self._stop)

    def _note_purge(self, directory: int) -> None:
        """Note that the tree cannot be restored; where the note has no room, drop the record."""
        note = trash.find(directory, self._id)
        if note is None or note.purging:
            return
        try:
            trash.keep(directory, msgspec.structs.replace(note, purging=True))
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            trash.forget(directory, self._id)


def removal_outcome(
    run: Run, done: str, vfolder: VFolderId, *, existed: bool | None, left: int
) -> Outcome:
    """Return the outcome of a job that removed a vfolder, or found that it was not there.

    `existed` is None where an earlier attempt may have removed it.
    """
    result = {"vfolder": str(vfolder), "existed": existed, "left": left}
    if existed is False:
        sentence = f"deleted nothing: {vfolder} was not there"
        return Outcome(sentence, result, State.PARTIAL, items=0, size_bytes=0)
    words = f"{done} {vfolder}"
    if not run.may_continue and (entries := run.progress.sum(Counter.DELETED)):
        words += f": {counted(entries, 'entry', 'entries')}"
    sentence = run.summary(words)
    if left:
        sentence += f"; {counted(left, 'entry', 'entries')} could not be removed"
    return Outcome(sentence, result, State.PARTIAL if left else State.SUCCEEDED)


class Purge:
    """One run of a purge; it may be repeated, so every run removes what is left."""

    def __init__(self, context: Context, request: PurgeRequest) -> None:
        self._context = context
        self._run = context.run
        self._vfolder = VFolderId.parse(request.vfolder)
        self._root = context.root(request.volume)
        self._trashed = TrashedTree(context, request.volume, self._vfolder, request.trash)
        self._entries = request.entries

    def __call__(self) -> Outcome:
        """Remove the tree; absent is success.

        Raises:
            TrashNotFound: the tree under this id was another vfolder.
        """
        self._context.manifest(self._root, self._vfolder.scope, frees_space=True)
        self._context.report(self._root, self._vfolder.scope, continues=False)
        existed: bool | None = self._trashed.exists
        note = self._trashed.record()
        if existed and not self._is_meant(note):
            raise TrashNotFound(f"The trash has nothing of {self._vfolder} under that id.")
        left = self._trashed.purge()
        existed = existed or (None if self._run.may_continue else False)
        return removal_outcome(self._run, "purged", self._vfolder, existed=existed, left=left)

    def _is_meant(self, note: TrashRecord | None) -> bool:
        if note is None or note.vfolder != str(self._vfolder):
            return False
        return note.holds == "entries" or not self._entries

    def undo(self) -> None:
        """Undo nothing: removed entries cannot come back; the next purge removes the rest."""


class RestoreFromTrash:
    """One run of a restore: check the quota, then rename the tree back."""

    def __init__(self, context: Context, request: RestoreRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._vfolder = VFolderId.parse(request.vfolder)
        self._backend = context.backend(request.volume)
        self._root = context.root(request.volume)

    def __call__(self) -> Outcome:
        """Restore the vfolder.

        Raises:
            TrashNotFound: the trash has nothing of it that can be restored.
            VFolderExists: a vfolder of the same id was created meanwhile.
            QuotaExceeded: its scope has too little free space now.
        """
        manifest = self._context.manifest(self._root, self._vfolder.scope)
        mark = manifest.last("restore")
        if mark is not None and self._is_restored(mark):
            access_files.forget_trashed(self._backend, self._vfolder, str(mark["id"]))
            return self._settled(mark)
        note = trash.newest(self._root, self._vfolder, self._request.trash)
        if note is None:
            raise TrashNotFound(f"Nothing of {self._vfolder} can be restored.")
        return self._settled(self._rename_back(manifest, note))

    def undo(self) -> None:
        """Release the reserved space; the trash is unchanged."""
        soft.settle(self._backend, self._vfolder.scope, self._run.job.id)

    def _is_restored(self, mark: dict[str, object]) -> bool:
        if descriptors.exists(layout.trash(self._vfolder.scope, str(mark["id"])), self._root):
            return False
        return descriptors.exists(self._vfolder.directory, self._root)

    def _rename_back(self, manifest: Manifest, note: TrashRecord) -> dict[str, object]:
        trashed = TrashedTree(self._context, self._request.volume, self._vfolder, note.id)
        limit = soft.limit_of(self._backend, self._vfolder.scope)
        size_bytes = note.size_bytes
        if limit is not None and size_bytes is None:
            size_bytes = trashed.measure()
        self._check_quota(size_bytes or 0)
        self._run.phase("rename")
        self._run.point_of_no_return()
        mark: dict[str, object] = {"id": note.id, "size_bytes": size_bytes}
        manifest.mark("restore", **mark)
        target = self._vfolder.directory
        with (
            descriptors.opened(trashed.path.parent, self._root) as directory,
            descriptors.made(target.parent, self._root) as parent,
            access_files.coming_back(self._backend, self._vfolder, note.id),
        ):
            self._run.check()
            try:
                descriptors.rename_new(note.id, directory, target.name, parent)
            except FileExistsError:
                raise VFolderExists(f"The vfolder {self._vfolder} exists again.") from None
            self._run.count(Counter.COPIED, 1)
        return mark

    def _check_quota(self, size_bytes: int) -> None:
        """Reserve the size; a storage system counts the trash already, our ledger does not."""
        scope, job = self._vfolder.scope, self._run.job.id
        soft.reserve(self._backend, scope, job, size_bytes)
        if scope is None or soft.soft_of(self._backend) is not None:
            return
        quota = self._backend.describe_scope(scope)
        if quota.limit_bytes is not None and (quota.used_bytes or 0) > quota.limit_bytes:
            raise QuotaExceeded("The quota scope is over its limit; delete something first.")

    def _settled(self, mark: dict[str, object]) -> Outcome:
        size_bytes = mark["size_bytes"]
        change = size_bytes if isinstance(size_bytes, int) else 0
        scope, job = self._vfolder.scope, self._run.job.id
        soft.settle(self._backend, scope, job, change)
        with self._context.hidden_directory(self._root, trash.directory_of(scope)) as directory:
            trash.forget(directory, str(mark["id"]))
        amount = f", {size_text(size_bytes)}" if isinstance(size_bytes, int) else ""
        return Outcome(
            sentence=self._run.summary(f"restored {self._vfolder}{amount}"),
            result={"vfolder": str(self._vfolder), "trash": mark["id"], "size_bytes": size_bytes},
        )
