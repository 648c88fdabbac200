"""The verbs `delete` and `delete-files`.

One rename moves a vfolder into the trash of its quota scope. There it is kept for as long as the
request says, or its bytes are removed at once. The manifest marks the rename. So a later run does
not touch a vfolder that was created again under the same id.

A delete frees space, so it works where none is left: without a block or inode for the manifest, its
record is in memory, and without a trash the vfolder is removed where it is.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import Any, cast

from backends.entries import HasObjects, access_files
from backends.fs import descriptors, layout, paths, reason_of, translate
from backends.quota import soft
from backends.retention import TrashRecord
from backends.tree import RemoveOptions, UsageOptions, measure_tree, remove_tree
from backends.uploads import end_uploads
from core.cluster import NodeStore, VFolderCache
from core.errors import EntryNotFound, HelperDied, ReadOnly, StorageError, VFolderNotFound
from core.jobs import Control, Counter, State, requests
from core.jobs.requests import DeleteFilesRequest, DeleteRequest, lock_key
from core.jobs.store import JobLists
from core.names import VFolderId, VFolderPath, counted
from core.quota import LastUsageStore
from core.redis import Database, connect, json
from core.telemetry import logger
from core.uploads import UploadStore
from workers.run import NO_ROOM, Context, Manifest, Outcome, Run
from workers.verbs.trash import TrashedTree, removal_outcome

_log = logger(__name__)

#: A vfolder has two prefix directories, which are removed when they become empty.
PREFIX_LEVELS = 2


class Delete:
    """One run of a delete."""

    def __init__(self, context: Context, request: DeleteRequest) -> None:
        self._context = context
        self._run = context.run
        self._volume = request.volume
        self._vfolder = VFolderId.parse(request.vfolder)
        self._backend = context.backend(request.volume)
        self._root = context.root(request.volume)
        self._trashed = TrashedTree(context, request.volume, self._vfolder, self._run.job.id)
        self._resisted = 0
        requested = request.keep_seconds
        self._keep = context.settings.vfolder.trash.keep_seconds if requested is None else requested

    def __call__(self) -> Outcome:
        """Rename the vfolder; then keep it for a while, or remove it. Absent is success."""
        scope = self._vfolder.scope
        if scope and not descriptors.exists(PurePosixPath(scope.directory), self._root):
            return self._outcome(existed=False)
        manifest = self._context.manifest(self._root, scope, frees_space=True)
        self._context.report(self._root, scope, continues=False)
        done = manifest.last("renamed") is not None or self._trashed.exists
        renamed = done or self._rename(manifest)
        self._end_uploads()
        self._run.patiently(self._refuse_waiting)
        if renamed:
            manifest.mark("renamed")
            self._move_record()
            descriptors.prune(self._vfolder.directory.parent, self._root, PREFIX_LEVELS)
            figures = LastUsageStore(self._context.store.redis)
            self._run.patiently(lambda: figures.forget(self._volume, self._vfolder))
            VFolderCache(self._context.settings).forget(self._volume, self._vfolder)
            self._count(manifest)
        kept = self._trashed.record() if self._keep and renamed else None
        left = 0 if self._keep and renamed else self._trashed.purge()
        return self._outcome(existed=renamed, left=left + self._resisted, kept=kept)

    def undo(self) -> None:
        """Undo nothing: after its rename, a delete is past the point of no return."""

    def _rename(self, manifest: Manifest) -> bool:
        self._run.phase("rename")
        if not descriptors.exists(self._vfolder.directory, self._root):
            return False
        self._run.point_of_no_return()
        self._revoke_links()
        try:
            self._into_trash()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self._remove_in_place(manifest, error)
        return True

    def _revoke_links(self) -> None:
        """Revoke the links of the vfolder, so that none counts again after a restore."""
        settings = self._context.settings
        if settings.vfolder.access is None:
            return
        if not descriptors.exists(layout.record(self._vfolder), self._root):
            return
        from workers.run.requester import requesters  # noqa: PLC0415 - few deletes need it

        try:
            nodes = NodeStore(self._context.store.redis)
            requesters(settings, nodes).revoke_links(self._volume, self._vfolder)
        except StorageError as error:  # a delete works where no record can be written
            _log.warning("links not revoked", reason=error.detail)

    def _into_trash(self) -> None:
        path = self._vfolder.directory
        if self._keep:
            self._trashed.note(self._keep)
        with (
            descriptors.opened(path.parent, self._root) as parent,
            self._context.hidden_directory(self._root, self._trashed.path.parent) as trash,
            access_files.going_to_trash(self._backend, self._vfolder, self._run.job.id),
        ):
            self._run.check()
            descriptors.rename_new(path.name, parent, self._trashed.path.name, trash)

    def _remove_in_place(self, manifest: Manifest, reason: OSError) -> None:
        """Remove the vfolder where it is: the volume has no room for a trash that does not exist.

        Raises:
            NoSpace, QuotaExceeded: the vfolder is meant to be kept, which needs room for a note.
        """
        if self._keep:
            full = translate(reason)
            raise type(full)(
                "The trash has no room for the note of this deletion. Free some space, or delete "
                "with keep_seconds 0."
            ) from reason
        path = self._vfolder.directory
        with descriptors.opened(path.parent, self._root) as parent:
            if soft.is_counted(self._backend, self._vfolder.scope):
                manifest.mark("counted", size_bytes=self._trashed.measure_at(path))
            self._run.phase("purge")
            if self._backend.skill(HasObjects):
                self._backend.before_purge(parent, path.name, self._vfolder)
            options = RemoveOptions(effort=self._context.effort)
            removal = remove_tree(parent, path.name, control=self._run, options=options)
        self._resisted = removal.remaining

    def _move_record(self) -> None:
        """Move what is known of access along, or remove it with a vfolder that is removed."""
        if self._trashed.exists:
            access_files.to_trash(self._backend, self._vfolder, self._run.job.id)
        else:
            access_files.drop(self._backend, self._vfolder)

    def _end_uploads(self) -> None:
        settings = self._context.settings
        client = connect(settings, Database.UPLOADS)
        uploads = UploadStore(client, settings.storage_proxy.node_id)
        self._run.patiently(
            lambda: end_uploads(self._backend, uploads, self._volume, self._vfolder)
        )

    def _refuse_waiting(self) -> None:
        """End the jobs that wait for the vfolder and can only fail, up to one that makes it again.

        They need no slot for that, and no wait for the end of this delete.
        """
        own, store = lock_key(self._volume, str(self._vfolder)), self._context.store
        job = self._run.job
        gone = VFolderNotFound("The vfolder was deleted while the job waited for it.")
        problem = json.dumps({**gone.members(), "job_id": job.id})
        for other in JobLists(store.redis).behind(own, int(job.fields["turn"])):
            request = requests.parse(json.loads(other.fields["request"]))
            if own in request.makes():
                return
            if own in request.needs() and store.refuse(other.id, problem):
                self._forget_archive(other.id)

    def _forget_archive(self, job: str) -> None:
        """Remove the upload that a refused job was to unpack, if there is one."""
        path = layout.archive(self._vfolder.scope, job)
        with suppress(FileNotFoundError), descriptors.opened(path.parent, self._root) as staging:
            os.unlink(path.name, dir_fd=staging)

    def _count(self, manifest: Manifest) -> None:
        """Count once what was deleted, where the trash is kept or a ledger needs the figure."""
        counted = manifest.last("counted")
        if counted is None:
            needed = self._keep or soft.is_counted(self._backend, self._vfolder.scope)
            if not needed or not self._trashed.exists:
                return
            counted = {"size_bytes": self._trashed.measure()}
            manifest.mark("counted", **counted)
        size_bytes, job = int(counted["size_bytes"]), self._run.job.id
        scope, since_ms = self._vfolder.scope, self._run.job.started_ms
        soft.settle(self._backend, scope, job, -size_bytes, since_ms=since_ms)

    def _outcome(self, *, existed: bool, left: int = 0, kept: TrashRecord | None = None) -> Outcome:
        if kept is None:
            known = existed or (None if self._run.passed_no_return else False)
            return removal_outcome(self._run, "deleted", self._vfolder, existed=known, left=left)
        document = kept.document()
        done = self._run.summary(f"deleted {self._vfolder}")
        return Outcome(
            sentence=f"{done}; kept in the trash until {document['expires_at']}",
            result={
                "vfolder": str(self._vfolder),
                "existed": existed,
                "left": left,
                "trash": document,
            },
            state=State.PARTIAL if left else State.SUCCEEDED,
            items=kept.entries,
            size_bytes=kept.size_bytes,
        )


class DeleteFiles:
    """One run of a delete of entries; it may be repeated, so every run does the complete list."""

    def __init__(self, context: Context, request: DeleteFilesRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._vfolder = VFolderId.parse(request.vfolder)
        self._backend = context.backend(request.volume)
        self._counts = soft.is_counted(self._backend, self._vfolder)
        self._freed = 0
        self._absent = 0
        self._directories = 0

    def __call__(self) -> Outcome:
        """Remove every entry; absent ones and, without `recursive`, directories are skipped."""
        failed = 0
        root_of_volume = self._context.root(self._request.volume)
        self._context.report(root_of_volume, self._vfolder.scope, continues=False)
        self._run.phase("delete")
        with self._backend.open_vfolder(self._vfolder) as root, self._settled():
            changed: set[VFolderPath] = set()
            for text in self._request.paths:
                self._run.check()
                path = VFolderPath.parse(text)
                changed.add(path.parent)
                try:
                    self._remove_or_note(root, path)
                except _Resisted:
                    failed += 1
                except (ReadOnly, HelperDied):  # it is not this entry that fails
                    raise
                except (OSError, StorageError) as error:
                    failed += 1
                    self._run.count(Counter.FAILED, 1)
                    self._run.fault(str(path), reason_of(error))
            unsynced = self._sync(root, changed)
        return self._outcome(failed, unsynced)

    def _outcome(self, failed: int, unsynced: int) -> Outcome:
        """Return what was done: `partial` where a named entry is still there, or none was.

        What a later attempt finds absent may have been removed by an earlier one.
        """
        named, directories = len(self._request.paths), self._directories
        absent = 0 if self._run.may_continue else self._absent
        deleted = named - directories - absent - failed
        left = [
            f"{counted(number, noun, nouns)} {words}"
            for number, noun, nouns, words in (
                (absent, "entry", "entries", "not there"),
                (directories, "directory", "directories", "left: `recursive` is not set"),
                (failed, "entry", "entries", "failed"),
                (unsynced, "directory", "directories", "could not be synced"),
            )
            if number
        ]
        amount = counted(deleted, "entry", "entries") if deleted else "nothing"
        failed += unsynced
        return Outcome(
            sentence="; ".join([self._run.summary("deleted", amount), *left]),
            result={"named": named, "skipped": absent + directories, "failed": failed},
            state=State.PARTIAL if failed or directories or not deleted else State.SUCCEEDED,
        )

    def _remove_or_note(self, root: int, path: VFolderPath) -> None:
        """Remove an entry; a directory that stays is named in the report."""
        try:
            self._absent += not self._remove(root, path)
        except _DirectoryStays:
            self._directories += 1
            self._context.note(str(path), "it is a directory, and `recursive` is not set")

    def undo(self) -> None:
        """Undo nothing: removed entries cannot come back."""

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """Settle what was freed, however the run ends; after a kill, the rescan corrects it.

        Only this run knows the figure, so it waits for the store past the end of its lease.
        """
        try:
            yield
        finally:
            holder = self._run.id
            freed, since_ms = self._freed, self._run.job.started_ms
            with self._run.waiting_past_lease():
                soft.settle(self._backend, self._vfolder, holder, -freed, since_ms=since_ms)

    def _sync(self, root: int, changed: Iterable[VFolderPath]) -> int:
        """Sync the directories that lost names; return how many cannot be synced.

        So what the job calls deleted does not come back after a power failure.
        """
        failed = 0
        for path in changed:
            try:
                paths.sync_directory(root, path)
            except EntryNotFound:  # it was deleted, too
                continue
            except StorageError as error:
                failed += 1
                self._run.fault(str(path), reason_of(error))
        return failed

    def _remove(self, root: int, path: VFolderPath) -> bool:
        try:
            with paths.parent_beneath(root, path) as (parent, name):
                return self._remove_entry(parent, name, path)
        except EntryNotFound:
            return False

    def _remove_entry(self, parent: int, name: str, path: VFolderPath) -> bool:
        size_bytes = soft.size_of(name, parent) if self._counts else 0
        try:
            os.unlink(name, dir_fd=parent)
            self._freed += size_bytes
        except FileNotFoundError:
            return False
        except IsADirectoryError:
            if not self._request.recursive:
                raise _DirectoryStays from None
            size_bytes = self._measure(parent, name) if self._counts else 0
            options = RemoveOptions(effort=self._context.effort)
            below = cast("Control", _Below(self._run, str(path)))
            if not remove_tree(parent, name, control=below, options=options).complete:
                raise _Resisted from None
            self._freed += size_bytes
            return True
        self._run.count(Counter.DELETED, 1)
        return True

    def _measure(self, parent: int, name: str) -> int:
        with descriptors.opened(name, parent) as top:
            options = UsageOptions(effort=self._context.effort)
            return measure_tree(top, control=self._run, options=options).size_bytes


class _DirectoryStays(Exception):
    """An entry is a directory, and the request does not remove directories."""


class _Resisted(Exception):
    """Entries below a directory could not be removed; each is in the report."""


class _Below:
    """The run's control for a tree below the vfolder's root: faults are named from the root."""

    def __init__(self, run: Run, top: str) -> None:
        self._run = run
        self._top = top

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - every other member of a control
        return getattr(self._run, name)

    def fault(self, path: str, reason: str) -> None:
        """See `Control.fault`."""
        self._run.fault(f"{self._top}/{path}" if path else self._top, reason)
