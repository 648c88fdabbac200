"""The trash: what is deleted lies there until it is purged, and may be brought back before.

The verbs `restore` and `purge`, and the acts on the trash that `delete` shares with them. Each act
on a tree in the trash begins behind the lock of its vfolder, so no two are at work on one.
"""

import os
from pathlib import PurePosixPath

import msgspec

from backends.base import MountedBackend
from backends.fs import descriptors, layout
from backends.quota import soft
from backends.retention import TrashRecord, trash
from backends.tree import RemoveOptions, UsageOptions, measure_tree, remove_tree
from core.errors import QuotaExceeded, TrashNotFound, VFolderExists
from core.jobs import Counter, State
from core.jobs.requests import PurgeRequest, RestoreRequest
from core.names import VFolderId
from workers.run import Context, Manifest, Outcome


class TrashedTree:
    """One tree in the trash of a scope, by the job that deleted it."""

    def __init__(self, context: Context, volume: str, vfolder: VFolderId, trash_id: str) -> None:
        self._context = context
        self._run = context.run
        self._backend: MountedBackend = context.backend(volume)
        self._root = context.root(volume)
        self._vfolder = vfolder
        self._id = trash_id
        self.path = layout.trash(vfolder.scope, trash_id)

    @property
    def is_there(self) -> bool:
        """Whether something is left of the tree."""
        return descriptors.exists(self.path, self._root)

    def note(self, keep_seconds: float) -> None:
        """TrashRecord, before it goes there, what will lie here and for how long."""
        with self._context.hidden_directory(self._root, self.path.parent) as room:
            at = trash.clock(room)
            ends = at + keep_seconds
            text = str(self._vfolder)
            trash.keep(room, TrashRecord(id=self._id, vfolder=text, deleted_at=at, expires_at=ends))

    def found(self) -> TrashRecord | None:
        """The note, if there is one."""
        with self._context.hidden_directory(self._root, self.path.parent) as room:
            return trash.find(room, self._id)

    def measure(self) -> int:
        """Count the tree, note its size, and give it back to the ledger; its bytes."""
        self._run.phase("count")
        with descriptors.opened(self.path, self._root) as top:
            options = UsageOptions(effort=self._context.effort)
            found = measure_tree(top, control=self._run, options=options)
        with self._context.hidden_directory(self._root, self.path.parent) as room:
            note = trash.find(room, self._id)
            if note is not None:
                sizes = {"size_bytes": found.size_bytes, "entries": found.entries}
                trash.keep(room, msgspec.structs.replace(note, **sizes))
        return found.size_bytes

    def purge(self) -> int:
        """Remove the tree, then its note; how many entries resisted.

        From the first byte on nothing can be restored, which the note says.
        """
        self._run.phase("purge")
        self._run.hold_back(self._context.settings.vfolder.trash.purge_entries_per_second)
        try:
            with descriptors.opened(self.path.parent, self._root) as room:
                return self._purge(room)
        except FileNotFoundError:  # nothing was ever thrown away here
            return 0

    def _purge(self, room: int) -> int:
        if not descriptors.exists(PurePosixPath(self._id), room):
            trash.forget(room, self._id)
            return 0
        note = trash.find(room, self._id)
        if note is not None and not note.purging:
            trash.keep(room, msgspec.structs.replace(note, purging=True))
        self._backend.before_purge(room, self._id, self._vfolder)
        options = RemoveOptions(effort=self._context.effort)
        removal = remove_tree(room, self._id, control=self._run, options=options)
        os.fsync(room)
        if removal.complete:
            trash.forget(room, self._id)
        return removal.remaining


class Purge:
    """One run of a purge: removing again is the same, so every run just goes on."""

    def __init__(self, context: Context, request: PurgeRequest) -> None:
        self._context = context
        self._vfolder = VFolderId.parse(request.vfolder)
        self._root = context.root(request.volume)
        self._bin = TrashedTree(context, request.volume, self._vfolder, request.trash)
        self._trash = request.trash

    def __call__(self) -> Outcome:
        """Remove what is there; absent is success.

        Raises:
            TrashNotFound: what lies there was another vfolder.
        """
        self._context.manifest(self._root, self._vfolder.scope)
        self._context.report(self._root, self._vfolder.scope, goes_on=False)
        existed = self._bin.is_there
        note = self._bin.found()
        if existed and (note is None or note.vfolder != str(self._vfolder)):
            raise TrashNotFound(f"Nothing of {self._vfolder} lies in the trash under that id.")
        left = self._bin.purge()
        return Outcome(
            sentence=f"purged {self._vfolder}" if existed else f"{self._vfolder} was not there",
            result={"vfolder": str(self._vfolder), "existed": existed, "left": left},
            state=State.PARTIAL if left else State.SUCCEEDED,
        )

    def undo(self) -> None:
        """Nothing to undo: what is removed is removed, the rest is purged by the next one."""


class RestoreFromTrash:
    """One run of a restore: quota, then one rename back."""

    def __init__(self, context: Context, request: RestoreRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._vfolder = VFolderId.parse(request.vfolder)
        self._backend = context.backend(request.volume)
        self._root = context.root(request.volume)

    def __call__(self) -> Outcome:
        """Bring the vfolder back.

        Raises:
            TrashNotFound: nothing of it can be restored.
            VFolderExists: it was made anew meanwhile.
            QuotaExceeded: its scope has no room for it now.
        """
        manifest = self._context.manifest(self._root, self._vfolder.scope)
        mark = manifest.last("restore")
        if mark is not None and self._is_back(mark):
            return self._settled(mark)
        note = trash.newest(self._root, self._vfolder, self._request.trash)
        if note is None:
            raise TrashNotFound(f"Nothing of {self._vfolder} can be restored.")
        return self._settled(self._bring(manifest, note))

    def undo(self) -> None:
        """Give up the promise of room; the trash is as it was."""
        soft.settle(self._backend, self._vfolder.scope, self._run.job.id)

    def _is_back(self, mark: dict[str, object]) -> bool:
        if descriptors.exists(layout.trash(self._vfolder.scope, str(mark["id"])), self._root):
            return False
        return descriptors.exists(self._vfolder.directory, self._root)

    def _bring(self, manifest: Manifest, note: TrashRecord) -> dict[str, object]:
        place = TrashedTree(self._context, self._request.volume, self._vfolder, note.id)
        limit = soft.limit_of(self._backend, self._vfolder.scope)
        size_bytes = note.size_bytes
        if limit is not None and size_bytes is None:
            size_bytes = place.measure()
        self._check_quota(size_bytes or 0)
        self._run.phase("rename")
        self._run.point_of_no_return()
        mark: dict[str, object] = {"id": note.id, "size_bytes": size_bytes}
        manifest.mark("restore", **mark)
        target = self._vfolder.directory
        with (
            descriptors.opened(place.path.parent, self._root) as room,
            descriptors.made(target.parent, self._root) as parent,
        ):
            self._run.check()
            try:
                descriptors.rename_new(note.id, room, target.name, parent)
            except FileExistsError:
                raise VFolderExists(f"The vfolder {self._vfolder} is there again.") from None
            self._run.count(Counter.COPIED, 1)
        return mark

    def _check_quota(self, size_bytes: int) -> None:
        """The trash counts where the storage system counts, and does not where we do."""
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
        soft.settle(self._backend, scope, job, change, once=True)
        with self._context.hidden_directory(self._root, trash.directory_of(scope)) as room:
            trash.forget(room, str(mark["id"]))
        return Outcome(
            sentence=f"restored {self._vfolder}",
            result={"vfolder": str(self._vfolder), "trash": mark["id"], "size_bytes": size_bytes},
        )
