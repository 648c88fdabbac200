"""A snapshot in place of the vfolder that it is of.

The snapshot is copied into staging and compared, as a clone is. The copy then waits in the trash of
the scope, and one rename exchanges it with the vfolder: so the vfolder is whole at each moment, and
what was there is in the trash at once. Its entries are kept there as removed entries are
(`removed_entries`), so a `restore` with `entries` brings them back.

A file system without such a rename (renameat2(2), RENAME_EXCHANGE: NFS, FUSE) gets two: the vfolder
is absent between them, and a run that dies there is completed by the next one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from backends.fs import descriptors
from backends.retention import snapshots as kept_snapshots
from backends.transfer import Endpoint
from backends.volumes import entry_trash
from core.cluster import VFolderCache
from core.errors import Unsupported, VFolderNotFound
from core.jobs.requests import SnapshotRequest
from core.names import VFolderPath, counted
from core.quota import LastUsageStore
from workers.run import Context, Manifest, Outcome
from workers.verbs import snapshots
from workers.verbs.removed_entries import EntryTrash
from workers.verbs.snapshots import RestoreSnapshot
from workers.verbs.transfer.publish import NEW, Publisher, is_published

#: What was there is kept for so long where the request does not say (seconds).
KEEP_DEFAULT_SECONDS = 7 * 86_400.0
#: In the trash of the job: the tree that waits for the exchange, afterwards the former one; and
#: where the former one goes by the first of two renames.
WAITING, FORMER = "waiting", "former"


class FormerTree(EntryTrash):
    """The place in the trash where two trees change places."""

    def __init__(self, context: Context, request: SnapshotRequest) -> None:
        super().__init__(context, request.volume, request.vfolder, context.run.job.id)
        self._keep = request.keep_seconds or KEEP_DEFAULT_SECONDS

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Open the directory of the job in the trash; it is made, with its note, where missing."""
        path = self._trashed.path
        with descriptors.made(path, self._root, descriptors.HIDDEN_MODE) as kept:
            if self._trashed.record() is None:
                self._trashed.note(self._keep, holds="entries")
            yield kept

    def waits(self, inode: int) -> bool:
        """Return whether the tree of this inode number is here, and not published."""
        path = self._trashed.path / WAITING
        with suppress(FileNotFoundError), descriptors.opened(path, self._root) as tree:
            return os.fstat(tree).st_ino == inode
        return False

    def exchange(self) -> None:
        """Put the waiting tree in the place of the vfolder, which comes here. Both are on disk."""
        path = self._vfolder.directory
        with (
            self.opened() as kept,
            descriptors.made(path.parent, self._root) as parent,
        ):
            try:
                done = descriptors.exchange(WAITING, kept, path.name, parent)
                if not done:
                    descriptors.rename_new(path.name, parent, FORMER, kept)
            except FileNotFoundError:  # a run died between the two renames
                done = False
            if not done:
                descriptors.rename_new(WAITING, kept, path.name, parent)
            os.fsync(kept)
            os.fsync(parent)

    def number_entries(self) -> dict[str, Any]:
        """Keep the entries of the former tree by numbers; return the document of the trash."""
        with self.opened() as kept:
            for name in (WAITING, FORMER):
                with suppress(FileNotFoundError):
                    self._number(name, kept)
            os.fsync(kept)
        found, size_bytes = self._in_trash()
        note = self._trashed.record() if found else None
        if not found:
            self._remove_empty()
        return {
            "size_bytes": size_bytes,
            "trash": note.document() if note else None,
            "entries": (note.entries if note else None) or 0,
        }

    def _number(self, tree: str, kept: int) -> None:
        with descriptors.opened(tree, kept) as former:
            try:
                paths = entry_trash.all_paths(kept)
            except FileNotFoundError:
                paths = [VFolderPath((name,)) for name in sorted(os.listdir(former))]
                entry_trash.write_paths(kept, paths)
            for number, path in enumerate(paths):
                self._run.check()
                with suppress(FileNotFoundError):  # an earlier run has renamed it
                    descriptors.rename_noreplace(path.name, former, str(number), kept)
        os.rmdir(tree, dir_fd=kept)

    def abandon(self) -> None:
        """Undo what a run did that did not publish; what was there is never removed."""
        if not self._trashed.exists:
            return
        path = self._vfolder.directory
        with self.opened() as kept, descriptors.made(path.parent, self._root) as parent:
            if FORMER in os.listdir(kept):
                if descriptors.exists(path, self._root):  # made since by another caller
                    self._number(FORMER, kept)
                    return
                descriptors.rename_new(FORMER, kept, path.name, parent)
        self._trashed.purge()


@dataclass(frozen=True, slots=True)
class ExchangedVFolder(Endpoint):
    """The vfolder as the target of its own snapshot: it exists, and changes places."""

    former: FormerTree

    def take(self, name: str, staged: int) -> None:
        """Publish a staged tree in place of the vfolder."""
        with self.former.opened() as kept:
            descriptors.rename_new(name, staged, WAITING, kept)
        self.former.exchange()


class RestoreOver(RestoreSnapshot):
    """One run of `restore` with `over`."""

    def __init__(self, context: Context, request: SnapshotRequest) -> None:
        super().__init__(context, request)
        self._name = request.name or ""
        self._former = FormerTree(context, request)
        target = self._target
        self._target = ExchangedVFolder(target.backend, target.vfolder, target.path, self._former)
        self._manifest: Manifest | None = None

    def undo(self) -> None:
        """Remove what was not published; where it was, keep what was there."""
        if self._manifest is not None:
            if is_published(self._target, self._manifest):
                self._former.number_entries()
            else:
                self._former.abandon()
        super().undo()

    def _choose_mode(self, manifest: Manifest) -> str:
        """Return the mode of a clone.

        Raises:
            VFolderNotFound: there is nothing to restore over.
        """
        self._manifest = manifest
        here = descriptors.exists(self._target.vfolder.directory, self._root)
        if manifest.last("publish") is None and not here:
            raise VFolderNotFound(f"The vfolder {self._target} does not exist.")
        return NEW

    def _is_done(self, publisher: Publisher, manifest: Manifest) -> bool:
        """See `Transfer._is_done`; a tree that waits for its exchange is whole, and verified."""
        mark = manifest.last("publish")
        if mark is not None and self._former.waits(int(mark["inode"])):
            self._former.exchange()
        return super()._is_done(publisher, manifest)

    def _clear(self, manifest: Manifest) -> None:
        """Keep what was there, and forget what was known of it."""
        if manifest.last("kept") is None:
            manifest.mark("kept", **self._former.number_entries())
        volume, vfolder = self._request.volume, self._target.vfolder
        figures = LastUsageStore(self._context.store.redis)
        self._run.patiently(lambda: figures.forget(volume, vfolder))
        VFolderCache(self._context.settings).forget(volume, vfolder)
        super()._clear(manifest)

    def _outcome(self, manifest: Manifest) -> Outcome:
        kept = manifest.last("kept") or {}
        copied = manifest.last("copied") or {}
        self._settle_quota(copied | {"removed_bytes": kept["size_bytes"]})
        done = super()._outcome(manifest)
        trash = kept["trash"]
        words = f"restored {self._target} to the snapshot {self._name}"
        if trash:
            entries = counted(int(kept["entries"]), "entry", "entries")
            words += f"; {entries} that were there are kept until {trash['expires_at']}"
        return replace(done, sentence=words, result=done.result | {"trash": trash})


def verb(context: Context, request: SnapshotRequest) -> Any:  # noqa: ANN401 - a table of verbs
    """Return the run of the operation that the request names; see `snapshots.verb`.

    Raises:
        Unsupported: the volume keeps no snapshots, or keeps them in the directory of the vfolder.
        InvalidName: the request's name is not allowed for a snapshot.
    """
    if not request.over:
        return snapshots.verb(context, request)
    snapshots.check(context, request)
    if kept_snapshots.stay_with_directory(context.backend(request.volume)):
        raise Unsupported(f"Volume {request.volume} cannot restore over the vfolder itself.")
    return RestoreOver(context, request)
