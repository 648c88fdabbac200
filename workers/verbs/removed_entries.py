"""Entries that a delete keeps: they are renamed into the trash, and a restore renames them back.

Both take the fence, and both may be repeated: the trash shows what an earlier run has moved.
"""

import errno
import os
import stat
from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath

from backends.entries import entries
from backends.fs import descriptors, paths, reason_of
from backends.quota import soft
from backends.retention import TrashRecord, trash
from backends.volumes import entry_trash
from core.errors import EntryNotFound, StorageError, TrashNotFound
from core.jobs import Counter, State
from core.jobs.requests import DeleteFilesRequest, RestoreRequest
from core.names import VFolderId, VFolderPath, counted, moment
from workers.run import Context, Manifest, Outcome
from workers.verbs.trash import TrashedTree

_TAKEN = "an entry of this name is there again"
OTHER_FILE_SYSTEM = "it is on another file system, so it cannot be kept; delete it with keep 0"


class EntryTrash:
    """What the verbs need: the vfolder, the trash of the scope, and the tree of one deletion."""

    def __init__(self, context: Context, volume: str, vfolder: str, trash_id: str) -> None:
        self._context = context
        self._run = context.run
        self._vfolder = VFolderId.parse(vfolder)
        self._backend = context.backend(volume)
        self._root = context.root(volume)
        self._trashed = TrashedTree(context, volume, self._vfolder, trash_id)
        self._trash = trash_id
        #: Directories of the vfolder whose names changed.
        self._changed: set[VFolderPath] = set()

    def _begin(self) -> Manifest:
        manifest = self._context.manifest(self._root, self._vfolder.scope)
        self._context.report(self._root, self._vfolder.scope, continues=True)
        return manifest

    def _fault(self, path: VFolderPath, reason: str) -> str:
        self._run.count(Counter.FAILED, 1)
        self._run.fault(str(path), reason)
        return "failed"

    def _sync(self, root: int) -> None:
        """Sync the directories whose names changed, so that no entry is in two places or none."""
        for path in self._changed:
            with suppress(EntryNotFound):  # it was moved, too
                paths.sync_directory(root, path)

    def _measured(self, kept: int) -> int:
        """Return the bytes of the entries in the trash, and note them."""
        own = os.stat(entry_trash.PATHS, dir_fd=kept).st_size
        return self._trashed.measure(own_bytes=own)

    def _in_trash(self) -> tuple[int, int]:
        """Return how many entries are in the trash, and their bytes."""
        try:
            with descriptors.opened(self._trashed.path, self._root) as kept:
                found = len(entry_trash.numbers(kept))
                return found, self._measured(kept) if found else 0
        except FileNotFoundError:
            return 0, 0

    def _remove_empty(self) -> None:
        """Remove the tree of a deletion that holds no entry, then its note."""
        parent = self._trashed.path.parent
        with self._context.hidden_directory(self._root, parent) as directory:
            with suppress(FileNotFoundError), descriptors.opened(self._trash, directory) as kept:
                for name in os.listdir(kept):  # the paths, and a draft of them
                    os.unlink(name, dir_fd=kept)
            with suppress(FileNotFoundError):
                os.rmdir(self._trash, dir_fd=directory)
            os.fsync(directory)
            trash.forget(directory, self._trash)


class TrashEntries(EntryTrash):
    """One run of `delete-files` with `keep_seconds`."""

    def __init__(self, context: Context, request: DeleteFilesRequest) -> None:
        super().__init__(context, request.volume, request.vfolder, context.run.job.id)
        self._keep_seconds = request.keep_seconds or 0
        self._recursive = request.recursive
        self._paths = [VFolderPath.parse(text) for text in request.paths]

    def __call__(self) -> Outcome:
        """Move every entry to the trash; absent ones are skipped."""
        self._begin()
        self._run.phase("rename")
        ends: Tally[str] = Tally()
        with self._backend.open_vfolder(self._vfolder) as root, self._opened() as kept:
            entry_trash.write_paths(kept, self._paths)
            self._trashed.note(self._keep_seconds, holds="entries")
            for number, path in enumerate(self._paths):
                self._run.check()
                ends[self._move(root, kept, number, path)] += 1
            os.fsync(kept)
            self._sync(root)
        moved, size_bytes = self._settled()
        return self._outcome(ends, moved, size_bytes)

    def undo(self) -> None:
        """Keep what was moved, for a restore; the scope no longer counts it."""
        self._settled()

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with descriptors.made(self._trashed.path, self._root, descriptors.HIDDEN_MODE) as kept:
            yield kept

    def _settled(self) -> tuple[int, int]:
        """Count what is in the trash and settle it; return the entries, and their bytes."""
        moved, size_bytes = self._in_trash()
        job = self._run.job
        soft.settle(self._backend, self._vfolder, job.id, -size_bytes, since_ms=job.started_ms)
        if not moved:
            self._remove_empty()
        return moved, size_bytes

    def _move(self, root: int, kept: int, number: int, path: VFolderPath) -> str:
        """Move one entry, and return how it ended."""
        try:
            with paths.parent_beneath(root, path) as (parent, name):
                return self._renamed((name, parent), kept, number, path)
        except EntryNotFound:
            was_moved = descriptors.exists(PurePosixPath(str(number)), kept)
            return "deleted" if was_moved else "absent"
        except (OSError, StorageError) as error:
            if isinstance(error, StorageError) and error.retriable:
                raise
            return self._fault(path, reason_of(error))

    def _renamed(self, entry: tuple[str, int], kept: int, number: int, path: VFolderPath) -> str:
        name, parent = entry
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode) and not self._recursive:
            self._context.note(str(path), "it is a directory, and `recursive` is not set")
            return "directories"
        try:
            descriptors.rename_noreplace(name, parent, str(number), kept)
        except FileExistsError:  # an earlier run moved it; what is there now was made since then
            return "deleted"
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return self._fault(path, OTHER_FILE_SYSTEM)
        self._changed.add(path.parent)
        self._run.count(Counter.DELETED, 1)
        return "deleted"

    def _outcome(self, ends: "Tally[str]", moved: int, size_bytes: int) -> Outcome:
        skipped = ends["absent"] + ends["directories"]
        note = self._trashed.record() if moved else None
        until = f"; kept in the trash until {moment(note.expires_at)}" if note else ""
        amount = counted(moved, "entry", "entries") if moved else "nothing"
        left = [
            f"{counted(ends[end], noun, nouns)} {words}"
            for end, noun, nouns, words in (
                ("absent", "entry", "entries", "not there"),
                ("directories", "directory", "directories", "left: `recursive` is not set"),
                ("failed", "entry", "entries", "failed"),
            )
            if ends[end]
        ]
        complete = moved and not ends["failed"] and not ends["directories"]
        return Outcome(
            sentence="; ".join([self._run.summary("deleted", amount) + until, *left]),
            result={
                "named": len(self._paths),
                "skipped": skipped,
                "failed": ends["failed"],
                "trash": note.document() if note else None,
            },
            state=State.SUCCEEDED if complete else State.PARTIAL,
            items=moved,
            size_bytes=size_bytes,
        )


class RestoreEntries(EntryTrash):
    """One run of `restore` with `entries`: what comes back has its former path."""

    def __init__(self, context: Context, request: RestoreRequest) -> None:
        super().__init__(context, request.volume, request.vfolder, request.trash or "")
        self._owned = context.settings.vfolder.entries.owner == "directory"
        self._begun: dict[str, int] | None = None

    def __call__(self) -> Outcome:
        """Move every entry back; one whose name is taken stays in the trash.

        Raises:
            TrashNotFound: the trash has no such entries of the vfolder.
            QuotaExceeded: the scope has too little free space now.
        """
        manifest = self._begin()
        begun = self._begun = manifest.last("restore") or self._reserved(manifest)
        self._run.phase("rename")
        self._move_back()
        left, gained_bytes = self._settled(begun)
        restored = begun["entries"] - left
        stays = f"; {counted(left, 'entry', 'entries')} stayed in the trash" if left else ""
        amount = counted(restored, "entry", "entries") if restored else "nothing"
        return Outcome(
            sentence=self._run.summary("restored", amount) + stays,
            result={"trash": self._trash, "restored": restored, "left": left},
            state=State.PARTIAL if left else State.SUCCEEDED,
            items=restored,
            size_bytes=gained_bytes,
        )

    def undo(self) -> None:
        """Leave each entry where it is, in the trash or back; the scope counts what is back."""
        if self._begun is None:
            soft.settle(self._backend, self._vfolder, self._run.job.id)
        else:
            self._settled(self._begun)

    def _settled(self, begun: dict[str, int]) -> tuple[int, int]:
        """Settle what came back; return how many entries are left, and the bytes that came back."""
        left, left_bytes = self._in_trash()
        gained_bytes = begun["size_bytes"] - left_bytes
        soft.settle(self._backend, self._vfolder, self._run.job.id, gained_bytes)
        if not left:
            self._remove_empty()
        return left, gained_bytes

    def _reserved(self, manifest: Manifest) -> dict[str, int]:
        """Reserve the size of the entries, and mark what there is to restore."""
        if not _restorable(self._trashed.record(), self._vfolder):
            raise TrashNotFound("The trash has no such entries of the vfolder.")
        count, size_bytes = self._in_trash()
        begun = {"entries": count, "size_bytes": size_bytes}
        soft.reserve(self._backend, self._vfolder, self._run.job.id, begun["size_bytes"])
        manifest.mark("restore", **begun)
        return begun

    def _move_back(self) -> None:
        """Move what is in the trash; nothing is there when an earlier run has moved all of it."""
        with (
            suppress(FileNotFoundError),
            descriptors.opened(self._trashed.path, self._root) as kept,
            self._backend.open_vfolder(self._vfolder) as root,
        ):
            for number, path in entry_trash.former_paths(kept):
                self._run.check()
                self._move(root, kept, number, path)
            self._sync(root)
            os.fsync(kept)

    def _move(self, root: int, kept: int, number: int, path: VFolderPath) -> None:
        try:
            if not path.parent.is_root:
                entries.make_directory(
                    root, path.parent, exist_ok=True, owned_by_directory=self._owned
                )
            with paths.parent_beneath(root, path) as (parent, name):
                descriptors.rename_noreplace(str(number), kept, name, parent)
        except FileExistsError:
            self._fault(path, _TAKEN)
        except (OSError, StorageError) as error:
            if isinstance(error, StorageError) and error.retriable:
                raise
            self._fault(path, _TAKEN if _is_taken(error) else reason_of(error))
        else:
            self._changed.add(path.parent)
            self._run.count(Counter.COPIED, 1)


def _restorable(note: TrashRecord | None, vfolder: VFolderId) -> bool:
    if note is None or note.purging or note.holds != "entries":
        return False
    return note.vfolder == str(vfolder)


def _is_taken(error: Exception) -> bool:
    """Return whether an entry, or a file where a directory was, has the name."""
    found = getattr(error, "facts", {}).get("errno")
    return found in (errno.EEXIST, errno.ENOTDIR)
